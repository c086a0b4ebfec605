"""The gallery of rooms, made from the cards; the pages that cards bring along."""

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from nicegui import ui

from tuti import pipelines, systems
from tuti.app.studio import web
from tuti.app.studio.place import Place
from tuti.app.studio.strings import Language, language
from tuti.run import Card


def all_cards() -> dict[str, Card]:
    """Pipelines first, then the rooms."""
    return {**pipelines.cards(), **systems.cards()}


def register_gallery(place: Place) -> None:
    """Mounts `/` and every card's own pages."""

    @ui.page("/", dark=None)
    def gallery_page(lang: str = "en") -> None:
        speech = language(lang)
        with web.frame(speech, "/", speech("rooms")):
            web.paragraph(speech("gallery_lead"))
            with ui.element("div").classes("cards"):
                for name, card in all_cards().items():
                    _card(name, card, speech)

    for name, card in all_cards().items():
        for path, target in card.pages.items():
            _mount(f"/{name}/{path.strip('/')}", target, card, place)


def _card(name: str, card: Card, speech: Language) -> None:
    with web.element("section", label=card.title).classes("card"):
        web.heading(card.title)
        if card.paper:
            web.foreign(card.paper, "quiet")
        for stage, entry in card.stages.items():
            with web.element("p", dir="auto"):
                target = web.address(f"/new/{name}/{stage}", speech)
                made = web.link(target, stage)
                made.props["aria-label"] = speech("start_stage", stage=f"{name} {stage}")
                web.text_of(f" — {entry.help}")
        for path in card.pages:
            web.link(web.address(f"/{name}/{path.strip('/')}", speech), path.strip("/"))


def _mount(path: str, target: str, card: Card, place: Place) -> None:
    """A card's page is a function `(runs) -> markup`, made with `tuti.ui`."""

    @ui.page(path, dark=None, response_timeout=60)
    async def card_page(lang: str = "en") -> None:
        speech = language(lang)
        with web.frame(speech, path, card.title):
            web.markup(await asyncio.to_thread(_build, target, place.runs))


def _build(target: str, runs: Path) -> str:
    module, _, name = target.partition(":")
    function = cast(Callable[[Path], Any], getattr(importlib.import_module(module), name))
    return str(function(runs))
