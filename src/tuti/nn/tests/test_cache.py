"""The cache against plain attention over all tokens, in random schedules; memory is taken as texts grow."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tuti.nn import KVCache

KV, GROUP, DIM, LAYERS, LENGTH, SLOTS = 2, 2, 4, 2, 40, 5


def reference(q: Tensor, k: Tensor, v: Tensor, seen: int | None) -> Tensor:
    """One sequence's queries [T, H, E], the last T of the keys [S, K, E], one head and token at a time."""
    time, past, out = q.shape[0], k.shape[0] - q.shape[0], torch.empty_like(q)
    for t in range(time):
        for h in range(q.shape[1]):
            first = 0 if seen is None else max(0, past + t + 1 - seen)
            keys, values = k[first : past + t + 1, h // GROUP], v[first : past + t + 1, h // GROUP]
            out[t, h] = (keys @ q[t, h] / DIM**0.5).softmax(0) @ values
    return out


def grow(
    cache: KVCache, seen: int | None, texts: dict[int, Tensor], slots: list[int], counts: list[int]
) -> None:
    """Random new tokens in these slots: what attention gives must be what the whole texts give."""
    window = cache.window(slots, counts)
    heads = KV * (GROUP + 2)
    new = torch.randn(LAYERS, len(slots), max(counts), heads, DIM, dtype=torch.float64)
    q, k, v = new.split_with_sizes([KV * GROUP, KV, KV], 3)
    for layer in range(LAYERS):
        out = window.attend(layer, q[layer], k[layer], v[layer], seen)
        for row, (slot, n) in enumerate(zip(slots, counts, strict=True)):
            past = texts[slot][layer]
            fresh = torch.stack((k[layer, row, :n], v[layer, row, :n]))
            keys, values = torch.cat((past, fresh), 1)
            wanted = reference(q[layer, row, :n], keys, values, seen)
            torch.testing.assert_close(out[row, :n], wanted, rtol=0, atol=1e-12)
    for row, (slot, n) in enumerate(zip(slots, counts, strict=True)):
        fresh = torch.stack((k[:, row, :n], v[:, row, :n]), 1)
        texts[slot] = torch.cat((texts[slot], fresh), 2)
    window.commit()


@pytest.mark.parametrize("seed", range(6))
def test_random_schedules_equal_plain_attention(seed: int) -> None:
    """Admitted, grown, forked, moved, cut off and freed; with windows and with blocks."""
    source = random.Random(seed)
    torch.manual_seed(seed)
    seen = source.choice([None, 7])
    cache = KVCache(LAYERS, KV, DIM, SLOTS, LENGTH, dtype=torch.float64)
    nothing = torch.zeros(LAYERS, 2, 0, KV, DIM, dtype=torch.float64)
    texts = dict.fromkeys(range(SLOTS), nothing)
    for _ in range(60):
        slot, other = source.sample(range(SLOTS), 2)
        n = cache.lengths[slot]
        match source.choice(["grow", "grow", "read", "fork", "move", "truncate", "free"]):
            case "grow":  # some slots by a few tokens, in any order
                slots = source.sample(range(SLOTS), source.randint(1, SLOTS))
                counts = [source.choice([1, 1, 3]) for _ in slots]
                if all(cache.lengths[s] + c <= LENGTH for s, c in zip(slots, counts, strict=True)):
                    grow(cache, seen, texts, slots, counts)
            case "read" if n < LENGTH:
                grow(cache, seen, texts, [slot], [source.randint(1, LENGTH - n)])
            case "fork":
                cache.free(other)
                cut = source.randint(0, n)
                cache.append(other, cache.held(slot, 0, cut))
                cache.append(other, cache.held(slot, cut, n))
                texts[other] = texts[slot]
            case "move":
                cache.move(slot, other)
                texts[other], texts[slot] = texts[slot], nothing
            case "truncate":
                cache.truncate(slot, n // 2)
                texts[slot] = texts[slot][:, :, : n // 2]
            case "free" | "read":
                cache.free(slot)
                texts[slot] = nothing
        assert cache.lengths == [texts[s].shape[2] for s in range(SLOTS)]
        for s, text in texts.items():
            assert torch.equal(cache.held(s, 0, cache.lengths[s]), text.transpose(2, 3))


def test_a_block_has_the_same_bits_wherever_reading_began() -> None:
    """50 tokens at once, from 16, and from 32 on, with what came before copied: equal to the bit."""
    torch.manual_seed(0)
    qkv = torch.randn(50, 8, DIM)
    found = []
    for starts in ([0, 50], [0, 16, 50], [0, 32, 50], [0, 16, 32, 48, 50]):
        cache, made = KVCache(1, KV, DIM, 2, 64), []
        for a, b in zip(starts, starts[1:], strict=False):
            q, k, v = qkv[None, a:b].split_with_sizes([4, KV, KV], 2)
            window = cache.window([a % 2], [b - a])
            made.append(window.attend(0, q, k, v))
            window.commit()
            cache.move(a % 2, b % 2)  # and into another slot
        found.append(torch.cat(made, 1))
    for other in found[1:]:
        assert torch.equal(found[0], other)


CHILD = """
import json, sys
from pathlib import Path
import torch
from tuti.nn import KVCache
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024
KVCache(1, 1, 64, 1, 64).window([0], [1]).positions  # what torch loads at first is no cache's
before = resident()
cache = KVCache(30, 3, 64, 17, 8192)
taken = [resident() - before]
for slot in range(2):
    cache.append(slot, torch.ones(1).expand(30, 2, 3, 1000, 64))
    taken.append(resident() - before)
cache.free(0)
taken.append(resident() - before)
zeros = not cache.store[0, :, :, :, :1000].any()
print(json.dumps({"bytes": cache.bytes, "taken": taken, "zeros": zeros}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc is Linux's")
def test_memory_is_taken_as_texts_grow_and_given_back() -> None:
    """6 GB of addresses; a thousand tokens take 46 MB and give them back."""
    said = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    found = json.loads(said.stdout)
    text = 1000 * 30 * 2 * 3 * 64 * 4
    assert found["bytes"] == 17 * 8192 * text // 1000 > 6e9
    none, one, two, after = found["taken"]
    assert none < 2e6 and found["zeros"], found
    assert abs(one - text) < 0.1 * text and abs(two - 2 * text) < 0.1 * text, found
    assert abs(after - text) < 0.1 * text, found
