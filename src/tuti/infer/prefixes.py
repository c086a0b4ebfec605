"""Keys and values of texts that were read before, found again by content (prefix caching, as vLLM's).

A text is cut into pages of PAGE tokens. A page is found by its tokens and the page before it: the
table compares tokens themselves, so that no two texts can be taken for one another. What is given out
is to be copied into the asker's own slot, 10 µs a token for a model that reads one in 1.2 ms; so nothing
here is ever in use, and the least recently used page may go at any moment. A text's beginning counts as
used after its end: a page never outlives the one before it. All lie in memory of their own: taken from the
allocator, in the place of what was let go, a server's memory grew by some 2 MB a minute for ten minutes.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import count

from torch import Tensor

from tuti.nn import KVCache

PAGE = 64

Key = tuple[int, tuple[int, ...]]  # the number of the page before (0: none), this page's tokens


class Prefixes:
    """Pages of one model's texts, the least recently used first; `pool` has a slot of PAGE tokens each."""

    def __init__(self, pool: KVCache) -> None:
        self._pages: OrderedDict[Key, tuple[int, int]] = OrderedDict()  # its number and its slot
        self._numbers, self._pool = count(1), pool
        self._free = list(range(len(pool.lengths)))

    @property
    def tokens(self) -> int:
        return PAGE * len(self._pages)

    def find(self, ids: Sequence[int], copied: Callable[[int, int], Tensor] | None = None) -> list[Tensor]:
        """The pages of the longest beginning that is known; all, where `copied` makes what is missing."""
        used: list[Key] = []
        before = 0
        for start in range(0, len(ids) - PAGE + 1, PAGE):
            key = before, tuple(ids[start : start + PAGE])
            if key not in self._pages:
                if copied is None:
                    break
                slot = self._free.pop()
                self._pool.append(slot, copied(start, start + PAGE))
                self._pages[key] = next(self._numbers), slot
            used.append(key)
            before = self._pages[key][0]
        for key in reversed(used):
            self._pages.move_to_end(key)
        return [self._pool.held(self._pages[key][1], 0, PAGE) for key in used]

    def keep(self, ids: Sequence[int], room: int, copied: Callable[[int, int], Tensor]) -> None:
        """Adds the text's full pages, as many as `room` tokens hold, in the place of others if need be.

        `copied(start, stop)` are the keys and values of these tokens.
        """
        room = min(room, PAGE * len(self._pool.lengths))
        ids = ids[: max(0, room)]
        missing = len(ids) // PAGE - len(self.find(ids))
        self.shrink(room - PAGE * missing)  # what is known of this text was used last, and stays
        self.find(ids, copied)

    def shrink(self, tokens: int) -> None:
        """Drops pages until at most `tokens` tokens are held."""
        while self._pages and self.tokens > tokens:
            _, (_, slot) = self._pages.popitem(last=False)
            self._pool.free(slot)
            self._free.append(slot)
