"""The gallery of rooms, made from the cards; the pages that cards bring along."""

import asyncio

from fastapi import Request
from nicegui import ui

from tuti.app.house import all_cards
from tuti.app.studio import web
from tuti.app.studio.place import Place
from tuti.app.studio.strings import language
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
            web.markup(web.filled("cards", speech, cards=all_cards(), below=_below))

    for name, card in all_cards().items():
        for path, target in card.pages.items():
            _mount(_below(name, path), target, card, place)


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
                parts = await asyncio.to_thread(lambda: list(load(target)(place.runs, query)))
                with inside:
                    shown.extend(web.markup("") for _ in parts[len(shown) :])
                for number, part in enumerate(shown):
                    part.set_content(parts[number] if number < len(parts) else "")

            await refresh()
            ui.timer(RENEWED, refresh, immediate=False)
