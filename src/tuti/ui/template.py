"""What pages are made of: texts, figures and tables as markup, and the templates beside this file, filled.

Whatever a text holds (of corpora, of models) is escaped, in its own direction, unable to disturb its
surroundings. A page is self-contained: no script, no font, no picture, no address outside itself.
"""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import jinja2
from markupsafe import Markup

from tuti.run import hash_text, printable

STYLE = Path(__file__).with_name("style.css").read_text("utf-8")
"""The one style sheet: logical properties (so it works right to left), light and dark, phone width, print"""
Cell = object
Fields = Mapping[str, object]


def escape(text: object) -> Markup:
    """The value as HTML text or as the inside of a quoted attribute."""
    return Markup(html.escape(printable(str(text)), quote=True))


def paragraph(text: object, kind: str = "", tag: str = "p") -> Markup:
    """A paragraph in its own direction."""
    look = f' class="{escape(kind)}"' if kind else ""
    return Markup(f'<{tag} dir="auto"{look}>{escape(text)}</{tag}>')


def block(text: object, kind: str = "sample") -> Markup:
    """Lines as they are, each in its own direction, wrapped to the page's width."""
    return paragraph(text, kind, "pre")


def folded(summary: object, inside: str) -> Markup:
    """Markup that opens when its summary is chosen, by pointer or keyboard."""
    return Markup(f"<details><summary>{escape(summary)}</summary>{inside}</details>")


def _plain(value: object) -> object:
    """A value as it enters a page: markup as it is, of the rest what cannot disturb the page."""
    return value if hasattr(value, "__html__") else printable(str(value))


def templates(folder: Path) -> jinja2.Environment:
    """The templates of a folder; a name without a value is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, finalize=_plain, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )


_OURS = templates(Path(__file__).parent)


def rendered(name: str, **values: object) -> Markup:
    """The template `<name>.html` with these values."""
    return Markup(_OURS.get_template(f"{name}.html").render(values))


def drawn(name: str, title: str, told: str, **values: object) -> Markup:
    """A figure with its caption, whose drawing is said in words, too."""
    mark = "f" + hash_text(f"{title}\n{told}")[:10]
    return rendered(name, title=title, told=told, mark=mark, **values)


class Section(NamedTuple):
    """A part of a page under its heading: its anchor and its markup; without any it is left out."""

    name: str
    heading: str
    inside: str = ""


def page(title: str, lead: str, sections: Sequence[Section]) -> Markup:
    """The whole document: `title` is text, `lead` the markup below it."""
    shown = [part for part in sections if part.inside]
    return rendered("page", title=title, lead=lead, sections=shown, style=STYLE)


def figure(value: Cell) -> str:
    """A value as a person reads it: 1,234 · 1.235 · 1.70 [1.68, 1.72] for {value, low, high}."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float() if value and not 1e-3 <= abs(value) < 1e9:
            return f"{value:.3g}"
        case float():
            return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        case Mapping() if has_interval(cast(Fields, value)):
            found, low, high = (figure(cast(Fields, value)[name]) for name in ("value", "low", "high"))
            return f"{found} [{low}, {high}]"
        case Mapping():
            return ", ".join(f"{name} {figure(item)}" for name, item in cast(Fields, value).items())
        case list() | tuple():
            return ", ".join(figure(item) for item in cast(Sequence[object], value))
        case _:
            return str(value)


def has_interval(value: object) -> bool:
    """Whether it is a figure with its interval: {value, low, high}."""
    return isinstance(value, Mapping) and {"value", "low", "high"} <= cast(Fields, value).keys()


def table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Markup:
    """Rows under headers: what the first cell names, and figures, which are aligned at their end."""
    assert all(len(row) == len(headers) for row in rows), "each row has a cell for each header"
    texts = [[figure(cell) for cell in row] for row in rows]
    return rendered("table", caption=caption, headers=headers, rows=texts)


def facts(caption: str, rows: Fields) -> Markup:
    """Names and values, two columns."""
    texts = [(name, figure(value)) for name, value in rows.items()]
    return rendered("table", caption=caption, headers=(), rows=texts)
