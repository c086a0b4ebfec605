"""A line chart as inline SVG: read by eye, by screen reader, in light and dark, without a script."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuti.run import hash_text
from tuti.ui.text import escape

WIDTH, HEIGHT = 480.0, 260.0
START, END, TOP, BOTTOM = 66.0, 16.0, 14.0, 46.0
POINTS = 300
"""Points drawn of one series; more are thinned, keeping each stretch's least and greatest."""
# Told apart without colour too.
DASHES = ("", "7 4", "2 4", "10 4 2 4", "1 5", "14 5")

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line: its name and its (x, y) points, x ascending; points that are not finite are left out."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """A range of values and where it lies on the chart."""

    low: float
    high: float
    is_log: bool
    place: Callable[[float], float]

    def ticks(self) -> list[float]:
        """Round values inside the range."""
        return _powers(self.low, self.high) if self.is_log else _rounds(self.low, self.high)


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """A figure with its caption; nothing to draw gives an empty string."""
    lines = [Series(s.name, _usable(s.points, log_x, log_y)) for s in series]
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    x = _axis([p[0] for s in lines for p in s.points], log_x, START, WIDTH - END, 0.0)
    y = _axis([p[1] for s in lines for p in s.points], log_y, HEIGHT - BOTTOM, TOP, 0.06)
    told = "; ".join(_told(line, x_label) for line in lines)
    mark = "c" + hash_text(f"{title}\n{told}")[:10]
    parts = [
        _grid(x, y),
        *(_line(line, number, x, y) for number, line in enumerate(lines)),
        _labels(x_label, y_label),
    ]
    legend = _legend(lines) if len(lines) > 1 else ""
    return (
        f"<figure>\n<figcaption>{escape(title)}</figcaption>\n{legend}"
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" direction="ltr" '
        f'aria-labelledby="{mark}t {mark}d" preserveAspectRatio="xMidYMid meet">\n'
        f'<title id="{mark}t">{escape(title)}</title>\n'
        f'<desc id="{mark}d">{escape(y_label)}: {escape(told)}.</desc>\n'
        + "\n".join(parts)
        + "\n</svg>\n</figure>"
    )


def _usable(points: Sequence[Point], log_x: bool, log_y: bool) -> list[Point]:
    return _thinned([(float(a), float(b)) for a, b in points if _drawable(a, log_x) and _drawable(b, log_y)])


def _drawable(value: float, is_log: bool) -> bool:
    """Finite, and far enough from the ends of floating point that axes can be reckoned with it."""
    return abs(value) < 1e100 and (value > 1e-100 or not is_log)


def _thinned(points: list[Point]) -> list[Point]:
    """At most some POINTS points, the extremes of every stretch among them."""
    if len(points) <= POINTS:
        return points
    size = math.ceil(len(points) / (POINTS // 2))
    kept: list[Point] = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [points[0], *kept, points[-1]]


def _axis(values: list[float], is_log: bool, begin: float, end: float, margin: float) -> Axis:
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-90):
        half = max(0.5, abs(low) * 1e-3)
        low, high = (low / 2, high * 2) if is_log else (low - half, high + half)

    def scaled(value: float) -> float:
        return math.log10(value) if is_log else value

    first, last = scaled(low), scaled(high)
    space = (last - first) * margin
    first, last = first - space, last + space

    def place(value: float) -> float:
        return begin + (end - begin) * (scaled(value) - first) / (last - first)

    return Axis(10**first if is_log else first, 10**last if is_log else last, is_log, place)


def _rounds(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, first + 12) if n * step <= high + step * 1e-9]


def _powers(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        every = max(1, len(decades) // 7)
        ticks = [m * 10.0**d for d in decades[::every] for m in factors]
        ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) >= 3:
            return ticks
    return _rounds(low, high)


def _short(value: float) -> str:
    if abs(value) >= 10_000:
        for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:.3g}{unit}"
    return f"{value:.4g}"


def _grid(x: Axis, y: Axis) -> str:
    parts: list[str] = []
    for tick in y.ticks():
        at = y.place(tick)
        parts.append(
            f'<line class="grid" x1="{START:g}" x2="{WIDTH - END:g}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{START - 8:g}" y="{at + 4:.1f}" text-anchor="end">{_short(tick)}</text>'
        )
    for tick in x.ticks():
        at, foot = x.place(tick), HEIGHT - BOTTOM
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{foot:g}" y2="{foot + 5:g}"/>'
            f'<text x="{at:.1f}" y="{foot + 19:g}" text-anchor="middle">{_short(tick)}</text>'
        )
    return f'<g aria-hidden="true">{"".join(parts)}</g>'


def _line(line: Series, number: int, x: Axis, y: Axis) -> str:
    look = _look(number)
    if len(line.points) == 1:
        a, b = line.points[0]
        at = f'cx="{x.place(a):.1f}" cy="{y.place(b):.1f}" r="3.5"'
        return f'<circle {at} style="fill: {_colour(number)}"/>'
    points = " ".join(f"{x.place(a):.1f},{y.place(b):.1f}" for a, b in line.points)
    return f'<polyline class="series" points="{points}" {look}/>'


def _look(number: int) -> str:
    dash = DASHES[number % len(DASHES)]
    pattern = f' stroke-dasharray="{dash}"' if dash else ""
    return f'style="stroke: {_colour(number)}"{pattern}'


def _colour(number: int) -> str:
    return f"var(--series-{number % len(DASHES)})"


def _labels(x_label: str, y_label: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text x="{(START + WIDTH - END) / 2:g}" y="{HEIGHT - 8:g}" text-anchor="middle" '
        f'aria-hidden="true">{escape(x_label)}</text>'
        f'<text transform="rotate(-90 15 {middle:g})" x="15" y="{middle:g}" text-anchor="middle" '
        f'aria-hidden="true">{escape(y_label)}</text>'
    )


def _legend(lines: Sequence[Series]) -> str:
    items = "".join(
        f'<li><svg class="key" width="34" height="10" aria-hidden="true"><line class="series" x1="2" '
        f'x2="32" y1="5" y2="5" stroke-width="2" {_look(number)}/></svg> '
        f'<bdi dir="auto">{escape(line.name)}</bdi></li>'
        for number, line in enumerate(lines)
    )
    return f'<ul class="legend">{items}</ul>\n'


def _told(line: Series, x_label: str) -> str:
    """What the line shows, in words."""
    (x0, y0), (x1, y1) = line.points[0], line.points[-1]
    if len(line.points) == 1:
        return f"{line.name}: {y0:.4g} at {x_label} {_short(x0)}"
    x, y = min(line.points, key=lambda point: point[1])
    return (
        f"{line.name}: from {y0:.4g} at {x_label} {_short(x0)} to {y1:.4g} at {x_label} {_short(x1)}, "
        f"least {y:.4g} at {_short(x)}"
    )
