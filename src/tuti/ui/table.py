"""Tables that scroll by themselves on a phone, and figures with their intervals."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

from tuti.ui.template import rendered

Cell = object


def figure(value: Cell) -> str:
    """A value as a person reads it: 1,234 · 1.235 · 1.70 [1.68, 1.72] for {value, low, high}."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        fields = cast(Mapping[str, object], value)
        if {"value", "low", "high"} <= fields.keys():
            ends = f"[{figure(fields['low'])}, {figure(fields['high'])}]"
            return f"{figure(fields['value'])} {ends}"
        return ", ".join(f"{name} {figure(item)}" for name, item in fields.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(figure(item) for item in cast(Sequence[object], value))
    return str(value)


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _is_number(value: Cell) -> bool:
    if isinstance(value, Mapping):
        return {"value", "low", "high"} <= cast(Mapping[str, object], value).keys()
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Rows under headers; a column whose cells are all numbers is aligned at its end."""
    width = len(headers)
    assert all(len(row) == width for row in rows), "each row has a cell for each header"
    numeric = [bool(rows) and all(_is_number(row[i]) or row[i] is None for row in rows) for i in range(width)]
    texts = [[figure(cell) for cell in row] for row in rows]
    return rendered("table", caption=caption, headers=headers, rows=texts, numeric=numeric)


def facts(caption: str, rows: Mapping[str, Cell]) -> str:
    """Names and values, two columns."""
    texts = [(name, figure(value)) for name, value in rows.items()]
    return rendered("table", caption=caption, headers=(), rows=texts, numeric=(False, False))
