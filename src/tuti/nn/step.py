"""New tokens through a decoder's block, as compiled loops over packed weights.

A step of one token does two FLOPs for each weight that it reads, and the hundred small operators of a
block cost more to call than to compute. So a block is two calls: attention and feed-forward, each with
its norm and its place in the residual stream. A row is one new token of one cache slot; prefill, decode
and all between are the same loops. What a row gets has the same bits, whatever other rows there are:
every sum is formed in an order of its own, not of its company.
"""
# numba has no types.
# pyright: basic, reportCallIssue=false

import numpy as np
from numba import prange

from tuti.nn.lanes import loop, mix, threads, tiled
from tuti.nn.woven import WIDTH, ready, span, spread

__all__ = ["attended", "fed", "placed", "thought", "threads"]

FAST = {"reassoc", "contract", "nsz", "arcp"}  # sums in any order are vectors; what is no number stays none
KEYS = 48  # that stay in the first cache while all queries meet them


def placed(slots, starts, counts, shared):
    """What `attended` asks of `counts` new tokens in each slot after `starts`: places and groups."""
    counts = np.array(counts)
    offsets = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    places = np.stack((np.repeat(slots, counts), np.repeat(starts, counts) + offsets), 1)
    firsts = np.flatnonzero(offsets % shared == 0)
    return places, np.stack((firsts, np.append(firsts[1:], len(offsets))), 1)


@loop()
def attended(
    x, norm, after, eps, qkv, count, bias, head_norms, output, turns, store, layer, rows, window, parts
):
    """x [rows, width] += attention of its norm; keys and values go to their places in the cache.

    after: weights of the norm of what is added, or none. qkv, output: (packed, scales). count: heads that
    ask. turns: cos and sin [context, 2, head_dim / 2].
    store: the cache [slots, layers, 2, kv_heads, length, head_dim in whole blocks]. rows: each row's slot
    and place in it [rows, 2]; first and last row [n, 2] of neighbours in one slot. window: tokens back that
    are seen.
    """
    places, groups = rows
    made = np.empty((len(x), (count + 2 * store.shape[3]) * 2 * turns.shape[2]), np.float32)
    spread(_normed(x, norm, eps, qkv), qkv[0], qkv[1], made, parts)
    heads = made.reshape(len(x), -1, 2 * turns.shape[2])
    _place(heads, bias, head_norms, eps, turns, store, layer, places)
    seen = np.zeros((len(x), output[0].shape[1] * 32), np.float32)
    _look(heads, store, layer, places, groups, window, seen, parts)
    _add(x, seen, output, after, eps, parts)


@loop()
def thought(x, norm, after, eps, gate, up, down, bend, parts):
    """x [rows, width] += the feed-forward layer of its norm (see `fed`), normed if there is `after`."""
    _add(x, _gated(_normed(x, norm, eps, gate), gate, up, down, bend, parts), down, after, eps, parts)


@loop()
def _normed(x, norm, eps, matrix):
    """The norm of each row, as wide as the matrix's blocks."""
    rows = np.zeros((len(x), matrix[0].shape[1] * 32), np.float32)
    _norm(x, norm, eps, rows)
    return rows


@loop()
def _gated(rows, gate, up, down, bend, parts):
    """silu(W_gate x) · W_up x, as wide as the blocks of `down`."""
    hidden = np.zeros((len(rows), down[0].shape[1] * 32), np.float32)
    other = np.empty_like(hidden)
    _gate(ready(rows, gate[0], parts), gate[0], gate[1], up[0], up[1], hidden, other, bend, parts)
    return hidden


@loop()
def _add(x, rows, matrix, after, eps, parts):
    """x += rows times the matrix, normed if there is `after`."""
    added = np.empty_like(x)
    spread(rows, matrix[0], matrix[1], added, parts)
    if len(after):
        _norm(added, after, eps, added)
    for row in range(len(x)):
        for i in range(x.shape[1]):
            x[row, i] += added[row, i]


@loop()
def fed(x, gate, up, down, bend, parts):
    """W_down (silu(W_gate x) · W_up x) of rows, each matrix (packed, scales); bend: see `moe.BENDS`."""
    rows, out = np.zeros((len(x), gate[0].shape[1] * 32), np.float32), np.empty_like(x)
    rows[:, : x.shape[1]] = x
    spread(_gated(rows, gate, up, down, bend, parts), down[0], down[1], out, parts)
    return out


@loop(fastmath={"contract"})
def _norm(x, weight, eps, out):
    """Each row divided by the root of its mean square, times the weight (`nn/norm.py`); `out` may be `x`.

    The squares are summed in lanes of our own, so that the order is the same wherever this is compiled in.
    """
    squares, size = np.empty(WIDTH, np.float32), x.shape[1]
    for row in range(len(x)):
        squares[:] = 0
        for i in range(0, size, WIDTH):
            for lane in range(min(WIDTH, size - i)):
                squares[lane] += x[row, i + lane] * x[row, i + lane]
        square = np.float32(0)
        for lane in range(WIDTH):
            square += squares[lane]
        factor = np.float32(1) / np.sqrt(square / np.float32(size) + np.float32(eps))
        for i in range(size):
            out[row, i] = x[row, i] * factor * weight[i]


