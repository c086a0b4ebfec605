"""The list of runs, and the pages of one and of the demo: curves, samples and output, as they come."""

from pathlib import Path

from nicegui import ui

from tuti import ui as widgets
from tuti.app.studio import web
from tuti.app.studio.chat import Panel
from tuti.app.studio.place import LOG, Place, interrupt, read_tail
from tuti.app.studio.stream import Watch, find_run, list_runs, model_of, state_of
from tuti.pipelines.report import abilities
from tuti.run import printable

SECONDS = 1.0
"""Between two looks at the disk."""


def register_runs(place: Place, demo: Path | None) -> None:
    """Mounts `/runs`, `/runs/<name>` and, where there is such a run, `/demo`, which follows it."""

    @ui.page("/runs", dark=None)
    def list_page(speech: web.Speech) -> None:
        with web.frame(speech, "/runs", speech("runs")):
            web.paragraph(speech("runs_lead"))
            table = web.markup("")

        def refresh() -> None:
            rows = [(run, _state(place, run.folder, run.state)) for run in list_runs(place.runs)]
            table.set_content(web.filled("runs", speech, rows=rows))

        refresh()
        ui.timer(2 * SECONDS, refresh)

    @ui.page("/runs/{name}", dark=None)
    def one_page(speech: web.Speech, name: str) -> None:
        with web.frame(speech, f"/runs/{name}", name), web.telling(speech):
            run_page(place, find_run(place.runs, name), speech)

    if demo is not None:

        @ui.page("/demo", dark=None)
        def demo_page(speech: web.Speech) -> None:
            with web.frame(speech, "/demo", speech("demo_title")):
                run_page(place, demo, speech, demo=True)


def _state(place: Place, folder: Path, state: str) -> str:
    """The state on disk, corrected by what this server knows of its own processes."""
    job = place.jobs.find(folder)
    if job is None or state == "finished":
        return state
    if job.poll() is None:
        return "running"
    return "unfinished" if state == "running" else state


def run_page(place: Place, folder: Path, speech: web.Language, *, demo: bool = False) -> None:
    """Everything about one run, renewed while it grows; in the demo there is a chat, once it has a model."""

    def resume() -> None:
        with web.telling(speech, problem):
            place.jobs.resume(folder)

    def stop() -> None:
        if job := place.jobs.find(folder):
            interrupt(job)

    status = web.attributed(web.paragraph(""), role="status")
    with ui.element("div").classes("actions"):
        told = web.markup("").classes("actions")
        stopping = web.button(speech("stop_run"), stop, flat=True)
        resuming = web.button(speech("resume"), resume, flat=True)
    problem = web.alert()
    planned = web.markup("")
    talk = ui.element("section")
    panels: list[Panel] = []
    watch, live, sample = Watch(folder), web.markup(""), web.markup("")
    web.heading(speech("output"))
    output = web.said(speech("none_yet"), "said code")

    def refresh() -> None:
        if watch.read() or not live.content:
            curves = widgets.charts(watch.stages, x_label=speech("step"))
            shown = {"step": watch.last("step"), "curves": curves, "figure": widgets.figure}
            live.set_content(web.filled("live", speech, **shown))
            sample.set_content(web.filled("sample", speech, sample=watch.last("sample")))
        output.set_text(printable(read_tail(folder / LOG) or speech("none_yet")))
        state, job = _state(place, folder, state_of(folder)), place.jobs.find(folder)
        has_model, planning = model_of(folder) is not None, watch.last("plan")
        told.set_content(web.filled("run", speech, run=folder.name, state=state, has_model=has_model))
        if planning:
            planned.set_content(web.filled("plan", speech, plan=planning[1], abilities=abilities))
        stopping.set_visibility(state == "running" and job is not None and job.poll() is None)
        resuming.set_visibility(state not in ("running", "finished"))
        if not demo:
            return
        if has_model and not panels:
            with talk:
                web.heading(speech("chat"))
                panels.append(Panel(place.voices, speech, folder.name, ""))
        failed = job is not None and job.poll() and state != "finished"
        said = "demo_failed" if failed else "demo_ready" if panels else "" if planning else "demo_wait"
        status.set_text(speech(said) if said else "")

    refresh()
    ui.timer(SECONDS, refresh)
