"""Products with matrices whose rows are packed in blocks, by vector instructions that LLVM chooses.

numba compiles the loops; what stands between a packed block and a sum is written in LLVM's own terms,
since no loop over bytes of half an element is turned into vector instructions by itself. Sixteen
lanes are one register on AVX-512, two on AVX2, four on NEON: LLVM splits them as the processor wants.

Every sum is formed in one order, whatever the number of rows: a row's product has the same bits alone
and in company.
"""
# numba and llvmlite have no types; this file is all that touches them.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false, reportAttributeAccessIssue=false

from threading import Lock

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16  # lanes; a block of 32 columns is two times as many
TILE = 8  # rows of the matrix that are unpacked together when several vectors wait for them

FLOAT, INT, BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)
FLOATS, INTS, BYTES = (ir.VectorType(kind, WIDTH) for kind in (FLOAT, INT, BYTE))
_one_at_a_time = Lock()  # numba's simplest pool of threads may be entered by one caller only


def _load(b, pointer, kind, place):
    """The value of an LLVM type at an element of an array, aligned or not."""
    value = b.load(b.bitcast(b.gep(pointer, [place]), kind.as_pointer()))
    value.align = 1
    return value


def _all(b, value):
    """One number in every lane."""
    first = b.insert_element(ir.Constant(FLOATS, ir.Undefined), value, INT(0))
    lanes = ir.Constant(ir.VectorType(INT, WIDTH), [0] * WIDTH)
    return b.shuffle_vector(first, ir.Constant(FLOATS, ir.Undefined), lanes)


def _fma(b, x, y, z):
    """x · y + z, rounded once."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{WIDTH}f32"), [x, y, z])


def _block(b, element, packed, scales, block):
    """The two halves of a block's 32 numbers; `element` is numba's type of what it is packed in."""
    columns = b.mul(block, block.type(2 * WIDTH))
    places = [b.add(columns, block.type(half)) for half in (0, WIDTH)]
    if element == types.float32:
        return [_load(b, packed, FLOATS, place) for place in places]
    if element == types.int8:
        scale = _all(b, _load(b, scales, FLOAT, block))
        bytes_ = [_load(b, packed, BYTES, place) for place in places]
        return [b.fmul(b.sitofp(b.sext(half, INTS), FLOATS), scale) for half in bytes_]
    pair = b.mul(block, block.type(2))
    scale, offset = (
        _all(b, _load(b, scales, FLOAT, b.add(pair, block.type(i)))) for i in range(2)
    )
    both = _load(b, packed, BYTES, b.mul(block, block.type(WIDTH)))
    low, high = b.and_(both, BYTES([15] * WIDTH)), b.lshr(both, BYTES([4] * WIDTH))
    return [_fma(b, b.uitofp(b.zext(half, INTS), FLOATS), scale, offset) for half in (low, high)]


def _pointers(context, b, signature, arguments):
    """Each array's first element, and how many blocks the second one's scales are of."""
    pairs = zip(signature.args, arguments, strict=True)
    made = [context.make_array(kind)(context, b, value=value) for kind, value in pairs]
    return [array.data for array in made], cgutils.unpack_tuple(b, made[1].shape)[0]


def _dots(rows):
    """An intrinsic: a packed row times `rows` vectors, (packed, scales, x, …) → sums."""

    def typed(context, packed, scales, *x):
        def written(context, b, signature, arguments):
            (packed_at, scales_at, *x_at), blocks = _pointers(context, b, signature, arguments)
            zero = FLOATS([0.0] * WIDTH)
            sums = [[cgutils.alloca_once_value(b, zero) for _ in range(2)] for _ in x_at]
            with cgutils.for_range(b, blocks) as loop:
                halves = _block(b, packed.dtype, packed_at, scales_at, loop.index)
                for at, own in zip(x_at, sums, strict=True):
                    for number, (half, total) in enumerate(zip(halves, own, strict=True)):
                        columns = b.mul(loop.index, loop.index.type(2 * WIDTH))
                        place = b.add(columns, loop.index.type(number * WIDTH))
                        b.store(_fma(b, half, _load(b, at, FLOATS, place), b.load(total)), total)
            kind = ir.FunctionType(FLOAT, [FLOAT, FLOATS])
            add = cgutils.get_or_insert_function(b.module, kind, f"llvm.vector.reduce.fadd.v{WIDTH}f32")
            totals = [b.fadd(b.load(low), b.load(high)) for low, high in sums]
            found = [b.call(add, [FLOAT(0.0), total], fastmath=("reassoc",)) for total in totals]
            return context.make_tuple(b, signature.return_type, found)

        return types.UniTuple(types.float32, rows)(packed, scales, *x), written

    return typed


@intrinsic
def dot(context, packed, scales, x):
    """(row · x,)"""
    return _dots(1)(context, packed, scales, x)


@intrinsic
def dot_two(context, packed, scales, x, y):
    """(row · x, row · y)"""
    return _dots(2)(context, packed, scales, x, y)


@intrinsic
def unpack(context, packed, scales, out):
    """The row's numbers, written to `out`."""

    def written(context, b, signature, arguments):
        (packed_at, scales_at, out_at), blocks = _pointers(context, b, signature, arguments)
        with cgutils.for_range(b, blocks) as loop:
            for number, half in enumerate(_block(b, packed.dtype, packed_at, scales_at, loop.index)):
                columns = b.mul(loop.index, loop.index.type(2 * WIDTH))
                at = b.gep(out_at, [b.add(columns, loop.index.type(number * WIDTH))])
                b.store(half, b.bitcast(at, FLOATS.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(packed, scales, out), written


@njit(parallel=True, nogil=True, cache=True)
def _products(x, packed, scales, out, parts):
    rows, count = packed.shape[0], x.shape[0]
    for part in prange(parts):
        first, last = rows * part // parts, rows * (part + 1) // parts
        if count == 1:
            for i in range(first, last):
                out[0, i] = dot(packed[i], scales[i], x[0])[0]
        else:
            tile = np.empty((TILE, x.shape[1]), np.float32)
            for start in range(first, last, TILE):
                size = min(TILE, last - start)
                for i in range(size):
                    unpack(packed[start + i], scales[start + i], tile[i])
                for r in range(0, count - 1, 2):
                    for i in range(size):
                        made = dot_two(tile[i], scales[start + i], x[r], x[r + 1])
                        out[r, start + i], out[r + 1, start + i] = made
                if count % 2:
                    for i in range(size):
                        out[count - 1, start + i] = dot(tile[i], scales[start + i], x[count - 1])[0]


def products(
    x: np.ndarray, packed: np.ndarray, scales: np.ndarray, threads: int
) -> np.ndarray:
    """x [M, K] times the N packed rows: [M, N] in fp32. See `quantised.Blocks` for the packing."""
    out = np.empty((len(x), len(packed)), np.float32)
    most = min(threads, numba.config.NUMBA_NUM_THREADS)
    with _one_at_a_time:
        if numba.get_num_threads() != most:
            numba.set_num_threads(most)
        _products(x, packed, scales, out, threads)
    return out
