"""The loops of tests/reference.py against the decoder that trains, and the room's page against the loops."""

import re
from pathlib import Path

import pytest
import torch

from tuti.nn import Decoder, DecoderConfig
from tuti.systems.transformer.tests import reference

ROOM = Path(__file__).parent.parent


@pytest.mark.parametrize("heads,kv,tied", [(4, 4, True), (4, 2, False), (3, 1, True)])
def test_the_decoder_is_these_loops(heads: int, kv: int, tied: bool) -> None:
    config = DecoderConfig(31, heads * 6, 2, heads, kv, 6, 20, context=16, tied=tied)
    model = Decoder(config, torch.Generator().manual_seed(heads))
    with torch.no_grad():
        for p in model.parameters():  # far from initialisation, where everything matters
            p.mul_(4).add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
        model.double()  # as the loops count
        ids = [3, 1, 4, 1, 5, 9, 2, 6]
        fast = model(torch.tensor([ids]))
        logits = model.logits(fast)
    hidden, read = reference.forward(model, ids)
    exact = {"dtype": torch.float64}
    torch.testing.assert_close(torch.tensor(hidden, **exact), fast[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(torch.tensor(read, **exact), logits[0], rtol=0, atol=1e-10)


def test_an_embedding_is_a_one_hot_row_times_a_matrix() -> None:
    table = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    for token in range(7):
        row = torch.tensor(reference.one_hot(token, 7))
        assert torch.equal(row @ table, table[token])
        assert torch.equal(torch.tensor(reference.embed(table.tolist(), token)), table[token])


def test_the_page_shows_the_lines_that_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOM / "README.md").read_text(), re.DOTALL)
    source = (ROOM / "tests" / "reference.py").read_text()
    assert blocks and all(block in source for block in blocks)
