"""Beginnings are found by content, the least recently used go, nothing outlives what came before it."""

import random

import torch
from torch import Tensor

from tuti.infer.slots import PAGE, Prefixes
from tuti.nn import KVCache


def page_of(ids: list[int]):
    """Stands for the keys and values: they depend on all tokens up to the page's end, not on its own."""
    return lambda start, stop: torch.full((1, 2, 1, PAGE, 1), value(ids[:stop]))


def value(ids: list[int]) -> float:
    return float(hash(tuple(ids)) % 2**24)


def prefixes_of(pages: int = 40) -> Prefixes:
    return Prefixes(KVCache(1, 1, 1, pages, PAGE))


def known(prefixes: Prefixes, ids: list[int]) -> int:
    pages: list[Tensor] = prefixes.find(ids)
    for number, page in enumerate(pages):
        assert (page == value(ids[: (number + 1) * PAGE])).all()
    return len(pages)


def text(*pages: int) -> list[int]:
    return [page for page in pages for _ in range(PAGE)]


def test_a_beginning_is_found_whole_pages_at_a_time() -> None:
    prefixes = prefixes_of()
    ids = text(1, 2, 3) + [4] * (PAGE - 1)
    prefixes.keep(ids, 10**6, page_of(ids))
    assert prefixes.tokens == 3 * PAGE
    assert known(prefixes, ids) == 3 and known(prefixes, ids[: 3 * PAGE - 1]) == 2
    assert known(prefixes, text(1, 2, 4)) == 2
    assert known(prefixes, text(2, 3)) == 0  # the same pages after another beginning are others
    assert known(prefixes, [0, *ids]) == 0


def test_the_least_recently_used_goes_from_its_end() -> None:
    prefixes = prefixes_of()
    for ids in (text(1, 2, 3), text(5, 6), text(1, 2, 4)):
        prefixes.keep(ids, 10**6, page_of(ids))
    assert prefixes.tokens == 6 * PAGE
    prefixes.shrink(4 * PAGE)  # the end of the first, then of the second
    assert [known(prefixes, t) for t in (text(1, 2, 3), text(5, 6), text(1, 2, 4))] == [2, 1, 3]
    prefixes.shrink(0)
    assert prefixes.tokens == 0


def test_random_texts_keep_to_the_room_and_never_get_another_ones_pages() -> None:
    source, prefixes = random.Random(0), prefixes_of(12)
    for _ in range(600):
        ids = text(*(source.randrange(3) for _ in range(source.randrange(6))))
        room = PAGE * source.randrange(12) + source.randrange(PAGE)
        if source.random() < 0.5:
            prefixes.keep(ids, room, page_of(ids))
            assert prefixes.tokens <= room
            assert known(prefixes, ids) == min(len(ids), room) // PAGE
        known(prefixes, ids)
        numbers = {number for number, _ in prefixes._pages.values()}
        assert all(before in numbers | {0} for before, _ in prefixes._pages)  # none is out of reach
