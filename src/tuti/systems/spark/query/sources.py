"""Where rows come from: a table, parquet files, lines of text. Nothing is read until a task asks for it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tuti.run import UserError
from tuti.systems.spark.query.arrow import LINE, Array, Batch, Table, pa, pc, pieces, pq
from tuti.systems.spark.query.plan import Scan


def of_table(table: Table, partitions: int) -> Scan:
    """The rows of a table, in so many partitions of nearly one size."""
    ends = [len(table) * n // partitions for n in range(partitions + 1)]

    def read(span: tuple[int, int], columns: Sequence[str]) -> Iterator[Batch]:
        yield from pieces(table.select(list(columns)).slice(*span).to_batches())

    spans = tuple((start, end - start) for start, end in zip(ends, ends[1:], strict=False))
    return Scan((), spans, read, "table", made=table.schema.remove_metadata())


def of_parquet(paths: Sequence[Path]) -> Scan:
    """A partition for each file."""

    def read(path: Path, columns: Sequence[str]) -> Iterator[Batch]:
        yield from pq.ParquetFile(path).iter_batches(columns=list(columns))

    if not paths:
        raise UserError("no parquet files to read", hint="a folder's: sorted(Path(folder).glob('*.parquet'))")
    schema = pq.read_schema(paths[0]).remove_metadata()
    return Scan((), tuple(paths), read, f"{len(paths)} parquet files", made=schema)


def of_text(paths: Sequence[Path], block: int) -> Scan:
    """Lines, a partition for each `block` of bytes of a file."""
    starts = [(path, range(0, max(1, path.stat().st_size), block)) for path in paths]
    spans = tuple((path, start) for path, blocks in starts for start in blocks)

    def read(span: tuple[Path, int], columns: Sequence[str]) -> Iterator[Batch]:
        yield from pieces(pa.table([lines_of(*span, block)], schema=LINE).to_batches())

    return Scan((), spans, read, f"{len(paths)} text files", made=LINE)


def lines_of(path: Path, start: int, block: int) -> Array:
    """The lines that begin in [start, start + block) of a file; bytes that are not UTF-8 become U+FFFD."""
    with open(path, "rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()  # it began before
        data = file.read(max(0, start + block - file.tell()))
        if data and not data.endswith(b"\n"):
            data += file.readline()
    if not data:
        return pa.array([], pa.string())
    text = data.removesuffix(b"\n").decode("utf-8", "replace")
    return pc.utf8_rtrim(pc.split_pattern(pa.array([text]), "\n").flatten(), "\r")
