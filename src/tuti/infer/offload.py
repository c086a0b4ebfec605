"""Experts that stay on disk: a model larger than memory answers, more slowly (Eliseev & Mazur 2023).

Everything but the experts is in memory. An expert is computed with as it is stored, in the pages of its
mapped file, which the kernel may drop at any time: what is held where changes the time of an answer,
never a bit of it. As many experts as a budget holds are copied into memory, those that were asked most
often: on routing traces of two small trained Mixtrals, with room for
half of the experts, 70 and 77 % of the uses found theirs in memory, against 55 and 54 % where the least
recently used one goes (a token's pass goes round all layers, so what was used last is needed last).
While a layer computes, the kernel is told to read what the next layer's router would choose now.
"""

import ctypes
import mmap
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import cast

import torch
from torch import Tensor

from tuti.infer.packed import Gated, Rows
from tuti.nn import Decoder, load_decoder
from tuti.nn.files import read_json
from tuti.nn.hugging_face import config_from_hf
from tuti.nn.moe import Router, by_expert
from tuti.nn.quantised import as_matrix
from tuti.run import UserError

AGE = 32  # uses an expert, on average, after which the counts are halved: what texts ask for changes

_libc = ctypes.CDLL(None)


@dataclass
class Tally:
    """What /metrics shows: a use is one call of one expert, with all of its tokens."""

    expert_uses: int = 0
    expert_hits: int = 0
    """Uses that found the expert in memory"""


class Experts:
    """The experts of all layers, each by (layer, number); given to `PackedDecoder` as `sparse`."""

    def __init__(self, mapped: dict[str, list[Tensor]], budget: float):
        self.tally = Tally()
        self._mapped = mapped
        gate = as_matrix(next(iter(mapped.values()))[0])
        self._room = int(1e9 * min(1e9, budget) // (3 * gate.packed.nbytes))
        self._uses: Counter[tuple[int, int]] = Counter()
        self._held: dict[tuple[int, int], Rows] = {}
        self._routers: list[Router] = []
        self._one_at_a_time = Lock()  # what is held is all layers'

    def __call__(self, layer: int, router: Router) -> Rows:
        """The layer's feed-forward function of rows; layers are asked for in order."""
        assert layer == len(self._routers), (layer, len(self._routers))
        self._routers.append(router)
        experts = [partial(self._fed, (layer, e)) for e in range(router.weight.shape[0])]
        scores = as_matrix(router.weight)

        def feed_forward(x: Tensor) -> Tensor:
            with self._one_at_a_time:
                routing = router.choose(scores(x))
                if layer + 1 < len(self._routers):
                    self._foresee(layer + 1, x)
                return by_expert(x, routing, experts)

        return feed_forward

    def _foresee(self, layer: int, x: Tensor) -> None:
        """Has the kernel read what that layer will probably need, by its router on what is at hand."""
        for number in cast(list[int], self._routers[layer](x).chosen.unique().tolist()):
            for matrix in self._matrices((layer, number)) if (layer, number) not in self._held else ():
                _will_need(matrix)

    def _fed(self, key: tuple[int, int], x: Tensor) -> Tensor:
        """The expert's answer, from memory or from the map; it may take the place of one less used."""
        self.tally.expert_uses += 1
        self._uses[key] += 1
        if self.tally.expert_uses % (AGE * len(self._mapped) // 2) == 0:
            self._uses = Counter({k: count // 2 for k, count in self._uses.items()})
        if key in self._held:
            self.tally.expert_hits += 1
            return self._held[key](x)
        kept = self._admitted(key)
        gate, up, down = (as_matrix(one.clone() if kept else one) for one in self._matrices(key))
        expert = Gated(gate, up, down)
        if kept:
            self._held[key] = expert
        return expert(x)

    def _admitted(self, key: tuple[int, int]) -> bool:
        """Whether there is room, or is now, since an expert with fewer uses was let go."""
        if len(self._held) >= self._room:
            least = min(self._held, key=self._uses.__getitem__, default=key)
            if self._uses[least] >= self._uses[key]:
                return False
            del self._held[least]
        return True

    def _matrices(self, key: tuple[int, int]) -> list[Tensor]:
        """Gate, up and down, as they lie in the file."""
        name = "blocks.{}.mlp.experts.{}.".format(*key)
        return [*self._mapped[name + "gate_up.weight"], *self._mapped[name + "down.weight"]]


def without_experts(folder: Path, budget: float, dtype: torch.dtype) -> tuple[Decoder, Experts]:
    """A folder's decoder and, apart, its experts, of which `budget` GB at most are kept in memory.

    The folder's files may be deleted while they are used, but not written to. Refuses what has no experts.
    """
    if not config_from_hf(read_json(folder / "config.json")).experts:
        what = f"{folder} has no experts that could stay on disk"
        hint = "leave --expert-memory out: it is for mixtures of experts, such as Mixtral"
        raise UserError(what, hint)
    mapped: dict[str, list[Tensor]] = {}
    decoder = load_decoder(folder, dtype=dtype, mapped=mapped)
    return decoder, Experts(mapped, budget)


def _will_need(matrix: Tensor) -> None:
    """Starts to read a mapped matrix and waits for nothing; advice, which may fail without harm."""
    start = matrix.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    size = matrix.data_ptr() + matrix.nbytes - start
    _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_WILLNEED)
