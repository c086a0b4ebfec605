"""Products with matrices of fp32 or bfloat16, by vector instructions that LLVM chooses.

numba compiles the loops; the sums themselves are written in LLVM's own terms, which alone fix their order
and keep it quick. Sixteen lanes are one register on AVX-512, two on AVX2, four on NEON: LLVM splits them
as the processor wants.

Every sum is formed in one order, whatever the number of rows: a row's product has the same bits alone
and in company.
"""
# numba and llvmlite have no types.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false, reportAttributeAccessIssue=false

from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import RLock

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16  # lanes; a block of 32 columns is two times as many
TILE = 6  # rows of the matrix that are unpacked together when several vectors wait for them
TOGETHER = 12  # rows whose sums of 32 numbers each fit the registers
CHUNK = 128  # vectors that a tile meets before the next: they should stay in the second cache

FLOAT, INT = ir.FloatType(), ir.IntType(32)
FLOATS, INTS = ir.VectorType(FLOAT, WIDTH), ir.VectorType(INT, WIDTH)
WORDS = ir.VectorType(ir.IntType(16), WIDTH)
_one_at_a_time = RLock()  # numba's simplest pool of threads may be entered by one caller only

_SOURCES = (Path(__file__).with_name(f"{name}.py") for name in ("lanes", "woven", "step"))
STAMP = sha256(b"".join(path.read_bytes() for path in _SOURCES)).hexdigest()


def loop(**options):
    """numba's njit, kept on disk for these very sources; no branch at a division.

    numba asks whether a function's own file has changed, not those whose functions are compiled into it.
    """

    def compiled(function):
        made = njit(nogil=True, cache=True, error_model="numpy", **options)(function)
        made._cache._cache_file._source_stamp = STAMP
        return made

    return compiled


def load(b, pointer, kind, place):
    """The value of an LLVM type at an element of an array, aligned or not."""
    value = b.load(b.bitcast(b.gep(pointer, [place]), kind.as_pointer()))
    value.align = 1
    return value


def every(b, value):
    """One number in every lane."""
    kind = ir.VectorType(value.type, WIDTH)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), value, INT(0))
    return b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), INTS([0] * WIDTH))


def fma(b, x, y, z):
    """x · y + z, rounded once."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{WIDTH}f32"), [x, y, z])


def _block(b, element, packed, block):
    """The two halves of a block's 32 numbers; `element` is numba's type of what it is packed in."""
    columns = b.mul(block, block.type(2 * WIDTH))
    places = [b.add(columns, block.type(half)) for half in (0, WIDTH)]
    if element == types.float32:
        return [load(b, packed, FLOATS, place) for place in places]
    words = [b.zext(load(b, packed, WORDS, place), INTS) for place in places]
    return [b.bitcast(b.shl(word, INTS([16] * WIDTH)), FLOATS) for word in words]  # bfloat16: an upper half


def of(context, b, kinds, values):
    """Each array's data and shape."""
    pairs = zip(kinds, values, strict=True)
    made = [context.make_array(kind)(context, b, value=value) for kind, value in pairs]
    return [(array.data, cgutils.unpack_tuple(b, array.shape)) for array in made]


def _row(b, data, shape, index):
    """Where a row of a C-ordered array begins."""
    size = shape[1] if len(shape) == 2 else b.mul(shape[1], shape[2])
    return b.gep(data, [b.mul(index, size)])


