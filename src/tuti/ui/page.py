"""One self-contained page: no script, no font, no picture, no address outside itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuti.ui.template import rendered

STYLE = Path(__file__).with_name("style.css").read_text("utf-8")
"""The one style sheet: logical properties (so it works right to left), light and dark, phone width, print"""


@dataclass(frozen=True)
class Section:
    """A part of a page under its heading; an empty one is left out."""

    name: str
    heading: str
    inside: str


def section(name: str, heading: str, *parts: str) -> Section:
    """A section with the markup of its parts; `name` is its anchor."""
    assert name.replace("-", "").isalnum(), "an anchor is letters, digits and hyphens"
    return Section(name, heading, "\n".join(part for part in parts if part))


def page(
    title: str, lead: str, sections: Sequence[Section], *, language: str = "en", direction: str = "ltr"
) -> str:
    """The whole document: `title` is text, `lead` the markup below it."""
    shown = [part for part in sections if part.inside]
    told = {"title": title, "lead": lead, "language": language, "direction": direction}
    return rendered("page", sections=shown, style=STYLE, **told)
