"""Unified memory: execution and storage share one pool with a hard cap, and borrow from one another.

As in Spark (its tuning guide, "Memory Management Overview"): storage may use whatever execution does not;
execution may take that back by evicting blocks, down to storage's own region; storage never evicts
execution. Whoever is refused spills to disk: nothing is ever granted beyond the cap.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

REGION = 0.5
"""Share of the pool in which cached blocks are safe from execution"""


@dataclass
class Pool:
    """The bytes of one executor."""

    cap: int
    evict: Callable[[int], int] = lambda wanted: 0
    """Makes room by moving cached blocks to disk, the least recently used first; returns the bytes freed"""
    execution: int = 0
    storage: int = 0
    peak: int = 0
    held: int = 0
    """Most bytes of execution alone"""

    def take_execution(self, size: int) -> bool:
        """Bytes for a hash table, a sort, a buffer; False: spill what you hold."""
        granted = self._room(size, evictable=self.storage - int(REGION * self.cap))
        self.execution += size * granted
        self.held = max(self.held, self.execution)
        self.peak = max(self.peak, self.execution + self.storage)
        return granted

    def take_storage(self, size: int) -> bool:
        """Bytes for a cached block; False: keep it on disk."""
        granted = self._room(size, evictable=self.storage)
        self.storage += size * granted
        self.peak = max(self.peak, self.execution + self.storage)
        return granted

    def _room(self, size: int, evictable: int) -> bool:
        free = self.cap - self.execution - self.storage
        if free < size <= free + evictable:
            freed = self.evict(size - free)
            self.storage, free = self.storage - freed, free + freed
        return free >= size


class Claim(AbstractContextManager["Claim"]):
    """What one operator holds of a pool; it lets go of everything when the operator ends."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.held = pool, 0

    def grow(self, size: int) -> bool:
        """Asks for more; False: spill."""
        granted = self.pool.take_execution(size)
        self.held += size * granted
        return granted

    def clear(self) -> None:
        """Gives all of it back."""
        self.pool.execution -= self.held
        self.held = 0

    def __exit__(self, *_: object) -> None:
        self.clear()
