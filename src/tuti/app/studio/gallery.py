"""The gallery of rooms, made from the cards; the pages that cards bring along."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from fastapi import Request
from nicegui import ui

from tuti.app.house import all_cards
from tuti.app.studio import web
from tuti.app.studio.place import Place
from tuti.app.studio.strings import Language, language
from tuti.run import Card
from tuti.run.card import load

RENEWED = 2.0
"""Seconds between two looks at what a card's page shows"""


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
            _mount(_below(name, path), target, card, place)


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
            web.link(web.address(_below(name, path), speech), _below(name, path))


def _below(name: str, path: str) -> str:
    return f"/{name}/{path.strip('/')}".rstrip("/")


def _mount(path: str, target: str, card: Card, place: Place) -> None:
    """A card's page is a function `(runs, query) -> parts of markup`, made with `tuti.ui`; it is called again
    while somebody looks, and parts that have changed are renewed. `query` is the address's, with `lang`.
    """

    @ui.page(path, dark=None, response_timeout=60)
    async def card_page(request: Request, lang: str = "en") -> None:
        speech = language(lang)
        query = {name: value for name, value in request.query_params.items() if name.isidentifier()}
        kept = {name: value for name, value in query.items() if name != "lang"}
        query["lang"] = speech.code
        with web.frame(speech, path, card.title, **kept):
            shown: list[ui.html] = []
            inside = ui.element("div")

            async def refresh() -> None:
                parts = await asyncio.to_thread(_build, target, place.runs, query)
                with inside:
                    shown.extend(web.markup("") for _ in parts[len(shown) :])
                for number, part in enumerate(shown):
                    part.set_content(parts[number] if number < len(parts) else "")

            await refresh()
            ui.timer(RENEWED, refresh, immediate=False)


def _build(target: str, runs: Path, query: Mapping[str, str]) -> list[str]:
    return list(load(target)(runs, query))
