"""The frame of every page, and the few NiceGUI calls that need care: the one place that wraps them."""

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from nicegui import ui

from tuti import ui as widgets
from tuti.app.studio.strings import LANGUAGES, Language
from tuti.run import UserError
from tuti.ui.template import templates

LAYOUT = Path(__file__).with_name("studio.css").read_text("utf-8")
_PAGES = templates(Path(__file__).parent)
E = TypeVar("E", bound=ui.element)


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
    ui.add_head_html(f"<style>{widgets.STYLE}{LAYOUT}</style>")
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
    made = ui.label(widgets.visible(text)).classes(kinds)
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


def tell(place: ui.label, error: Exception, language: Language) -> None:
    """Shows a user's error with its remedy."""
    lines = [f"{language('error')}: {error.what if isinstance(error, UserError) else error}"]
    if isinstance(error, UserError) and error.hint:
        lines.append(f"{language('hint')}: {error.hint}")
    place.set_text(widgets.visible("\n".join(lines)))
