"""The tiny preset learns: from nothing, it beats what it began as."""

from pathlib import Path

import pytest
import torch

from tuti.measure import binomial_interval
from tuti.systems.alphago.net import Net, load_net
from tuti.systems.alphago.planes import PLANES
from tuti.systems.alphago.tests.side_by_side import points
from tuti.systems.alphago.train import tiny, train
from tuti.systems.transformer.tests.small import go


@pytest.mark.tiny
def test_the_tiny_preset_beats_its_own_start(tmp_path: Path) -> None:
    config = tiny()
    run = go(tmp_path / "run", train, config, threads=2)
    net, facts = load_net(run.folder)
    torch.manual_seed(run.options.seed)
    start = Net(PLANES, config.blocks, config.channels).eval().requires_grad_(False)
    assert facts["size"] == config.size
    won = points(net, start, config.size, config.komi, 120)
    found = binomial_interval(int(won.sum()), len(won))
    assert found.low > 0.5, found
