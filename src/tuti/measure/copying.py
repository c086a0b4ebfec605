"""The parrot score: how much of what a model writes stands word for word in its training text.

The outputs become a suffix automaton (Blumer et al. 1985), and the training text streams past it once, a
character at a time. The state that is reached tells the longest run that ends at that character and stands
in an output, so that of every run the longest copy is known, and no hash can err. Memory is bounded by the
outputs and one document. Characters are code points.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint32]
Numbers = NDArray[np.int64]

# No code point is this large, so no run crosses from one output into the next.
_END = 0x11_0000


@dataclass(frozen=True)
class CopyReport:
    """share: of output characters inside copied runs of the least length or more, 0 to 1.
    longest: characters in the longest copied run, of any length. example: that run."""

    share: float
    longest: int
    example: str


def parrot_scores(
    groups: Sequence[Sequence[str]], training: Iterable[str], at_least: int = 20
) -> list[CopyReport]:
    """How much of each group's outputs (without their prompts) is copied from the training documents.

    Those stream past once.
    """
    assert at_least > 0
    codes = [[_codes(output, _END) for output in outputs] for outputs in groups]
    texts = [np.concatenate([_codes(""), *outputs]) for outputs in codes]
    automaton = _Automaton(np.concatenate([_codes(""), *texts]))
    for document in training:
        automaton.read(_codes(document))
    ends = np.cumsum([len(text) for text in texts])[:-1]
    return [
        _report(text, runs, at_least)
        for text, runs in zip(texts, np.split(automaton.copied(), ends), strict=False)
    ]


def _codes(text: str, *marks: int) -> Codes:
    """The code points of a text (lone surrogates kept), and the marks behind it."""
    found = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.dtype("<u4"))
    return np.append(found, np.asarray(marks, np.uint32))


def _report(text: Codes, runs: Numbers, at_least: int) -> CopyReport:
    """The figures of a text, from the longest copied run that ends at each of its characters."""
    letters, longest = int((text != _END).sum()), int(runs.max(initial=0))
    if not longest:
        return CopyReport(0.0, 0, "")
    places = np.flatnonzero(runs >= at_least) + 1
    edges = np.zeros(len(text) + 1, np.int64)
    np.add.at(edges, places - runs[places - 1], 1)
    edges[places] -= 1
    stop = int(runs.argmax()) + 1
    example = "".join(map(chr, text[stop - longest : stop].tolist()))
    return CopyReport(int((np.cumsum(edges) > 0).sum()) / letters, longest, example)


class _Automaton:
    """A state for each set of places in a text where the same runs end; 0 is that of the empty run."""

    def __init__(self, text: Codes) -> None:
        self.edges: list[dict[int, int]] = [{}]
        self.link, self.size = [-1], [0]
        """Of each state: the one of its runs' longest other suffix; the length of its longest run"""
        at, ends = 0, list[int]()
        for code in text.tolist():
            at = self._extend(at, code)
            ends.append(at)
        self.ends = np.asarray(ends, np.int64)
        # The same as arrays: the edges of a state, by their codes, are first[state] : first[state + 1].
        edges = [edge for out in self.edges for edge in sorted(out.items())]
        codes, targets = (np.asarray([edge[side] for edge in edges], np.int64) for side in (0, 1))
        first = np.cumsum([0, *map(len, self.edges)])
        self.longest = np.zeros(len(first) - 1, np.int64)
        """Of each state: the longest of its runs that was read"""
        self.arrays = (first, codes, targets, np.asarray(self.link), np.asarray(self.size))

    def _extend(self, at: int, code: int) -> int:
        """The state of the whole text, which had the state `at`, with one more character."""
        new = self._add(self.size[at] + 1, 0, {})
        while at >= 0 and code not in self.edges[at]:
            self.edges[at][code] = new
            at = self.link[at]
        if at < 0:
            return new
        known = self.edges[at][code]
        if self.size[known] > self.size[at] + 1:  # its shorter runs end here, too: they get their own state
            short = self._add(self.size[at] + 1, self.link[known], dict(self.edges[known]))
            self.link[known] = short
            while at >= 0 and self.edges[at].get(code) == known:
                self.edges[at][code] = short
                at = self.link[at]
            known = short
        self.link[new] = known
        return new

    def _add(self, size: int, link: int, edges: dict[int, int]) -> int:
        self.size.append(size)
        self.link.append(link)
        self.edges.append(edges)
        return len(self.edges) - 1

    def read(self, document: Codes) -> None:
        """Notes what of the text stands in a document."""
        _compiled()(document, *self.arrays, self.longest)

    def copied(self) -> Numbers:
        """[characters of the text] the longest run that ends there and was read."""
        order = np.argsort(self.size, kind="stable")[1:].tolist()
        for state in reversed(order):  # with a run its suffixes were read
            if self.longest[state]:
                self.longest[self.link[state]] = self.size[self.link[state]]
        for state in order:
            self.longest[state] = max(self.longest[state], self.longest[self.link[state]])
        return self.longest[self.ends]


@cache
def _compiled() -> Callable[..., None]:
    from numba import njit  # pyright: ignore[reportUnknownVariableType]: it takes a moment, and few need it

    compiled: Callable[..., None] = njit(nogil=True, cache=True)(_read)
    return compiled


def _read(
    document: Any, first: Any, codes: Any, targets: Any, link: Any, size: Any, longest: Any
) -> None:
    """Walks through a document: the longest run that ends at each character is of `state`, `length` long."""
    state, length = 0, 0
    for code in document:
        while True:
            edge, end = first[state], first[state + 1]
            while end - edge > 1:  # the last edge whose code is not larger
                middle = (edge + end) // 2
                edge, end = (middle, end) if codes[middle] <= code else (edge, middle)
            if edge < end and codes[edge] == code:
                state, length = targets[edge], length + 1
                break
            if state == 0:
                break
            state = link[state]
            length = size[state]
        longest[state] = max(longest[state], length)
