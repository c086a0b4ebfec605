"""The page of `tuti demo`: the plan, then the live curve and samples, then the chat, in one place."""

from pathlib import Path

from nicegui import ui

from tuti import ui as widgets
from tuti.app.studio import web
from tuti.app.studio.chat import Panel
from tuti.app.studio.jobs import LOG, read_tail
from tuti.app.studio.place import Place
from tuti.app.studio.runs import SECONDS, LiveRun
from tuti.app.studio.stream import Json, Watch, model_of
from tuti.app.studio.strings import Language, language
from tuti.run.directory import read_config

LARGE = 60_000_000
"""Parameters from which a model is described as a large one."""


def register_demo(place: Place, folder: Path) -> None:
    """Mounts `/demo`, which follows the run in this folder."""

    @ui.page("/demo", dark=None)
    def demo_page(lang: str = "en") -> None:
        speech = language(lang)
        with web.frame(speech, "/demo", speech("demo_title")):
            _follow(place, folder, speech)


def _follow(place: Place, folder: Path, speech: Language) -> None:
    """One visitor's view of the teaching."""
    watch = Watch(folder)
    state = web.attributed(web.paragraph(""), role="status")
    problem = web.alert()
    planned = web.markup("")
    talk = ui.element("section")
    live = LiveRun(watch, speech)
    with ui.element("details"):
        web.paragraph(speech("output"), tag="summary")
        output = web.said("", "said code")
    report = web.markup(web.filled("report", speech, run=folder.name))
    panels: list[Panel] = []

    def refresh() -> None:
        while watch.read():
            live.show()
        output.set_text(widgets.visible(read_tail(folder / LOG)))
        plan = _plan(watch)
        planned.set_content(_shown(plan, speech) if plan else "")
        if not panels and model_of(folder) is not None:
            with talk:
                web.heading(speech("chat"))
                panels.append(Panel(place.voices, speech, folder.name, ""))
        state.set_text(speech("demo_ready") if panels else "" if plan else speech("demo_wait"))
        job, is_done = place.jobs.find(folder), (folder / "report.html").exists()
        report.set_visibility(is_done)
        if job is not None and job.code and not is_done:
            problem.set_text(speech("demo_failed"))

    refresh()
    ui.timer(SECONDS, refresh)


def _plan(watch: Watch) -> Json | None:
    """As it was told in the events, else as the config had it from the first."""
    if found := watch.last("plan"):
        return found[1]
    config: Json = {} if watch.last("stage") is None else read_config(watch.folder)["config"]
    return config.get("plan")


def _shown(plan: Json, speech: Language) -> str:
    parameters, bits = (widgets.number(plan.get(name)) or 0.0 for name in ("parameters", "bits_per_byte"))
    stages: Json = plan.get("seconds") or {}
    seconds = widgets.number(stages.get("pretrain")) or 0.0
    size = "large" if parameters >= LARGE else "small"
    about = {"parameters": parameters, "bits": bits, "seconds": seconds, "steps": plan.get("steps")}
    return web.filled("plan", speech, size=size, **about)
