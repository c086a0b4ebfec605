"""Puts the pages on a FastAPI app, and serves them."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from nicegui import app as pages
from nicegui import ui

from tuti.app.api import create_app
from tuti.app.serve import listen, run
from tuti.app.studio.chat import register_chat
from tuti.app.studio.demo import register_demo
from tuti.app.studio.form import register_form
from tuti.app.studio.gallery import register_gallery
from tuti.app.studio.jobs import Jobs
from tuti.app.studio.place import Place, Voices
from tuti.app.studio.runs import register_runs
from tuti.app.studio.stream import find_run
from tuti.app.studio.voices import RunVoices
from tuti.pipelines.report import report_page
from tuti.run import UserError
from tuti.ui import escape

PORT = 8000


def mount_studio(
    app: FastAPI, runs: Path = Path("runs"), folders: Sequence[Path] = (), *, voices: Voices | None = None,
    demo: Path | None = None,
) -> Place:
    """Adds Studio's pages below `/`, after the routes that the app has; once a process.

    Forms read only `runs` and `folders`. The jobs of the place (`app.state.place`, too) end with the server;
    the caller ends them where its shutdown is skipped (a second Ctrl-C).
    """
    place = app.state.place = Place(runs, tuple(folders), Jobs(), voices or RunVoices(runs))
    _reports(app, place)
    for register in (register_gallery, register_runs, register_form, register_chat):
        register(place)
    if demo is not None:
        register_demo(place, demo)
    # A `finally` around the server is not enough: uvicorn passes SIGTERM on, which ends the process there.
    pages.on_shutdown(place.jobs.end)
    ui.run_with(
        app, title="Tuti Studio", favicon="🦜", dark=None, tailwind=False, show_welcome_message=False,
        reconnect_timeout=10.0,
    )
    return place


def _reports(app: FastAPI, place: Place) -> None:
    @app.get("/runs/{name}/report", include_in_schema=False)
    def report(name: str) -> HTMLResponse:
        """The report of a run as it stands now."""
        try:
            return HTMLResponse(report_page(find_run(place.runs, name)))
        except UserError as error:
            return HTMLResponse(f"<!DOCTYPE html><title>Tuti</title><pre>{escape(error)}</pre>", 404)


def serve_demo(run_folder: Path, port: int = PORT) -> None:
    """Serves `/demo` on 127.0.0.1 and, once its address is printed, teaches: until interrupted.

    `run_folder` holds a run's config (`Run.create`), which `tuti … --resume --out run_folder` goes on
    with.
    """
    with contextlib.closing(listen("127.0.0.1", port)) as listening:
        app = create_app([])
        jobs = mount_studio(app, run_folder.parent, demo=run_folder).jobs
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/demo"
        run(app, listening, address, lambda: jobs.resume(run_folder))
