"""Widgets for pages: pure functions that return HTML or SVG strings; they know neither rooms nor app.

Whatever is a plain value (a name, a text, a number) is escaped where it enters the page; only what
these functions return is markup.
"""

from tuti.ui.curve import Series, charts, line_chart, number, training_charts
from tuti.ui.graph import Bar, Box, bars, graph
from tuti.ui.table import facts, figure, table
from tuti.ui.template import STYLE, Section, page
from tuti.ui.text import block, escape, folded, inline, paragraph, visible

__all__ = [
    "STYLE", "Bar", "Box", "Section", "Series", "bars", "block", "charts", "escape", "facts", "figure",
    "folded", "graph", "inline", "line_chart", "number", "page", "paragraph", "table", "training_charts",
    "visible",
]
