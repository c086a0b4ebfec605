"""A line chart as inline SVG, and training as such charts: for eye and screen reader, without a script."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from tuti.ui.template import drawn, has_interval

WIDTH, HEIGHT = 480, 260
START, END, TOP, BOTTOM = 66, 16, 14, 46
POINTS = 300
"""Points drawn of one series; more are thinned, keeping each stretch's least and greatest."""
# Told apart without colour too.
DASHES = ("", "7 4", "2 4", "10 4 2 4", "1 5", "14 5")

NOT_MEASURES = frozenset({"event", "time", "step", "steps", "last", "seconds"})
CHARTS = 6

Point = tuple[float, float]
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Series:
    """One line: its name and its (x, y) points, x ascending; points that are not finite are left out."""

    name: str
    points: Sequence[Point]


class Axis:
    """The range of some values, and where it begins and ends on the chart; `margin` is a share of it."""

    def __init__(self, values: Sequence[float], begin: float, end: float, margin: float) -> None:
        self.begin, self.end, low, high = begin, end, min(values), max(values)
        if high - low <= 1e-9 * max(abs(low), abs(high), 1e-90):
            half = max(0.5, abs(low) * 1e-3)
            low, high = low - half, high + half
        space = (high - low) * margin
        self.low, self.high = low - space, high + space

    def place(self, value: float) -> float:
        """Where a value lies on the chart, to a tenth."""
        return round(self.begin + (self.end - self.begin) * (value - self.low) / (self.high - self.low), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values inside the range: where each lies, and how it is written."""
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        first = math.ceil(self.low / step - 1e-9)
        found = [n * step for n in range(first, first + 12) if n * step <= self.high + step * 1e-9]
        return [(self.place(tick), _short(tick)) for tick in found]


def line_chart(series: Sequence[Series], *, title: str, x_label: str, y_label: str) -> str:
    """A figure with its caption; nothing to draw gives an empty string."""
    lines = [Series(s.name, points) for s in series if (points := _thinned(s.points))]
    if not lines:
        return ""
    x = Axis([p[0] for s in lines for p in s.points], START, WIDTH - END, 0.0)
    y = Axis([p[1] for s in lines for p in s.points], HEIGHT - BOTTOM, TOP, 0.06)
    told = f"{y_label}: {'; '.join(_told(line, x_label) for line in lines)}"
    shown = {"lines": lines, "x": x, "y": y, "x_label": x_label, "y_label": y_label, "dashes": DASHES}
    return drawn("chart", title, told, direction="ltr", width=WIDTH, height=HEIGHT, **shown)


def _thinned(given: Sequence[Point]) -> list[Point]:
    """At most some POINTS points, the extremes of every stretch among them."""
    # Finite, and far enough from the ends of floating point that axes can be reckoned with them.
    points = [(float(a), float(b)) for a, b in given if abs(a) < 1e100 and abs(b) < 1e100]
    if len(points) <= POINTS:
        return points
    size = math.ceil(len(points) / (POINTS // 2))
    kept: list[Point] = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [points[0], *kept, points[-1]]


def _short(value: float) -> str:
    for least, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / size:.3g}{unit}"
    return f"{value:.4g}"


def _told(line: Series, x_label: str) -> str:
    (x0, y0), (x1, y1) = line.points[0], line.points[-1]
    if len(line.points) == 1:
        return f"{line.name}: {y0:.4g} at {x_label} {_short(x0)}"
    x, y = min(line.points, key=lambda point: point[1])
    return (
        f"{line.name}: from {y0:.4g} at {x_label} {_short(x0)} to {y1:.4g} at {x_label} {_short(x1)}, "
        f"least {y:.4g} at {_short(x)}"
    )


def number(value: object) -> float | None:
    """The value as a finite number, or None: events are read as they were found on disk."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def charts(stages: Mapping[str, Sequence[Event]], *, x_label: str = "step") -> str:
    """Of stages that log `step` and `held_out` events: the loss of each, then what it measured.

    Side by side where there is room; an empty string when nothing was measured.
    """
    made = ""
    for stage, events in stages.items():
        of = {kind: [e for e in events if e.get("event") == kind] for kind in ("step", "held_out")}
        lines = [("training loss", "nats a token", measures(of["step"]).get("loss", []))]
        for name, series in islice(measures(of["held_out"]).items(), CHARTS):
            label = name.replace("_", " ")
            lines.append((f"held-out {label}", label, series))
        for title, label, series in lines:
            made += line_chart(series, title=f"{stage}: {title}", x_label=x_label, y_label=label)
    return f'<div class="charts">\n{made}\n</div>' if made else ""


def measures(events: Sequence[Event]) -> dict[str, list[Series]]:
    """Measure → its lines: one for a plain number, one a group (script) for a table of them."""
    lines: dict[str, dict[str, dict[float, float]]] = {}
    for event in events:
        step = number(event.get("step"))
        if step is None:
            continue
        for name, value in event.items():
            if name in NOT_MEASURES:
                continue
            for line, y in _values(name, value):
                lines.setdefault(name, {}).setdefault(line, {})[step] = y
    return {n: [Series(line, sorted(at.items())) for line, at in group.items()] for n, group in lines.items()}


def _values(name: str, value: object) -> list[tuple[str, float]]:
    if isinstance(value, dict):
        fields = cast(dict[str, object], value)
        if has_interval(fields):
            return _values(name, fields["value"])
        return [(key, y) for key, v in fields.items() for _, y in _values(key, v)][:6]
    found = number(value)
    if found is None or isinstance(value, int):  # whole numbers count things, they measure nothing
        return []
    return [(name.replace("_", " "), found)]
