"""The list of runs and the page of one: curves, samples and output, as they come."""

import json
import time
from pathlib import Path
from typing import Any

from nicegui import ui

from tuti import ui as widgets
from tuti.app.studio import web
from tuti.app.studio.jobs import LOG, read_tail
from tuti.app.studio.place import Place
from tuti.app.studio.stream import Listed, Watch, find_run, list_runs, model_of, state_of
from tuti.app.studio.strings import Language, language
from tuti.run import UserError
from tuti.run.directory import read_config

SECONDS = 1.0
"""Between two looks at the disk."""
LIVE = 3
"""Running runs whose curves the list shows."""


def register_runs(place: Place) -> None:
    """Mounts `/runs` and `/runs/<name>`."""

    @ui.page("/runs", dark=None)
    def list_page(lang: str = "en") -> None:
        speech = language(lang)
        with web.frame(speech, "/runs", speech("runs")):
            web.paragraph(speech("runs_lead"))
            _list(place, speech)

    @ui.page("/runs/{name}", dark=None)
    def one_page(name: str, lang: str = "en") -> None:
        speech = language(lang)
        with web.frame(speech, f"/runs/{name}", name):
            try:
                folder = find_run(place.runs, name)
            except UserError as error:
                web.tell(web.alert(), error, speech)
                return
            run_page(place, folder, speech)


def _list(place: Place, speech: Language) -> None:
    table = ui.element("div")
    curves = ui.element("div")
    watches: dict[Path, Watch] = {}
    shown: list[object] = []

    def refresh() -> None:
        found = list_runs(place.runs)
        state = [(run.name, _state(place, run.folder, run.state), run.changed) for run in found]
        if state != shown:
            shown[:] = state
            table.clear()
            with table:
                _rows(place, found, speech)
        live = [run for run in found if run.state == "running"][:LIVE]
        changed = [watches.setdefault(run.folder, Watch(run.folder)).read() for run in live]
        if any(changed):
            curves.clear()
            with curves:
                for run in live:
                    charts = widgets.training_charts(watches[run.folder].stages(), x_label=speech("step"))
                    if charts:
                        web.heading(run.name)
                        web.markup(charts[-1])

    refresh()
    ui.timer(2 * SECONDS, refresh)


def _rows(place: Place, found: list[Listed], speech: Language) -> None:
    if not found:
        web.paragraph(speech("no_runs"))
        return
    with (
        web.element("div", role="region", label=speech("runs"), tabindex="0").classes("scroll"),
        ui.element("table"),
    ):
        with ui.element("thead"), ui.element("tr"):
            for name in ("run", "stage", "state", "changed"):
                with web.element("th", scope="col"):
                    web.text_of(speech(name))
        with ui.element("tbody"):
            for run in found:
                with ui.element("tr"):
                    with web.element("th", scope="row", dir="auto"):
                        web.link(web.address(f"/runs/{run.name}", speech), run.name)
                    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed))
                    state = speech(_state(place, run.folder, run.state))
                    for text in (f"{run.room} {run.stage}", state, when):
                        with ui.element("td"):
                            web.text_of(text)


def _state(place: Place, folder: Path, state: str) -> str:
    """The state on disk, corrected by what this server knows of its own processes."""
    job = place.jobs.find(folder)
    if job is None or state not in ("running", "unfinished", "stopped"):
        return state
    if job.is_running:
        return "running"
    return "unfinished" if state == "running" else state


def run_page(place: Place, folder: Path, speech: Language) -> None:
    """Everything about one run, renewed while it grows."""
    watch = Watch(folder)
    about = read_config(folder)
    actions = ui.element("div").classes("actions")
    problem = web.alert()
    live = LiveRun(watch, speech)
    web.heading(speech("output"))
    output = web.said(speech("none_yet"), "said code")
    web.heading(speech("configuration"))
    plain = json.dumps(about, indent=1, ensure_ascii=False)
    web.markup(widgets.folded(folder.name, widgets.block(plain, "code")))
    shown: list[Any] = [None]

    def refresh() -> None:
        while watch.read():
            live.show()
        output.set_text(widgets.visible(read_tail(folder / LOG) or speech("none_yet")))
        state = (_state(place, folder, state_of(folder)), model_of(folder) is not None)
        if state != shown[0]:
            shown[0] = state
            actions.clear()
            with actions:
                _actions(place, folder, state, problem, speech)

    refresh()
    ui.timer(SECONDS, refresh)


def _actions(
    place: Place, folder: Path, state: tuple[str, bool], problem: ui.label, speech: Language
) -> None:
    name, has_model = state
    web.paragraph(f"{speech('state')}: {speech(name)}")
    web.link(f"/runs/{folder.name}/report", speech("report"))
    if has_model:
        web.link(web.address("/chat", speech, model=folder.name), speech("open_chat"))
    job = place.jobs.find(folder)

    def resume() -> None:
        try:
            place.jobs.resume(folder)
        except UserError as error:
            web.tell(problem, error, speech)

    if name == "running":
        if job is not None and job.is_running:
            web.button(speech("stop_run"), job.stop, flat=True)
    elif name != "finished":
        web.button(speech("resume"), resume, flat=True)


class LiveRun:
    """The part of a page that follows the events of a run: progress, curves, the newest sample."""

    def __init__(self, watch: Watch, speech: Language) -> None:
        self.watch, self.speech = watch, speech
        self.progress = web.paragraph("", "quiet")
        web.heading(speech("curves"))
        self.curves = web.markup("")
        web.heading(speech("samples"))
        self.where = web.paragraph("", "quiet")
        self.sample = web.said(speech("none_yet"), "said limited")
        self.sample.props["tabindex"] = "0"

    def show(self) -> None:
        """Draws what has been read."""
        if step := self.watch.last("step"):
            name, event = step
            values = {key: widgets.figure(event.get(key)) for key in ("step", "steps", "loss")}
            self.progress.set_text(self.speech("progress", stage=name, **values))
        stages = self.watch.stages()
        self.curves.set_content(widgets.charts(stages, x_label=self.speech("step")))
        if sample := self.watch.last("sample"):
            name, event = sample
            self.where.set_text(self.speech("sample_at", stage=name, step=event.get("step")))
            asked = f"{event['prompt']}\n⟫ " if event.get("prompt") else ""
            self.sample.set_text(widgets.visible(f"{asked}{event.get('text')}"))