@loop()
def _place(heads, bias, head_norms, eps, turns, store, layer, places):
    """Queries and keys are turned by their place, keys and values written to the cache."""
    kv_heads = store.shape[3]
    count = heads.shape[1] - 2 * kv_heads
    for row in range(len(heads)):
        own, (slot, place) = heads[row], places[row]
        for head in range(len(bias)):
            for d in range(len(own[0])):
                own[head, d] += bias[head, d]
        if head_norms.shape[1]:
            _norm(own[:count], head_norms[0], eps, own[:count])
            _norm(own[count:-kv_heads], head_norms[1], eps, own[count:-kv_heads])
        _turn(own, count + kv_heads, turns[min(place, len(turns) - 1)])
        for head in range(kv_heads):
            for d in range(len(own[0])):
                store[slot, layer, 0, head, place, d] = own[count + head, d]
                store[slot, layer, 1, head, place, d] = own[count + kv_heads + head, d]


@loop(fastmath={"contract"})
def _turn(heads, count, turn):
    """Rotary position embedding: planes (j, j + half) of each head turned (`nn/rope.py`)."""
    half = heads.shape[1] // 2
    for head in range(count):
        for j in range(half):
            a, b = heads[head, j], heads[head, j + half]
            heads[head, j] = a * turn[0, j] - b * turn[1, j]
            heads[head, j + half] = b * turn[0, j] + a * turn[1, j]


@loop(parallel=True)
def _look(heads, store, layer, places, groups, window, out, parts):
    """Queries look at what their slot holds up to them; a group's rows and heads share keys and values."""
    tasks = len(groups) * store.shape[3]
    for part in prange(parts):
        for task in range(part, tasks, parts):  # later tokens see more, so the parts take turns
            _look_one(heads, store, layer, places, groups, window, out, task)


@loop()
def _look_one(heads, store, layer, places, groups, window, out, task):
    kv_heads, length, size = store.shape[3], store.shape[4], heads.shape[2]
    kv, (first, last) = task // len(groups), groups[task % len(groups)]
    shared = heads.shape[1] // kv_heads - 2
    slot, at, end = places[first, 0], max(0, places[first, 1] + 1 - window), places[last - 1, 1] + 1
    queries = np.zeros(((last - first) * shared, store.shape[5]), np.float32)
    for q in range(len(queries)):
        for d in range(size):
            queries[q, d] = heads[first + q // shared, kv * shared + q % shared, d]
    scores = np.empty((len(queries), end - at), np.float32)
    keys = store[slot, layer, 0, kv].reshape(length, -1, 32)
    for key in range(at, end, KEYS):
        tiled(queries, keys, key, min(KEYS, end - key), scores, 0, len(queries), key - at)
    for q in range(len(queries)):
        place = places[first + q // shared, 1]
        _soften(scores[q], max(0, place + 1 - window) - at, place + 1 - at, 1 / np.sqrt(size))
    mix(scores, store[slot, layer, 1, kv], at, end, queries)
    for q in range(len(queries)):
        for d in range(size):
            out[first + q // shared, (kv * shared + q % shared) * size + d] = queries[q, d]


@loop(fastmath=FAST)
def _soften(scores, begin, end, factor):
    """The softmax of the scores between begin and end, 0 elsewhere."""
    scores[:begin] = 0
    scores[end:] = 0
    seen = scores[begin:end]  # an index from 0 on is no negative one: the loops become vectors
    highest = np.int32(_highest(seen)).view(np.float32)
    total, factor = np.float32(0), np.float32(factor)
    for t in range(len(seen)):
        seen[t] = exp((seen[t] - highest) * factor)
        total += seen[t]
    total = np.float32(1) / total
    for t in range(len(seen)):
        seen[t] *= total


@loop()
def _highest(scores):
    """The largest, by bits made to be in order as whole numbers, whose comparisons become vectors."""
    bits, highest = scores.view(np.int32), np.int32(-(2**31))
    for t in range(len(bits)):
        highest = max(highest, _ordered(bits[t]))
    return _ordered(highest)


@loop()
def _ordered(bits):
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@loop(parallel=True)
def _gate(x, gate, gate_scales, up, up_scales, hidden, other, bend, parts):
    """silu(W_gate x) · W_up x; each part makes both for its columns."""
    for part in prange(parts):
        first, last = len(gate) * part // parts, len(gate) * (part + 1) // parts
        span(x, gate, gate_scales, hidden, first, last)
        span(x, up, up_scales, other, first, last)
        width = 1 if gate.ndim == 3 else WIDTH
        _silu(hidden, other, first * width, last * width, np.float32(bend[0]), np.float32(bend[1]))


@loop(fastmath={"contract"})
def _silu(hidden, other, first, last, a, b):
    for row in range(len(hidden)):
        values, factors = hidden[row, first:last], other[row, first:last]
        for i in range(len(values)):
            values[i] *= factors[i] / (np.float32(1) + exp(-values[i] * (a + b * values[i] * values[i])))


@loop(fastmath={"contract"}, inline="always")
def exp(x):
    """eˣ in fp32 to 2 units in the last place, of arithmetic alone so that it becomes vectors.

    x = k ln 2 + r with |r| ≤ ln 2 / 2 (Cody and Waite 1980), a polynomial in r, k in the exponent.
    """
    x = min(max(x, np.float32(-87)), np.float32(88))
    k = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - k * np.float32(0.693359375) + k * np.float32(2.12194440e-4)
    p = np.float32(1 / 5040)
    for factor in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        p = p * r + np.float32(factor)
    return p * np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)
