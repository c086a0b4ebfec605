"""One self-contained page: no script, no font, no picture, no address outside itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuti.ui.template import rendered

STYLE = Path(__file__).with_name("style.css").read_text("utf-8")
"""The one style sheet: logical properties (so it works right to left), light and dark, phone width, print"""


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
