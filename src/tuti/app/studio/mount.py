"""Puts all pages on the FastAPI app of the API: the gallery of rooms, what cards bring along, the rest."""

import asyncio
import warnings
from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from nicegui import app as pages
from nicegui import ui

from tuti.app.house import all_cards
from tuti.app.studio import web
from tuti.app.studio.chat import Panel
from tuti.app.studio.form import register_form
from tuti.app.studio.place import Jobs, Place, Voices
from tuti.app.studio.runs import register_runs
from tuti.app.studio.stream import find_run
from tuti.pipelines.report import report_page
from tuti.run import Card, UserError
from tuti.run.card import load
from tuti.ui import escape

RENEWED = 2.0  # seconds between two looks at what a card's page shows


def mount_studio(
    app: FastAPI, runs: Path, folders: Sequence[Path] = (), *, demo: Path | None = None
) -> Place:
    """Adds Studio's pages below `/`, after the routes of the API that `create_app` made; once a process.

    Forms read only `runs` and `folders`; `/demo` follows `demo`. The jobs of `app.state.place` end
    with the server; the caller ends them where its shutdown is skipped (a second Ctrl-C).
    """
    place = Place(runs, (runs, *folders), Jobs(), Voices(runs, app.state.api.served))
    app.state.place = place

    @app.get("/runs/{name}/report", include_in_schema=False)
    def report(name: str) -> HTMLResponse:
        """The report of a run as it stands now."""
        try:
            return HTMLResponse(report_page(find_run(place.runs, name)))
        except UserError as error:
            return HTMLResponse(f"<!DOCTYPE html><title>Tuti</title><pre>{escape(error)}</pre>", 404)

    @ui.page("/", dark=None)
    def gallery_page(speech: web.Speech) -> None:
        with web.frame(speech, "/", speech("rooms")):
            web.markup(web.filled("cards", speech, cards=all_cards(), below=_below))

    @ui.page("/chat", dark=None)
    def chat_page(speech: web.Speech, model: str = "", other: str = "") -> None:
        with web.frame(speech, "/chat", speech("chat")):
            Panel(place.voices, speech, model, other)

    for name, card in all_cards().items():
        for path, target in card.pages.items():
            _mount(_below(name, path), target, card, place)
    register_runs(place, demo)
    register_form(place)
    # A `finally` around the server is not enough: uvicorn passes SIGTERM on, which ends the process there.
    pages.on_shutdown(place.jobs.end)
    warnings.filterwarnings("ignore", ".*torch.distributed.reduce_op")  # NiceGUI looks at every object
    ui.run_with(
        app, title="Tuti Studio", favicon="🦜", dark=None, tailwind=False, show_welcome_message=False,
        reconnect_timeout=10.0,
    )
    return place


def _below(name: str, path: str) -> str:
    return f"/{name}/{path.strip('/')}".rstrip("/")


def _mount(path: str, target: str, card: Card, place: Place) -> None:
    """A card's page is a function `(runs, query) -> parts of markup`, made with `tuti.ui`; it is called again
    while somebody looks, and parts that have changed are renewed. `query` is the address's, with `lang`.
    """

    @ui.page(path, dark=None, response_timeout=60)
    async def card_page(request: Request, speech: web.Speech) -> None:
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
