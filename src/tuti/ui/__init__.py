"""Widgets for pages: pure functions that return HTML or SVG strings; they know neither rooms nor app.

Whatever is a plain value (a name, a text, a number) is escaped where it enters the page; only what
these functions return is markup.
"""

from tuti.ui.curve import Series as Series
from tuti.ui.curve import line_chart as line_chart
from tuti.ui.graph import Bar as Bar
from tuti.ui.graph import Box as Box
from tuti.ui.graph import bars as bars
from tuti.ui.graph import graph as graph
from tuti.ui.page import STYLE as STYLE
from tuti.ui.page import page as page
from tuti.ui.page import section as section
from tuti.ui.table import facts as facts
from tuti.ui.table import figure as figure
from tuti.ui.table import table as table
from tuti.ui.text import block as block
from tuti.ui.text import escape as escape
from tuti.ui.text import folded as folded
from tuti.ui.text import inline as inline
from tuti.ui.text import paragraph as paragraph
from tuti.ui.text import visible as visible
from tuti.ui.training import charts as charts
from tuti.ui.training import number as number
from tuti.ui.training import training_charts as training_charts
