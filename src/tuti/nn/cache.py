"""Keys and values of past tokens, for many sequences at once.

A `KVCache` has N slots, one a sequence, each with addresses for `length` tokens in every layer.
`cache.lengths[slot]` tokens of a slot are valid. On a CPU the pages are the operating system's
(Prabhu et al. 2024, "vAttention"): addresses cost nothing, memory is taken as a text grows and given
back when it is freed, and yet keys lie in a row and are read in place. To run new tokens:

    window = cache.window(slots, counts)            # row b of ids is counts[b] new tokens of slots[b]
    hidden = model(ids, cache=window)               # ids [B, T], T ≥ max(counts), padded on the right

after which `lengths` of these slots have grown by `counts`. Prefill, decode and anything between
(a second turn, a chunk of a long prompt) are the same call: T = 1 is decode, slots whose length is
0 are prefilled, and rows may differ in both past and new tokens. What stands in padded places is
never seen; `hidden` there is meaningless. A row's last state is `hidden[b, counts[b] - 1]`.
`cache.read(model, slots, parts)` is such a call for lists of ids, and cuts the padding off.

`free(slot)` forgets a sequence; `held` and `append` show tokens of a slot and put them into another,
as bits, which is how texts that begin alike share what was read. Slots that are consecutive
numbers are read in place, others are gathered (copied) at each step: keep the live ones together,
with `move(source, target)`.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tuti.nn.attention import as_mask, attend, causal_attend


class KVCache:
    """Keys and values [slots, layers, 2, kv_heads, length, head_dim]."""

    def __init__(
        self, layers: int, kv_heads: int, head_dim: int, slots: int, length: int, *,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ):
        shape = (slots, layers, 2, kv_heads, length, head_dim)
        self.grows = torch.device(device).type == "cpu"  # memory is taken as texts grow, not at the start
        self._memory = _reserved(shape, dtype) if self.grows else None
        # Zeros, not garbage: an unseen NaN times an attention weight of 0 would still be NaN.
        with torch.inference_mode(False):  # else it could be written in inference mode only
            if self._memory is None:
                self.store = torch.zeros(shape, dtype=dtype, device=device)
            else:
                self.store = torch.frombuffer(self._memory, dtype=torch.uint8).view(dtype).view(shape)
        self.lengths = [0] * slots
        self.length = length

    @property
    def bytes(self) -> int:
        return self.store.numel() * self.store.element_size()

    def free(self, slot: int) -> None:
        """Forget the sequence and give its memory back: it reads as zeros again, where it is given back."""
        self.lengths[slot] = 0
        if self._memory is not None:
            size, page = self.bytes // len(self.lengths), mmap.PAGESIZE
            start = -(-slot * size // page) * page
            stop = (slot + 1) * size // page * page
            if start < stop:
                _advise(self._memory, "MADV_DONTNEED", start, stop - start)

    def truncate(self, slot: int, length: int) -> None:
        """Forget the slot's tokens from `length` on."""
        assert 0 <= length <= self.lengths[slot], (length, self.lengths[slot])
        self.lengths[slot] = length

    def move(self, source: int, target: int) -> None:
        """Give the sequence in `source` the place `target`; `source` becomes free."""
        n = self.lengths[source]
        if source != target:
            self.store[target, ..., :n, :] = self.store[source, ..., :n, :]
            self.free(source)
            self.lengths[target] = n

    def held(self, slot: int, start: int, stop: int) -> Float[Tensor, "layers 2 kv time dim"]:
        """Keys and values of the slot's tokens from `start` up to `stop`, where they lie."""
        assert stop <= self.lengths[slot], (stop, self.lengths[slot])
        return self.store[slot, ..., start:stop, :]

    def append(self, slot: int, page: Float[Tensor, "layers 2 kv time dim"]) -> None:
        """What `held` gave becomes the slot's next tokens."""
        start = self.lengths[slot]
        self.lengths[slot] = stop = start + page.shape[-2]
        self.store[slot, ..., start:stop, :] = page

    def read(
        self, model: Callable[..., Tensor], slots: Sequence[int], parts: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "time dim"]]:
        """The hidden states of each slot's new tokens, after one pass of the model over all of them."""
        window = self.window(slots, list(map(len, parts)))
        ids = torch.tensor([[*part, *[0] * (window.time - len(part))] for part in parts])
        hidden = model(ids.to(self.store.device), cache=window)
        return [states[: len(part)] for states, part in zip(hidden, parts, strict=True)]

    def window(self, slots: Sequence[int], counts: Sequence[int] | None = None) -> CacheWindow:
        """The view through which one forward pass reads and appends (counts: 1 each if None)."""
        return CacheWindow(self, list(slots), [1] * len(slots) if counts is None else list(counts))


