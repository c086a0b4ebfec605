"""Boxes with what flows between them, and bars against their caps, as inline SVG without a script.

Both have a fixed size in which text can be read, and scroll by themselves where a page is narrower; what they
show is said in their description.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuti.ui.template import drawn
from tuti.ui.text import escape

WIDE, LINE, GAP = 300, 19, 24
"""Pixels: a box, a line of text, the space between boxes"""
LETTERS = 40
"""Of a line of text at most"""


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
        top += max(_height(boxes[n]) + LINE * len(boxes[n].leaves) for n in row) + 2 * GAP
    parts = [*_edges(boxes, places), *(_box(boxes[n], *place) for n, place in places.items())]
    told = "; ".join(_told(boxes, box) for box in boxes)
    size = {"width": f"{width:g}", "height": f"{top - GAP:g}", "direction": direction}
    return drawn("graph", title, told, **size, inside="\n".join(parts))


def _height(box: Box) -> float:
    return LINE * (1 + len(box.lines)) + 14


def _edges(boxes: Sequence[Box], places: dict[int, tuple[float, float]]) -> Iterator[str]:
    for number, box in enumerate(boxes):
        x, y = places[number]
        for read in box.reads:
            a, b = places[read]
            b += _height(boxes[read]) + LINE * len(boxes[read].leaves) + 7 * bool(boxes[read].leaves)
            elbow = b + GAP / 2
            line, head = f"M {a:g} {b:g} V {elbow:g} L {x:g} {y - 10:g} V {y:g}", f"M {x - 5:g} {y - 8:g}"
            yield f'<path class="edge" d="{line} {head} L {x:g} {y:g} L {x + 5:g} {y - 8:g}"/>'


def _box(box: Box, x: float, y: float) -> str:
    name = f"{box.name} · {box.mark}" if box.mark else box.name
    kind = ' class="marked"' if box.mark else ""
    height = _height(box)
    inside = [_text(line, x, y + LINE * (2 + n), "") for n, line in enumerate(box.lines)]
    below = [_text(line, x, y + height + LINE * (1 + n), "") for n, line in enumerate(box.leaves)]
    drawn = f'<rect{kind} x="{x - WIDE / 2:g}" y="{y:g}" width="{WIDE}" height="{height:g}" rx="6"/>'
    return "\n".join([drawn, _text(name, x, y + LINE, "name"), *inside, *below])


def _text(text: str, x: float, y: float, kind: str, anchor: str = "middle") -> str:
    shown = text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(shown)}</text>'


def _told(boxes: Sequence[Box], box: Box) -> str:
    reads = f" ← {', '.join(boxes[read].name for read in box.reads)}" if box.reads else ""
    said = [f"{box.name}{reads}", *([box.mark] if box.mark else []), *box.lines, *box.leaves]
    return ", ".join(said)


def bars(rows: Sequence[Bar], *, title: str, direction: str = "ltr") -> str:
    """A figure of bars on one scale, each filled from where lines begin; none gives an empty string."""
    most = max((max(row.value, row.cap) for row in rows), default=0)
    if not most:
        return ""
    width, parts = WIDE + GAP, list[str]()
    rtl = direction == "rtl"
    for n, row in enumerate(rows):
        y = 2 * LINE * n + LINE * n // 2
        parts.append(_text(row.name, width if rtl else 0, y + LINE - 4, "", "start"))
        parts.append(_text(row.told, width if rtl else 0, y + 2 * LINE - 6, "", "start"))
        for size, kind in ((row.cap, "cap"), (min(row.value, row.cap or row.value), "used")):
            if size > 0:
                long = max(2.0, width * size / most - 2)
                x = width - long - 1 if rtl else 1
                look = f"{kind} marked" if kind == "used" and 0 < row.cap < row.value else kind
                at = f'x="{x:.1f}" y="{y + 2 * LINE - 1}" width="{long:.1f}" height="8"'
                parts.append(f'<rect class="{look}" {at}/>')
    told = "; ".join(f"{row.name}: {row.told}" for row in rows)
    size = {"width": width, "height": f"{len(rows) * LINE * 2.5 + 8:g}", "direction": direction}
    return drawn("graph", title, told, **size, inside="\n".join(parts))
