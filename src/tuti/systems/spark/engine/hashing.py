"""Where a row belongs: a hash of its keys that is the same in every process, on every machine, for ever.

Python's own `hash` of a string differs from process to process: two executors would send one key to two
places. Whole columns are hashed at once.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tuti.systems.spark.query.arrow import Array, Batch, pa, pc

Hashes = NDArray[np.uint64]
BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2^64
INVERSE = pow(BASE, -1, 2**64)
NULL = np.uint64(0xA0761D6478BD642F)
AT_ONCE = 1 << 16
"""Bytes of strings that are hashed together: 24 bytes of working memory for each"""


def hash_rows(batch: Batch, keys: Sequence[str]) -> Hashes:
    """[rows] the hash of each row's keys; the order in which keys are named is no matter."""
    total = np.zeros(batch.num_rows, np.uint64)
    for key in sorted(keys):
        total = mixed(total * np.uint64(BASE) + hash_column(batch.column(key)))
    return total


def hash_column(column: Array) -> Hashes:
    """[rows] equal for equal values: whole numbers of all widths alike, -0.0 as 0.0, every nan as one."""
    kind, types = column.type, pa.types
    if types.is_floating(kind):
        values = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False) + 0.0
        found = np.where(np.isnan(values), np.nan, values).view(np.uint64)
    elif types.is_boolean(kind) or types.is_integer(kind) or types.is_date(kind) or types.is_timestamp(kind):
        width = pa.int32() if types.is_date32(kind) else kind if kind == pa.uint64() else pa.int64()
        whole = pc.fill_null(column.cast(width), pa.scalar(0, width))
        found = whole.to_numpy(zero_copy_only=False).astype(np.uint64)
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind):
        found = _hash_bytes(column.cast(pa.large_binary()))
    else:
        assert types.is_decimal(kind), f"a column of type {kind} cannot be a key"
        found = _hash_bytes(column.cast(pa.string()).cast(pa.large_binary()))
    return np.where(column.is_valid().to_numpy(zero_copy_only=False), mixed(found), NULL)


def mixed(values: Hashes) -> Hashes:
    """Every bit of the result depends on every bit (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _hash_bytes(column: Array) -> Hashes:
    """Polynomials in `BASE` whose coefficients are the bytes, all rows from one running sum.

    Σ byte_i BASE^(i - start) over a row is the difference of two running sums, over BASE^start.
    """
    rows, (_, offsets, data) = len(column), column.buffers()
    if not rows or data is None:
        return np.zeros(rows, np.uint64)
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + rows + 1]
    if ends[-1] - ends[0] > AT_ONCE and rows > 1:
        halves = (column.slice(0, rows // 2), column.slice(rows // 2))
        return np.concatenate([_hash_bytes(half) for half in halves])
    content = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].astype(np.uint64) + np.uint64(1)
    size = len(content)
    kept = _powers if size <= AT_ONCE else _powers.__wrapped__  # those of one long row are not
    powers, inverses = (kept(base, max(size, AT_ONCE)) for base in (BASE, INVERSE))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(content * powers[:size], dtype=np.uint64)])
    starts = ends - ends[0]
    lengths = np.diff(starts).astype(np.uint64)
    return (sums[starts[1:]] - sums[starts[:-1]]) * inverses[starts[:-1]] + lengths


@lru_cache
def _powers(base: int, size: int) -> Hashes:
    """base^i for i ≤ size, modulo 2^64."""
    return np.concatenate([np.ones(1, np.uint64), np.cumprod(np.full(size, base, np.uint64))])
