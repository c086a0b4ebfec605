"""The templates beside this file, filled: each value is escaped as `tuti.ui.text.escape` does.

A page is self-contained: no script, no font, no picture, no address outside itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from tuti.run import hash_text
from tuti.ui.text import visible

STYLE = Path(__file__).with_name("style.css").read_text("utf-8")
"""The one style sheet: logical properties (so it works right to left), light and dark, phone width, print"""


def _plain(value: object) -> object:
    """A value as it enters a page: markup as it is, of the rest what cannot disturb the page."""
    return value if hasattr(value, "__html__") else visible(str(value))


def templates(folder: Path) -> jinja2.Environment:
    """The templates of a folder; a name without a value is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, finalize=_plain, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )


_OURS = templates(Path(__file__).parent)


def rendered(name: str, **values: object) -> str:
    """The template `<name>.html` with these values, as markup."""
    return _OURS.get_template(f"{name}.html").render(values)


def drawn(name: str, title: str, told: str, **values: object) -> str:
    """A figure with its caption, whose drawing is said in words, too."""
    mark = "f" + hash_text(f"{title}\n{told}")[:10]
    return rendered(name, title=title, told=told, mark=mark, **values)


@dataclass(frozen=True)
class Section:
    """A part of a page under its heading: its anchor and its markup; without any it is left out."""

    name: str
    heading: str
    inside: str = ""

    def __post_init__(self) -> None:
        assert self.name.replace("-", "").isalnum(), "an anchor is letters, digits and hyphens"


def page(
    title: str, lead: str, sections: Sequence[Section], *, language: str = "en", direction: str = "ltr"
) -> str:
    """The whole document: `title` is text, `lead` the markup below it."""
    shown = [part for part in sections if part.inside]
    told = {"title": title, "lead": lead, "language": language, "direction": direction}
    return rendered("page", sections=shown, style=STYLE, **told)
