"""Unified memory: execution and storage share one pool with a hard cap, and borrow from one another.

As in Spark (its tuning guide, "Memory Management Overview"): storage may use whatever execution does not;
execution may take that back by evicting blocks, down to storage's own region; storage never evicts
execution. Whoever is refused spills to disk: nothing is ever granted beyond the cap.
Cached partitions are Arrow files that every executor maps, in memory while there is room, else on disk.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuti.systems.spark.query.arrow import Batch, Schema, ipc, pa

REGION = 0.5
"""Share of the pool in which cached blocks are safe from execution"""


@dataclass
class Block:
    """A cached partition; it is lost with the executor that keeps it."""

    path: str
    size: int
    """Bytes in memory; 0: it lies on disk"""
    keeper: int
    used: float


@dataclass
class Pool:
    """The bytes of one executor amid a task, and the blocks as it sees them: it answers for its own."""

    cap: int
    keeper: int
    blocks: dict[str, Block]
    memory: Path
    disk: Path
    """Folders of the blocks that are in memory, and of those on disk"""
    execution: int = 0
    held: int = 0
    """Most bytes of execution alone"""

    def __post_init__(self) -> None:
        self.storage = self.peak = sum(b.size for b in self.blocks.values() if b.keeper == self.keeper)

    def take(self, size: int, *, storage: bool = False) -> bool:
        """Bytes for a hash table, a sort, a buffer; `storage`: for a cached block. False: use the disk."""
        evictable = self.storage - int(REGION * self.cap) * (not storage)
        over = self.execution + self.storage + size - self.cap
        if 0 < over <= evictable:
            freed = self.evict(over)
            self.storage, over = self.storage - freed, over - freed
        granted = over <= 0
        self.storage += size * (granted and storage)
        self.execution += size * (granted and not storage)
        self.peak = max(self.peak, self.execution + self.storage)
        self.held = max(self.held, self.execution)
        return granted

    def read(self, name: str) -> Iterator[Batch] | None:
        """A block's batches; None where there is no such block (any longer)."""
        block = self.blocks.get(name)
        if block is None or not os.path.exists(block.path):
            return None
        block.used = time.monotonic()
        return _streams(pa.memory_map(block.path))

    def write(self, name: str, batches: Iterable[Batch], schema: Schema) -> Iterator[Batch]:
        """Keeps a partition and reads it back: in memory if all of it is granted, else on disk."""
        folder, taken = self.memory, 0
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{name}-{os.getpid()}"
        stream = ipc.new_stream(str(partial), schema)
        for batch in batches:
            if folder == self.memory and not self.take(batch.nbytes, storage=True):
                stream.close()  # the rest goes to disk, after what there is
                self.storage, taken, folder = self.storage - taken, 0, self.disk
                partial = Path(shutil.move(partial, folder / partial.name))
                stream = ipc.new_stream(pa.OSFile(str(partial), "ab"), schema)
            taken += batch.nbytes * (folder == self.memory)
            stream.write_batch(batch)
        stream.close()
        os.replace(partial, folder / name)
        self.blocks[name] = Block(str(folder / name), taken, self.keeper, time.monotonic())
        return _streams(pa.memory_map(str(folder / name)))

    def evict(self, wanted: int) -> int:
        """Moves own blocks from memory to disk, the least recently used first; returns bytes freed."""
        own = [block for block in self.blocks.values() if block.size and block.keeper == self.keeper]
        freed = 0
        for block in sorted(own, key=lambda block: block.used):
            if freed >= wanted:
                break
            block.path = str(shutil.move(block.path, self.disk / Path(block.path).name))
            freed, block.size = freed + block.size, 0
        return freed


@dataclass
class Claim(AbstractContextManager["Claim"]):
    """What one operator holds of a pool; it lets go of everything when the operator ends."""

    pool: Pool
    held: int = 0

    def grow(self, size: int) -> bool:
        """Asks for more; False: spill."""
        granted = self.pool.take(size)
        self.held += size * granted
        return granted

    def clear(self) -> None:
        self.pool.execution -= self.held
        self.held = 0

    def __exit__(self, *_: object) -> None:
        self.clear()


def _streams(file: Any) -> Iterator[Batch]:
    """The rows of one Arrow stream, or of several, one after the other."""
    while file.tell() < file.size():
        yield from ipc.open_stream(file)
