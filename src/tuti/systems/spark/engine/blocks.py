"""Cached partitions: Arrow files that every executor maps, in memory while there is room, else on disk."""

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tuti.systems.spark.engine.memory import Pool
from tuti.systems.spark.query.arrow import Batch, Schema, ipc, pa, size_of


@dataclass
class Block:
    """A cached partition; it is lost with the executor that keeps it."""

    path: str
    size: int
    """Bytes in memory; 0: it lies on disk"""
    keeper: int
    used: float


@dataclass
class Store:
    """The blocks as one executor sees them; it answers for those that it keeps itself."""

    keeper: int
    blocks: dict[str, Block]
    memory: Path
    disk: Path

    def read(self, name: str) -> Iterator[Batch] | None:
        """A block's batches; None where there is no such block (any longer)."""
        block = self.blocks.get(name)
        if block is None or not os.path.exists(block.path):
            return None
        block.used = time.monotonic()
        return iter(ipc.open_stream(pa.memory_map(block.path)))

    def write(self, name: str, batches: Iterable[Batch], schema: Schema, pool: Pool) -> Iterator[Batch]:
        """Keeps a partition and reads it back: in memory if the pool grants all of it, else on disk."""
        folder, taken = self.memory, 0
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{name}-{os.getpid()}"
        stream = ipc.new_stream(str(partial), schema)
        for batch in batches:
            if folder == self.memory:
                if pool.take_storage(size_of(batch)):
                    taken += size_of(batch)
                else:  # the rest goes to disk, after what there is
                    stream.close()
                    pool.storage, taken, folder = pool.storage - taken, 0, self.disk
                    moved = Path(shutil.move(partial, folder / partial.name))
                    partial, stream = moved.with_suffix(".more"), None
                    stream = ipc.new_stream(str(partial), schema)
                    with pa.OSFile(str(moved), "rb") as file, ipc.open_stream(file) as before:
                        for earlier in before:
                            stream.write_batch(earlier)
                    moved.unlink()
            stream.write_batch(batch)
        stream.close()
        os.replace(partial, folder / name)
        self.blocks[name] = Block(str(folder / name), taken, self.keeper, time.monotonic())
        return iter(ipc.open_stream(pa.memory_map(str(folder / name))))

    def evict(self, wanted: int) -> int:
        """Moves own blocks from memory to disk, the least recently used first; returns bytes freed."""
        own = [(b.used, name) for name, b in self.blocks.items() if b.size and b.keeper == self.keeper]
        freed = 0
        for _, name in sorted(own):
            if freed >= wanted:
                break
            block = self.blocks[name]
            block.path = str(shutil.move(block.path, self.disk / name))
            freed, block.size = freed + block.size, 0
        return freed
