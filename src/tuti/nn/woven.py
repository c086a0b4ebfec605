"""Products of vectors in 8 bits with tiles of sixteen rows in 8 or 4 bits, in whole numbers.

A row of numbers is rounded in blocks of 32 to 8 bits (`rounded`), as llama.cpp does; then a block's product
is a sum of bytes times bytes, which processors form four at a time in each of sixteen lanes. A lane is a
row of the matrix, so that nothing is summed across lanes. Whole numbers have no order of summing; a row's
blocks are added from the first to the last: its product has the same bits alone and in company.
"""
# numba and llvmlite have no types.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false, reportAttributeAccessIssue=false

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from tuti.nn.lanes import CHUNK, FLOAT, FLOATS, INT, INTS, WIDTH, every, fma, load, loop, of, plain, threads

_chosen = numba.config.CPU_FEATURES
_features = (llvm.get_host_cpu_features().flatten() if _chosen is None else _chosen).split(",")
_ways = {"+avx512vnni": 16, "+avxvnni": 8, "+avx2": 2}
WAY = next((_ways[name] for name in _ways if name in _features), 0)
"""How this processor forms products of bytes: by fours in 16 or 8 lanes, by pairs, or one by one (0)"""
TOGETHER = 8 if WAY == 16 else 4  # vectors that meet a tile at once: their sums fit the registers
BIAS = 0 if WAY == 2 else 128  # of 8 bits, when they are multiplied


def _byte_products(b, total, weights, numbers, eight):
    """Each lane's total + Σ of its four bytes w · x, x from -127 to 127; `eight`: w means w - 128 + BIAS."""
    if not WAY:
        for place in range(4):
            up, down = (INTS([bits] * WIDTH) for bits in (24 - 8 * place, 24))
            w, x = b.lshr(b.shl(weights, up), down), b.ashr(b.shl(numbers, up), down)
            total = b.add(total, b.mul(w, x))
        return total
    lanes, made = max(WAY, 8), []
    kind = ir.VectorType(INT, lanes)
    dot = f"llvm.x86.avx512.vpdpbusd.{32 * lanes}"
    for at in range(0, WIDTH, lanes):
        pick = ir.Constant(kind, list(range(at, at + lanes)))
        given = [b.shuffle_vector(value, value, pick) for value in (total, weights, numbers)]
        made.append(_pairs(b, kind, *given, eight) if WAY == 2 else _called(b, dot, kind, *given))
    return b.shuffle_vector(made[0], made[-1], INTS(list(range(WIDTH))))


def _called(b, name, to, *given):
    """What an instruction of the processor makes of some values."""
    kind = ir.FunctionType(to, [value.type for value in given])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), given)


def _pairs(b, kind, total, weights, numbers, eight):
    """Two products make 16 bits: those of 8 bits without a sign would not fit, so it goes to x."""
    bytes_, words = ir.VectorType(ir.IntType(8), 32), ir.VectorType(ir.IntType(16), 16)
    w, x = b.bitcast(weights, bytes_), b.bitcast(numbers, bytes_)
    if eight:
        w = b.xor(w, bytes_([128] * 32))
        x = _called(b, "llvm.x86.avx2.psign.b", bytes_, x, w)
        w = b.select(b.icmp_signed("<", w, bytes_([0] * 32)), b.neg(w), w)
    pairs = _called(b, "llvm.x86.avx2.pmadd.ub.sw", words, w, x)
    return b.add(total, _called(b, "llvm.x86.avx2.pmadd.wd", kind, pairs, words([1] * 16)))


def _dots(count):
    """An intrinsic: `count` rows from `r` on of rounded numbers times tile `t`, to the rows of `out`."""

    @intrinsic
    def dots(context, packed, scales, t, x, factors, sums, r, out):
        def written(context, b, signature, arguments):
            places = [0, 1, 3, 4, 5, 7]
            arrays = of(context, b, *([each[n] for n in places] for each in (signature.args, arguments)))
            (weights, shape), (scale, _), (numbers, _), (factor, _), (summed, _), (into, _) = arrays
            t_at, r_at, word = arguments[2], arguments[6], arguments[2].type
            halves, blocks = scales.ndim == 4, shape[1]
            words, parts = (4, 2) if halves else (8, 1)
            totals = [cgutils.alloca_once_value(b, FLOATS([0.0] * WIDTH)) for _ in range(count)]
            with cgutils.for_range(b, blocks) as loop:
                block = b.add(b.mul(t_at, blocks), loop.index)
                own = [b.add(b.mul(b.add(r_at, word(n)), blocks), loop.index) for n in range(count)]
                sums_ = [load(b, summed, INT, at) for at in own]
                made = [INTS([0] * WIDTH) if halves else every(b, b.mul(one, INT(-BIAS))) for one in sums_]
                for j in range(words):
                    at = b.add(b.mul(block, word(64 * words)), word(64 * j))
                    both = load(b, weights, INTS, at)
                    for part in range(parts):
                        value = both
                        if halves:
                            value = b.and_(b.lshr(both, INTS([4 * part] * WIDTH)), INTS([0x0F0F0F0F] * WIDTH))
                        for n in range(count):
                            at = b.add(b.mul(own[n], word(32)), word(16 * part + 4 * j))
                            x = every(b, load(b, numbers, INT, at))
                            made[n] = _byte_products(b, made[n], value, x, not halves)
                steps = [b.add(b.mul(block, word(WIDTH * parts)), word(WIDTH * i)) for i in range(parts)]
                scale_ = [load(b, scale, FLOATS, at) for at in steps]
                for n in range(count):
                    by = load(b, factor, FLOAT, own[n])
                    total = b.load(totals[n])
                    total = fma(b, b.sitofp(made[n], FLOATS), b.fmul(scale_[0], every(b, by)), total)
                    if halves:
                        given = b.fmul(by, b.sitofp(sums_[n], FLOAT))
                        total = fma(b, scale_[1], every(b, given), total)
                    b.store(total, totals[n])
            for n, total in enumerate(totals):
                at = b.bitcast(b.gep(into, [word(WIDTH * n)]), FLOATS.as_pointer())
                b.store(b.load(total), at).align = 1
            return context.get_dummy_value()

        return types.void(packed, scales, types.intp, x, factors, sums, types.intp, out), written

    return dots


