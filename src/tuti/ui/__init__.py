"""Widgets for pages: pure functions that return HTML or SVG strings; they know neither rooms nor app.

Whatever is a plain value (a name, a text, a number) is escaped where it enters the page; only what
these functions return is markup.
"""

from tuti.ui.curve import Series, charts, line_chart, number
from tuti.ui.graph import Bar, Box, bars, graph
from tuti.ui.template import Section, block, escape, facts, figure, folded, page, paragraph, table

__all__ = [
    "Bar", "Box", "Section", "Series", "bars", "block", "charts", "escape", "facts", "figure", "folded",
    "graph", "line_chart", "number", "page", "paragraph", "table",
]
