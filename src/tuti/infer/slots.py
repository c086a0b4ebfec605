"""Which text holds which slot of the cache, in how much memory, and what is known beside.

Slots are numbered so that answers under way hold 0 … ready - 1 and prompts being read follow: a pass over
the answers reads their keys in place, and whoever leaves is replaced by the last.

Memory is limited in tokens that all texts hold together, in pages. What room is left, up to a quarter of the
limit, holds the beginnings of texts that were read, found again by content (prefix caching, as vLLM's).
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from torch import Tensor

from tuti.infer.generate import Model
from tuti.infer.requests import Ticket
from tuti.nn import KVCache

PAGE = 64

Key = tuple[int, tuple[int, ...]]  # the number of the page before (0: none), this page's tokens


class Prefixes:
    """Pages of one model's texts, the least recently used first; `pool` has a slot of PAGE tokens each.

    A page is found by its tokens and the page before it: the table compares tokens themselves, so that no
    two texts can be taken for one another. What is given out is to be copied into the asker's own slot, 10 µs
    a token for a model that reads one in 1.2 ms; so nothing here is ever in use, and the least recently used
    page may go at any moment. A text's beginning counts as used after its end: a page never outlives the one
    before it. All lie in memory of their own: taken from the allocator, in the place of what was let go, a
    server's memory grew by some 2 MB a minute for ten minutes.
    """

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


class Slots:
    """The texts under way."""

    def __init__(self, model: Model, count: int, length: int, memory: int) -> None:
        """`length` and `memory` as `Engine` has them."""
        one = model.cache(1, 1)
        affordable = memory // one.bytes
        fits = affordable if one.grows else affordable // (count + 1)
        self.length = min(length or max(1, fits), model.config.context)
        self.most_tokens = max(affordable, _paged(self.length + 1))
        self.known = Prefixes(model.cache(max(1, self.most_tokens // 4 // PAGE), PAGE))
        self.cache = model.cache(count + 1, self.length)  # one spare, to exchange two slots
        self.count = count
        self.live: list[Ticket] = []  # by slot
        self.ready = 0

    @property
    def answering(self) -> list[Ticket]:
        return self.live[: self.ready]

    @property
    def reading(self) -> list[Ticket]:
        return self.live[self.ready :]

    @property
    def held(self) -> int:
        """Tokens that the live texts have room for."""
        return sum(_paged(len(ticket.ids)) for ticket in self.live)

    def admit(self, ticket: Ticket) -> bool:
        """Whether there was a slot and memory for what the text says."""
        if len(self.live) == self.count or self.held + _paged(len(ticket.ids)) > self.most_tokens:
            return False
        self.live.append(ticket)
        return True

    def evict(self) -> Ticket | None:
        """The youngest, without its slot, if texts outgrew the limit (no score: it would be told twice)."""
        slots = [slot for slot, ticket in enumerate(self.live) if not ticket.request.score]
        if self.held <= self.most_tokens or not slots or len(self.live) == 1:
            return None
        slot = max(slots, key=lambda slot: self.live[slot].number)
        ticket = self.live[slot]
        self.remove(slot)
        ticket.read = 0
        return ticket

    def recall(self, ticket: Ticket) -> int:
        """Puts what is known of the text into its slot; how many tokens that were.

        Two tokens at least are left to read: on a GPU one alone would be computed as an answer's, with
        other bits.
        """
        slot, before = self.live.index(ticket), ticket.read
        for page in self.known.find(ticket.ids[:-2])[before // PAGE :]:
            self.cache.append(slot, page)
        ticket.read = self.cache.lengths[slot]
        return ticket.read - before

    def keep(self, slot: int, held: int | None = None) -> None:
        """What the slot holds will be known, as far as there is room beside `held` tokens (all that live)."""
        ticket = self.live[slot]
        if not ticket.request.score:
            ids = ticket.ids[: self.cache.lengths[slot]]
            self.known.keep(ids, self._room_beside(held), partial(self.cache.held, slot))

    def fit(self) -> None:
        """Lets go of what is known, where the live texts need its room."""
        self.known.shrink(self._room_beside())

    def _room_beside(self, held: int | None = None) -> int:
        """A quarter of all at most: what a server takes should be known after minutes, not after hours."""
        return min(self.most_tokens - (self.held if held is None else held), self.most_tokens // 4)

    def answer(self, slot: int) -> None:
        """The slot's prompt is read: it goes to those that answer."""
        self._swap(slot, self.ready)
        self.ready += 1

    def remove(self, slot: int) -> None:
        """Takes a text out of its slot and closes the gap."""
        self.keep(slot, self.held - _paged(len(self.live[slot].ids)))
        self.cache.free(slot)
        if slot < self.ready:  # the last of those under way takes the place
            self.ready -= 1
            self._swap(slot, self.ready)
            slot = self.ready
        self._swap(slot, len(self.live) - 1)
        self.live.pop()

    def clear(self) -> None:
        """Forgets everything, whatever state it is in."""
        for slot in range(self.count):
            self.cache.free(slot)
        self.known.shrink(0)
        self.live, self.ready = [], 0

    def _swap(self, a: int, b: int) -> None:
        """Exchanges two live slots; an empty one needs no copy."""
        if a == b:
            return
        self.cache.move(a, self.count)
        self.cache.move(b, a)
        self.cache.move(self.count, b)
        self.live[a], self.live[b] = self.live[b], self.live[a]


def _paged(tokens: int) -> int:
    """In whole pages."""
    return -(-tokens // PAGE) * PAGE