_one, _some = _dots(1), _dots(TOGETHER)


@loop(parallel=True)
def rounded(x, parts):
    """Rows [M, 32 G] in blocks of 8 bits: (numbers int8 [M, G, 32], factors, their sums [M, G])."""
    rows, blocks = len(x), x.shape[1] // 32
    numbers = np.empty((rows, blocks, 32), np.int8)
    factors, sums = np.empty((rows, blocks), np.float32), np.empty((rows, blocks), np.int32)
    if rows < TOGETHER:
        _round(x, numbers, factors, sums, 0, rows)
    else:
        for part in prange(parts):
            _round(x, numbers, factors, sums, rows * part // parts, rows * (part + 1) // parts)
    return numbers, factors, sums


@loop()
def _round(x, numbers, factors, sums, first, last):
    for row in range(first, last):
        for block in range(x.shape[1] // 32):
            own = x[row, 32 * block : 32 * (block + 1)]
            most = np.int32(_largest(own.view(np.int32))).view(np.float32)
            by = np.float32(127) / most if most > 0 else np.float32(0)
            total = np.int32(0)
            for i in range(32):
                # 3 · 2²² is added: the last bits of the sum count ones.
                nearest = np.int32(np.float32(own[i] * by + np.float32(12582912)).view(np.int32) - 0x4B400000)
                numbers[row, block, i] = nearest
                total += nearest
            factors[row, block], sums[row, block] = most / np.float32(127), total


@loop()
def _largest(bits):
    """The largest magnitude of 32 numbers, by their bits, so that what is no number stays none."""
    largest = np.int32(0)
    for i in range(32):
        largest = max(largest, np.int32(bits[i] & 0x7FFFFFFF))
    return largest


@loop()
def _span(x, packed, scales, out, first, last):
    """Tiles `first` to `last` of the matrix times each rounded row, into their columns of `out`."""
    numbers, factors, sums = x
    found = np.empty((TOGETHER, WIDTH), np.float32)
    for begin in range(0, len(numbers), CHUNK):
        end = min(begin + CHUNK, len(numbers))
        whole = begin + (end - begin) // TOGETHER * TOGETHER
        for t in range(first, last):
            for r in range(begin, whole, TOGETHER):
                _some(packed, scales, t, numbers, factors, sums, r, found)
                _put(found, TOGETHER, out, r, t)
            for r in range(whole, end):
                _one(packed, scales, t, numbers, factors, sums, r, found)
                _put(found, 1, out, r, t)


@loop()
def _put(found, count, out, r, t):
    """A tile's columns, as many of them as there are."""
    for n in range(count):
        for i in range(min(WIDTH, out.shape[1] - WIDTH * t)):
            out[r + n, WIDTH * t + i] = found[n, i]


@loop()
def ready(x, packed, parts):
    """Rows as `span` takes them for this matrix."""
    if packed.ndim == 3:
        return x
    return rounded(x, parts)


@loop()
def span(x, packed, scales, out, first, last):
    """Rows, or tiles, `first` to `last` of a matrix times each row of x, into their columns of `out`."""
    if packed.ndim == 3:
        plain(x, packed, out, first, last)
    else:
        _span(x, packed, scales, out, first, last)


@loop(parallel=True)
def _spread(x, packed, scales, out, parts):
    for part in prange(parts):
        span(x, packed, scales, out, len(packed) * part // parts, len(packed) * (part + 1) // parts)


@loop()
def spread(x, packed, scales, out, parts):
    """x [M, K in whole blocks] times all rows of the matrix, into `out` [M, N]."""
    _spread(ready(x, packed, parts), packed, scales, out, parts)


def products(x: np.ndarray, packed: np.ndarray, scales: np.ndarray, rows: int, wanted: int) -> np.ndarray:
    """x [M, K] times the N packed rows: [M, N] in fp32. See `quantised.Matrix` for the packing."""
    out = np.empty((len(x), rows), np.float32)
    with threads(wanted):
        spread(x, packed, scales, out, wanted)
    return out
