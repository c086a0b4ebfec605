"""The network of policy and value: convolutions over the board, for boards of any size.

A residual tower (Silver et al. 2017, "AlphaGo Zero") without batch statistics: each block ends in weights of
0, so that it starts as the identity (Zhang et al. 2019, "Fixup"), and adds what the whole board's mean and
maximum tell (Wu 2019, "Accelerating self-play learning in Go", 3.3). Beside policy and value it foretells
whose each point will be and by how much the game will be won (Wu 2019, 3.4 and 3.5), which teaches more a
game than its result alone.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tuti.nn.files import Tensors, write_safetensors
from tuti.run import Run, UserError, damaged, find_artifact, read_json

KIND = "PolicyValue"
LEAD = 10.0
"""Points of lead that are 1 for the network"""


class Forecast(NamedTuple):
    """Of positions, all for whoever is to move."""

    policy: Float[Tensor, "batch actions"]
    """Logits of the points, row by row, and of the pass"""
    value: Float[Tensor, " batch"]
    """Expected result, −1 to 1"""
    owner: Float[Tensor, "batch side side"]
    """Expected owner of each point, −1 to 1"""
    lead: Float[Tensor, " batch"]
    """Expected lead in points / LEAD"""


class Block(nn.Module):
    """x + conv(relu(conv(x) + what the whole board says))."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.whole = nn.Linear(2 * channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Float[Tensor, "batch dim side side"]) -> Float[Tensor, "batch dim side side"]:
        inner = self.first(x)
        return F.relu(x + self.second(F.relu(inner + self.whole(pooled(x))[:, :, None, None])))


class Net(nn.Module):
    """Planes of a position → Forecast."""

    def __init__(self, planes: int, blocks: int, channels: int):
        super().__init__()
        self.shape = planes, blocks, channels
        self.stem = nn.Conv2d(planes, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.points = nn.Conv2d(channels, 2, 1)
        self.hidden = nn.Linear(2 * channels, 2 * channels)
        self.board = nn.Linear(2 * channels, 3)
        for head in (self.points, self.board):
            nn.init.normal_(head.weight, 0.0, 0.02)

    def forward(self, planes: Float[Tensor, "batch planes side side"]) -> Forecast:
        x = self.blocks(F.relu(self.stem(planes)))
        moves, owner = self.points(x).unbind(1)
        passing, value, lead = self.board(F.relu(self.hidden(pooled(x)))).unbind(1)
        policy = torch.cat((moves.flatten(1), passing[:, None]), 1)
        return Forecast(policy, value.tanh(), owner.tanh(), lead)


def pooled(x: Float[Tensor, "batch dim side side"]) -> Float[Tensor, "batch both"]:
    """Each channel's mean and maximum over the board."""
    return torch.cat((x.mean((2, 3)), x.amax((2, 3))), 1)


def save_net(net: Net, run: Run, **facts: object) -> None:
    """The artifact PolicyValue: weights, and the shape and facts (board's size, komi) beside them."""
    with run.save("model", KIND, shape=net.shape, **facts) as folder:
        write_safetensors(folder / "model.safetensors", net.state_dict())


def load_net(path: Path | str, planes: int | None = None) -> tuple[Net, dict[str, Any]]:
    """A network and its facts, from a run or its artifact; UserError if it does not see so many planes."""
    folder = find_artifact(Path(path), KIND)
    facts = read_json(folder / "tuti.json")
    with damaged(f"{folder / 'tuti.json'} is", "train it again", KeyError, TypeError, RuntimeError):
        net, _ = Net(*facts["shape"]), int(facts["size"])
    if planes not in (None, net.shape[0]):
        told = f"{path} sees {net.shape[0]} planes, wanted is a network of {planes}"
        raise UserError(told, hint="tuti alphago train makes those of 9, sl and rl of 48, value of 49")
    read_net(net, folder / "model.safetensors")
    return net.eval().requires_grad_(False), facts


def read_net(net: Net, path: Path) -> None:
    """Puts weights of a file into a network."""
    tensors = Tensors(path)
    for name, weight in net.state_dict().items():
        tensors.check(name, tuple(weight.shape))
        weight.copy_(tensors.read(name))
