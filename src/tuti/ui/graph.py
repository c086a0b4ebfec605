"""Boxes with what flows between them, and bars against their caps, as inline SVG without a script.

Both have a fixed size in which text can be read, and scroll by themselves where a page is narrower; what they
show is said in their description.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tuti.ui.template import drawn

WIDE, LINE, GAP = 300, 19, 24
"""Pixels: a box, a line of text, the space between boxes"""
LOOK = {"line": LINE, "gap": GAP, "wide": WIDE}


@dataclass(frozen=True)
class Box:
    """A step: its name, what is said in it, and what is said of what leaves it."""

    name: str
    lines: Sequence[str] = ()
    leaves: Sequence[str] = ()
    reads: Sequence[int] = ()
    """The numbers of the boxes before it from which something comes"""
    mark: str = ""
    """A word, if it stands out"""

    @property
    def height(self) -> int:
        return LINE * (1 + len(self.lines)) + 14

    @property
    def depth(self) -> int:
        return self.height + LINE * len(self.leaves)

    def told(self, boxes: "Sequence[Box]") -> str:
        reads = f" ← {', '.join(boxes[read].name for read in self.reads)}" if self.reads else ""
        return ", ".join([self.name + reads, *filter(None, [self.mark]), *self.lines, *self.leaves])


@dataclass(frozen=True)
class Bar:
    """A value against its cap, in words (`told`) and in any one unit; without a cap: 0."""

    name: str
    told: str
    value: float
    cap: float


def graph(boxes: Sequence[Box], *, title: str, direction: str = "ltr") -> str:
    """A figure of boxes, each below those that it reads; nothing to draw gives an empty string."""
    if not boxes:
        return ""
    row_of: list[int] = []
    for number, box in enumerate(boxes):
        assert all(read < number for read in box.reads), "a box stands behind those that it reads"
        row_of.append(1 + max((row_of[read] for read in box.reads), default=-1))
    rows = [[n for n, its in enumerate(row_of) if its == row] for row in range(max(row_of) + 1)]
    width = max(map(len, rows)) * (WIDE + GAP)
    places: dict[int, tuple[float, float]] = {}
    top = 4.0
    for row in rows:
        for place, number in enumerate(row):
            places[number] = (width * (2 * place + 1) / (2 * len(row)), top)
        top += max(boxes[n].depth for n in row) + 2 * GAP
    told = "; ".join(box.told(boxes) for box in boxes)
    shown = {"width": width, "height": top - GAP, "boxes": boxes, "places": places, "bars": ()}
    return drawn("graph", title, told, direction=direction, **shown, **LOOK)


def bars(rows: Sequence[Bar], *, title: str, direction: str = "ltr") -> str:
    """A figure of bars on one scale, each filled from where lines begin; none gives an empty string."""
    most = max((max(row.value, row.cap) for row in rows), default=0)
    if not most:
        return ""
    told = "; ".join(f"{row.name}: {row.told}" for row in rows)
    size = {"width": WIDE + GAP, "height": len(rows) * LINE * 2.5 + 8}
    shown: dict[str, object] = {"boxes": (), "places": {}, "bars": rows, "most": most}
    return drawn("graph", title, told, direction=direction, **size, **shown, **LOOK)
