"""A line chart as inline SVG: read by eye, by screen reader, in light and dark, without a script."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tuti.ui.template import drawn

WIDTH, HEIGHT = 480, 260
START, END, TOP, BOTTOM = 66, 16, 14, 46
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
    """A range of values, and where it begins and ends on the chart."""

    low: float
    high: float
    is_log: bool
    begin: float
    end: float

    def place(self, value: float) -> float:
        """Where a value lies on the chart, to a tenth."""
        first, last, here = (math.log10(v) if self.is_log else v for v in (self.low, self.high, value))
        return round(self.begin + (self.end - self.begin) * (here - first) / (last - first), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values inside the range: where each lies, and how it is written."""
        found = _powers(self.low, self.high) if self.is_log else _rounds(self.low, self.high)
        return [(self.place(tick), _short(tick)) for tick in found]


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, log_x: bool = False,
    log_y: bool = False,
) -> str:
    """A figure with its caption; nothing to draw gives an empty string."""
    lines = [Series(s.name, _usable(s.points, log_x, log_y)) for s in series]
    lines = [line for line in lines if line.points]
    if not lines:
        return ""
    x = _axis([p[0] for s in lines for p in s.points], log_x, START, WIDTH - END, 0.0)
    y = _axis([p[1] for s in lines for p in s.points], log_y, HEIGHT - BOTTOM, TOP, 0.06)
    told = f"{y_label}: {'; '.join(_told(line, x_label) for line in lines)}"
    shown = {"lines": lines, "x": x, "y": y, "x_label": x_label, "y_label": y_label, "dashes": DASHES}
    return drawn("chart", title, told, direction="ltr", width=WIDTH, height=HEIGHT, **shown)


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

    if is_log:
        space = (high / low) ** margin
        return Axis(low / space, high * space, True, begin, end)
    space = (high - low) * margin
    return Axis(low - space, high + space, False, begin, end)


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
