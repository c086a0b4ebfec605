"""The frame of every page, and the few NiceGUI calls that need care: the one place that wraps them."""

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui

from tuti import ui as widgets
from tuti.app.studio.strings import LANGUAGES, Language
from tuti.run import UserError

LAYOUT = Path(__file__).with_name("studio.css").read_text("utf-8")


def visit(language: Language) -> None:
    """Makes the page of this visitor speak a language and run in its direction."""
    client = ui.context.client
    own = copy.copy(client.page)  # the page object is shared by all visitors
    own.language = "fa" if language.code == "fa" else "en-US"
    client.page = own


def address(path: str, language: Language, **query: str) -> str:
    """A path below the server with its query, keeping the language."""
    if language.code != "en":
        query["lang"] = language.code
    return quote(path) + (f"?{urlencode(query)}" if query else "")


@contextmanager
def frame(language: Language, path: str, title: str, **query: str) -> Generator[None]:
    """The header with its links, and the place of the content; `query`: what another language keeps."""
    visit(language)
    ui.page_title(title)
    ui.add_head_html(f"<style>{widgets.STYLE}{LAYOUT}</style>")
    ui.query("body").classes("tuti")
    link("#content", language("skip")).classes("skip")
    with ui.element("header"), ui.element("div").classes("bar"):
        ui.label(language("studio")).classes("name")
        with element("nav", label=language("pages")), ui.element("ul"):
            for name, target in (("rooms", "/"), ("runs", "/runs"), ("chat", "/chat")):
                with ui.element("li"):
                    made = link(address(target, language), language(name))
                    if target == path:
                        made.props["aria-current"] = "page"
        with element("nav", label=language("language")), ui.element("ul"):
            for other in LANGUAGES.values():
                if other != language:
                    with ui.element("li"):
                        made = link(address(path, other, **query), other.own_name)
                        made.props["lang"] = other.code
    with ui.element("div") as content:  # inside NiceGUI's own <main>
        content.props["id"] = "content"
        content.props["tabindex"] = "-1"
        heading(title, 1)
        yield


def element(tag: str, *, label: str = "", role: str = "", **attributes: str) -> ui.element:
    """An element with its ARIA label and role; the values are data, never parsed."""
    made = ui.element(tag)
    given = {"aria-label": label, "role": role} | {k.replace("_", "-"): v for k, v in attributes.items()}
    for name, value in given.items():
        if value:
            made.props[name] = value
    return made


def heading(text: str, level: int = 2) -> ui.element:
    """A heading; its direction is the text's own."""
    with element(f"h{level}", dir="auto") as made:
        text_of(text)
    return made


def text_of(text: str) -> ui.label:
    """Plain text inside whatever surrounds it; never read as markup."""
    made = ui.label(widgets.visible(text))
    made.tag = "span"
    return made


def said(text: str, kinds: str = "said") -> ui.label:
    """Text of a person or a model: plain, in its own direction, lines kept."""
    made = ui.label(widgets.visible(text)).classes(kinds)
    made.props["dir"] = "auto"
    return made


def paragraph(text: str, kinds: str = "") -> ui.label:
    """A paragraph of the interface, in the page's direction."""
    made = ui.label(widgets.visible(text)).classes(kinds)
    made.tag = "p"
    return made


def foreign(text: str, kinds: str = "") -> ui.label:
    """A paragraph that may be in another language than the page, in its own direction."""
    made = paragraph(text, kinds)
    made.props["dir"] = "auto"
    return made


def markup(html: str) -> ui.html:
    """Markup made by `tuti.ui`, which escapes all that it is given; never a model's or corpus's own."""
    return ui.html(html, sanitize=False)


def link(target: str, text: str) -> ui.element:
    """A link inside this site."""
    assert target.startswith(("/", "#"))
    made = element("a", href=target)
    with made:
        text_of(text)
    return made


def button(text: str, action: Callable[[], Any] | None, *, flat: bool = False) -> ui.button:
    """A button with its words as they are."""
    made = ui.button(text, on_click=action, color=None).props("no-caps unelevated")
    return made.classes("act flat" if flat else "act")


def alert() -> ui.label:
    """Where an error is told; empty until then, read out when it comes."""
    made = ui.label("").classes("alert")
    made.props["role"] = "alert"
    made.props["dir"] = "auto"
    return made


def tell(place: ui.label, error: Exception, language: Language) -> None:
    """Shows a user's error with its remedy."""
    lines = [f"{language('error')}: {error.what if isinstance(error, UserError) else error}"]
    if isinstance(error, UserError) and error.hint:
        lines.append(f"{language('hint')}: {error.hint}")
    place.set_text(widgets.visible("\n".join(lines)))
