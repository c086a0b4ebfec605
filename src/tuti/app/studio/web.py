"""The frame of every page, its words in English and Persian, and the few NiceGUI calls that need care."""

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Depends
from nicegui import ui

from tuti.run import UserError, printable, read_toml
from tuti.ui.template import STYLE, templates

_HERE = Path(__file__).parent
_PAGES = templates(_HERE)
LAYOUT = (_HERE / "studio.css").read_text("utf-8")
E = TypeVar("E", bound=ui.element)


@dataclass(frozen=True)
class Language:
    """One language of the interface."""

    code: str
    strings: dict[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The string of this name, its places filled."""
        return self.strings[key].format(**values)


_SAID: dict[str, dict[str, str]] = read_toml(__file__, "strings.toml")
LANGUAGES = {
    code: Language(code, {name: said[code] for name, said in _SAID.items()}) for code in ("en", "fa")
}


def language(lang: str = "en") -> Language:
    """The language of this code, English for any other."""
    return LANGUAGES.get(lang, LANGUAGES["en"])


Speech = Annotated[Language, Depends(language)]
"""The language that a page's address asks for"""


def address(path: str, language: Language, /, **query: str) -> str:
    """A path below the server with its query, keeping the language."""
    if language.code != "en":
        query["lang"] = language.code
    return quote(path) + (f"?{urlencode(query)}" if query else "")


def filled(name: str, speech: Language, **values: object) -> str:
    """The template `<name>.html` beside this file with these values, as markup."""
    return _PAGES.get_template(f"{name}.html").render(values, speech=speech, address=address)


@contextmanager
def frame(speech: Language, path: str, title: str, /, **query: str) -> Generator[None]:
    """The header with its links, and the place of the content; `query`: what another language keeps."""
    client = ui.context.client
    client.page = copy.copy(client.page)  # the page object is shared by all visitors
    client.page.language = "fa" if speech.code == "fa" else "en-US"
    ui.page_title(title)
    ui.add_head_html(f"<style>{STYLE}{LAYOUT}</style>")
    ui.query("body").classes("tuti")
    markup(filled("header", speech, path=path, query=query, languages=LANGUAGES.values()))
    with attributed(ui.element("div"), id="content", tabindex="-1"):  # inside NiceGUI's own <main>
        heading(title, "h1")
        yield


def attributed(made: E, **attributes: str) -> E:
    """The element with these attributes; the values are data, never parsed."""
    for name, value in attributes.items():
        made.props[name.replace("_", "-")] = value
    return made


def paragraph(text: str, kinds: str = "", tag: str = "p") -> ui.label:
    """Plain text of the interface, in the page's direction; never read as markup."""
    made = ui.label(printable(text)).classes(kinds)
    made.tag = tag
    return made


def said(text: str, kinds: str = "said", tag: str = "div") -> ui.label:
    """Plain text of anybody, in its own direction; as `said` its lines are kept."""
    return attributed(paragraph(text, kinds, tag), dir="auto")


def heading(text: str, tag: str = "h2") -> ui.label:
    """A heading; its direction is the text's own."""
    return said(text, "", tag)


def markup(html: str) -> ui.html:
    """Markup made by `tuti.ui` or `filled`, which escape all that they are given; never a model's own."""
    return ui.html(html, sanitize=False)


def button(text: str, action: Callable[[], Any] | None, *, flat: bool = False) -> ui.button:
    """A button with its words as they are."""
    made = ui.button(text, on_click=action, color=None).props("no-caps unelevated")
    return made.classes("act flat" if flat else "act")


def alert() -> ui.label:
    """Where an error is told; empty until then, read out when it comes."""
    return attributed(said("", "alert"), role="alert")


@contextmanager
def telling(language: Language, place: ui.label | None = None) -> Generator[None]:
    """Shows an error that ends what is inside; in an alert of its own if there is no place for it."""
    try:
        yield
    except (UserError, OSError) as error:
        tell(alert() if place is None else place, error, language)


def tell(place: ui.label, error: Exception, language: Language) -> None:
    """Shows a user's error with its remedy."""
    lines = [f"{language('error')}: {error.what if isinstance(error, UserError) else error}"]
    if isinstance(error, UserError) and error.hint:
        lines.append(f"{language('hint')}: {error.hint}")
    place.set_text(printable("\n".join(lines)))