def _sums(b, vectors):
    """Each vector's sum: halves are added until one lane is left, of several vectors in one register.

    A register's lanes are groups of `width`, each a sum still to be formed. Two registers become one that
    has the groups of both, those of a quarter staying in it, since lanes cross quarters slowly.
    """
    registers, width = [(vector, [n]) for n, vector in enumerate(vectors)], WIDTH
    while width > 1:
        lanes, half, made = registers[0][0].type.count, width // 2, []
        step = 2 if lanes <= WIDTH // 2 and len(registers) > 1 else 1
        quarter = lanes if step == 1 else max(width, 4)
        for start in range(0, len(registers), step):
            pair = [registers[min(n, len(registers) - 1)] for n in range(start, start + step)]
            low, labels = [], []
            for begin in range(0, lanes, quarter):
                for number, (_, own) in enumerate(pair):
                    for group in range(begin, begin + quarter, width):
                        low += [number * lanes + group + lane for lane in range(half)]
                        labels.append(own[group // width])
            parts = [pair[0][0], pair[-1][0]]
            kind = ir.VectorType(INT, len(low))
            ends = [b.shuffle_vector(*parts, kind([lane + high for lane in low])) for high in (0, half)]
            made.append((b.fadd(*ends), labels))
        registers, width = made, half
    places = {n: (vector, INT(lane)) for vector, own in registers for lane, n in enumerate(own)}
    return [b.extract_element(*places[n]) for n in range(len(vectors))]


def _dots(rows, vectors):
    """An intrinsic: so many packed rows from `i` on times so many vectors from `r` on → their products.

    Each product is one register of running sums, whatever is formed beside it.
    """

    @intrinsic
    def dots(context, packed, i, x, r):
        def written(context, b, signature, arguments):
            kinds, (packed_in, i_at, x_in, r_at) = signature.args, arguments
            weights, given = of(context, b, (kinds[0], kinds[2]), (packed_in, x_in))
            word = i_at.type
            blocks = weights[1][1]
            starts = [_row(b, *weights, b.add(i_at, word(n))) for n in range(rows)]
            others = [_row(b, *given, b.add(r_at, word(n))) for n in range(vectors)]
            zero = FLOATS([0.0] * WIDTH)
            sums = [[cgutils.alloca_once_value(b, zero) for _ in others] for _ in starts]
            with cgutils.for_range(b, blocks) as loop:
                columns = b.mul(loop.index, word(2 * WIDTH))
                numbers = [_block(b, packed.dtype, start, loop.index) for start in starts]
                for half in range(2):
                    place = b.add(columns, word(half * WIDTH))
                    known = [load(b, other, FLOATS, place) for other in others]
                    for own, totals in zip(numbers, sums, strict=True):
                        for value, total in zip(known, totals, strict=True):
                            b.store(fma(b, own[half], value, b.load(total)), total)
            found = _sums(b, [b.load(total) for totals in sums for total in totals])
            return context.make_tuple(b, signature.return_type, found)

        made = types.UniTuple(types.float32, rows * vectors)
        return made(packed, types.intp, x, types.intp), written

    return dots


one, two, three, six = _dots(1, 1), _dots(1, 2), _dots(3, 1), _dots(3, 2)


@intrinsic
def unpack(context, packed, i, out, r):
    """Row i's numbers, written to row r of `out`."""

    def written(context, b, signature, arguments):
        kinds, (packed_in, i_at, out_in, r_at) = signature.args, arguments
        (weights, shape), out_array = of(context, b, (kinds[0], kinds[2]), (packed_in, out_in))
        blocks, start, to = shape[1], _row(b, weights, shape, i_at), _row(b, *out_array, r_at)
        with cgutils.for_range(b, blocks) as loop:
            for number, half in enumerate(_block(b, packed.dtype, start, loop.index)):
                columns = b.mul(loop.index, loop.index.type(2 * WIDTH))
                at = b.gep(to, [b.add(columns, loop.index.type(number * WIDTH))])
                b.store(half, b.bitcast(at, FLOATS.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.void(packed, types.intp, out, types.intp), written


def _sums_of_rows(count):
    """An intrinsic: `count` rows of weights from `r` on times values `at` to `end`, 32 columns from `d`."""

    @intrinsic
    def mixed(context, weights, values, at, end, r, d, out):
        def written(context, b, signature, arguments):
            arrays = of(context, b, *([each[n] for n in (0, 1, 6)] for each in (signature.args, arguments)))
            (weight, wide), (value, size), (into, _) = arrays
            _, _, first, last, r_at, d_at, _ = arguments
            word = r_at.type
            sums = [cgutils.alloca_once_value(b, FLOATS([0.0] * WIDTH)) for _ in range(2 * count)]
            rows = [b.gep(weight, [b.mul(b.add(r_at, word(n)), wide[1])]) for n in range(count)]
            with cgutils.for_range(b, b.sub(last, first)) as loop:
                place = b.add(b.mul(b.add(first, loop.index), size[1]), d_at)
                halves = [load(b, value, FLOATS, b.add(place, word(half))) for half in (0, WIDTH)]
                for n, row in enumerate(rows):
                    factor = every(b, load(b, row, FLOAT, loop.index))
                    for half, total in zip(halves, sums[2 * n : 2 * n + 2], strict=True):
                        b.store(fma(b, factor, half, b.load(total)), total)
            for n, total in enumerate(sums):
                place = b.add(b.mul(b.add(r_at, word(n // 2)), size[1]), b.add(d_at, word(n % 2 * WIDTH)))
                b.store(b.load(total), b.bitcast(b.gep(into, [place]), FLOATS.as_pointer())).align = 1
            return context.get_dummy_value()

        return types.void(weights, values, *[types.intp] * 4, out), written

    return mixed


_mixed_one, _mixed_three, _mixed_all = (_sums_of_rows(count) for count in (1, 3, TOGETHER))


@loop()
def mix(weights, values, at, end, out):
    """Each row's weighted sum of the values from `at` to `end`, from the first to the last."""
    rows = len(weights)
    whole, most = rows // TOGETHER * TOGETHER, rows // 3 * 3
    for d in range(0, values.shape[1], 2 * WIDTH):
        for r in range(0, whole, TOGETHER):
            _mixed_all(weights, values, at, end, r, d, out)
        for r in range(whole, most, 3):
            _mixed_three(weights, values, at, end, r, d, out)
        for r in range(most, rows):
            _mixed_one(weights, values, at, end, r, d, out)


@loop()
def plain(x, packed, out, first, last):
    """Rows `first` to `last` of the matrix times each vector, into `out[:, first:last]`."""
    if len(x) == 1:
        for i in range(first, last):
            out[0, i] = one(packed, i, x, 0)[0]
        return
    tile = np.empty((TILE, x.shape[1]), np.float32)
    blocks = tile.reshape(TILE, -1, 2 * WIDTH)
    for begin in range(0, len(x), CHUNK):
        end = min(begin + CHUNK, len(x))
        for start in range(first, last, TILE):
            size = min(TILE, last - start)
            for i in range(size):
                unpack(packed, start + i, tile, i)
            tiled(x, blocks, 0, size, out, begin, end, start)


@loop()
def tiled(x, tile, at, size, out, begin, end, start):
    """`size` fp32 rows from `at` on times vectors `begin` to `end`, into columns from `start` on.

    Three by two at a time: that many sums, and what they are made of, fit the registers.
    """
    whole, even = size // 3 * 3, begin + (end - begin) // 2 * 2
    for r in range(begin, even, 2):
        for i in range(0, whole, 3):
            a, b, c, d, e, f = six(tile, at + i, x, r)
            to = start + i
            out[r, to], out[r, to + 1], out[r, to + 2] = a, c, e
            out[r + 1, to], out[r + 1, to + 1], out[r + 1, to + 2] = b, d, f
        for i in range(whole, size):
            out[r, start + i], out[r + 1, start + i] = two(tile, at + i, x, r)
    for r in range(even, end):
        for i in range(0, whole, 3):
            to = start + i
            out[r, to], out[r, to + 1], out[r, to + 2] = three(tile, at + i, x, r)
        for i in range(whole, size):
            out[r, start + i] = one(tile, at + i, x, r)[0]


@contextmanager
def threads(wanted: int):
    """Compiled loops inside use so many threads, and wait for nobody else's."""
    most = min(wanted, numba.config.NUMBA_NUM_THREADS)
    with _one_at_a_time:
        if numba.get_num_threads() != most:
            numba.set_num_threads(most)
        yield
