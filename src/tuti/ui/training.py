"""The event stream of training as charts: any stage that logs `step` and `held_out` events is drawn."""

import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, cast

from tuti.ui.curve import Series, line_chart

Event = Mapping[str, Any]
NOT_MEASURES = frozenset({"event", "time", "step", "steps", "last", "seconds"})
CHARTS = 6


def number(value: object) -> float | None:
    """The value as a finite number, or None: events are read as they were found on disk."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def training_charts(stages: Mapping[str, Sequence[Event]], *, x_label: str = "step") -> list[str]:
    """Charts of the stages that trained: the loss of each, then what each measured held out."""
    made: list[str] = []
    for stage, events in stages.items():
        of = {kind: [e for e in events if e.get("event") == kind] for kind in ("step", "held_out")}
        lines = [("training loss", "nats a token", measures(of["step"]).get("loss", []))]
        for name, series in islice(measures(of["held_out"]).items(), CHARTS):
            label = name.replace("_", " ")
            lines.append((f"held-out {label}", label, series))
        for title, label, series in lines:
            made.append(line_chart(series, title=f"{stage}: {title}", x_label=x_label, y_label=label))
    return [chart for chart in made if chart]


def charts(stages: Mapping[str, Sequence[Event]], *, x_label: str = "step") -> str:
    """The charts side by side where there is room; an empty string when nothing was measured."""
    found = training_charts(stages, x_label=x_label)
    return f'<div class="charts">\n{"".join(found)}\n</div>' if found else ""


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
        if {"value", "low", "high"} <= fields.keys():  # a figure with its interval
            return _values(name, fields["value"])
        return [(key, y) for key, v in fields.items() for _, y in _values(key, v)][:6]
    found = number(value)
    if found is None or isinstance(value, int):  # whole numbers count things, they measure nothing
        return []
    return [(name.replace("_", " "), found)]