class CacheWindow:
    """One forward pass's new tokens in some slots: where they are written, what they may see."""

    def __init__(self, cache: KVCache, slots: list[int], counts: list[int]):
        assert len(slots) == len(counts) > 0 and len(set(slots)) == len(slots), (slots, counts)
        self.cache, self.slots, self.counts = cache, slots, counts
        self.starts = [cache.lengths[slot] for slot in slots]
        self.fresh = not any(self.starts)
        self.time = max(counts)
        self.end = max(s + c for s, c in zip(self.starts, counts, strict=True))
        assert self.end <= cache.length, f"{self.end} tokens exceed the cache's {cache.length}"
        device = cache.store.device
        first, after = slots[0], slots[0] + len(slots)
        alone = slots == list(range(first, after))
        self.rows = slice(first, after) if alone else torch.tensor(slots, device=device)
        start = torch.tensor(self.starts, device=device)
        self.positions: Int[Tensor, "batch time"] = start[:, None] + torch.arange(self.time, device=device)
        self._masks: dict[int | None, Tensor] = {}

    def mask(self, far: int | None) -> Float[Tensor, "batch 1 time source"] | None:
        """0 where a new token may see, `far` tokens back at most, -inf elsewhere; None where all is seen."""
        even = min(self.starts) == max(self.starts)
        if self.fresh or (even and self.time == 1 and (far is None or self.end <= far)):
            return None
        if far not in self._masks:
            store, queries = self.cache.store, self.positions[:, :, None]
            keys = torch.arange(self.end, device=store.device)
            seen = keys <= queries
            if far is not None:
                seen &= keys > queries - far
            self._masks[far] = as_mask(seen, store.dtype)[:, None]
        return self._masks[far]

    @torch.no_grad()
    def attend(
        self, layer: int, q: Float[Tensor, "batch time heads dim"], k: Float[Tensor, "batch time kv dim"],
        v: Float[Tensor, "batch time kv dim"], window: int | None = None,
    ) -> Float[Tensor, "batch time heads dim"]:
        """Append k and v to the layer's cache, then attend from q to all that each row may see.

        window: tokens back, itself included (None: all); older ones stay stored. No gradient passes a cache.
        """
        assert q.shape[:2] == self.positions.shape, (q.shape, self.positions.shape)
        keys, values = self.cache.store[:, layer].unbind(1)
        for row, (slot, start, count) in enumerate(zip(self.slots, self.starts, self.counts, strict=True)):
            keys[slot, :, start : start + count] = k[row, :count].transpose(0, 1)
            values[slot, :, start : start + count] = v[row, :count].transpose(0, 1)
        if self.fresh:
            return causal_attend(q, k, v, window=window)
        return attend(q, keys[self.rows, :, : self.end], values[self.rows, :, : self.end], self.mask(window))

    def commit(self) -> None:
        """Count the new tokens as valid; the decoder calls it once, after its last layer."""
        for slot, start, count in zip(self.slots, self.starts, self.counts, strict=True):
            self.cache.lengths[slot] = start + count


def _reserved(shape: Sequence[int], dtype: torch.dtype) -> mmap.mmap:
    """Addresses of zeros, with memory behind those that are touched (in small pages, not huge ones)."""
    reserve = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | reserve
    memory = mmap.mmap(-1, max(1, prod(shape) * dtype.itemsize), flags=flags)
    _advise(memory, "MADV_NOHUGEPAGE", 0, len(memory))
    return memory


def _advise(memory: mmap.mmap, advice: str, start: int, size: int) -> None:
    if hasattr(mmap, advice):
        with suppress(OSError):  # a kernel without it keeps the memory, which costs but breaks nothing
            memory.madvise(getattr(mmap, advice), start, size)
