"""The page of `tuti demo`: the plan, then the live curve and samples, then the chat, in one place."""

from pathlib import Path
from typing import Any

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
            Demo(place, folder, speech)


class Demo:
    """One visitor's view of the teaching."""

    def __init__(self, place: Place, folder: Path, speech: Language) -> None:
        self.place, self.folder, self.speech = place, folder, speech
        self.watch = Watch(folder)
        self.state = web.paragraph(speech("demo_wait"))
        self.state.props["role"] = "status"
        self.problem = web.alert()
        self.plan = ui.element("section")
        self.talk = ui.element("section")
        self.live = LiveRun(self.watch, speech)
        with ui.element("details"):
            with ui.element("summary"):
                web.text_of(speech("output"))
            self.output = web.said("", "said code")
        self.links = ui.element("div").classes("actions")
        self.planned, self.ready, self.ended = False, False, False
        self.refresh()
        ui.timer(SECONDS, self.refresh)

    def refresh(self) -> None:
        """Shows what is new on disk."""
        while self.watch.read():
            self.live.show()
        self.output.set_text(widgets.visible(read_tail(self.folder / LOG)))
        if not self.planned and (plan := self._found_plan()):
            self.planned = True
            self._plan(plan)
        if not self.ready and model_of(self.folder) is not None:
            self.ready = True
            self.state.set_text(self.speech("demo_ready"))
            with self.talk:
                web.heading(self.speech("chat"))
                Panel(self.place.voices, self.speech, self.folder.name, "")
        if not self.ended:
            self._end()

    def _found_plan(self) -> Json | None:
        """As it was told in the events, else as the config had it from the first."""
        if found := self.watch.last("plan"):
            return found[1]
        if self.watch.last("stage") is None:
            return None
        config: Json = read_config(self.folder)["config"]
        return config.get("plan")

    def _end(self) -> None:
        """The report when all is done; what went wrong when it stopped."""
        job = self.place.jobs.find(self.folder)
        if (self.folder / "report.html").exists():
            self.ended = True
            with self.links:
                web.link(f"/runs/{self.folder.name}/report", self.speech("report"))
        elif job is not None and not job.is_running and job.code != 0:
            self.ended = True
            self.problem.set_text(self.speech("demo_failed"))

    def _plan(self, plan: Json) -> None:
        speech = self.speech
        parameters = _number(plan.get("parameters"))
        seconds: Any = plan.get("seconds") or {}
        minutes = _number(seconds["pretrain"]) / 60 if "pretrain" in seconds else 0.0
        size = "large" if parameters >= LARGE else "small"
        with self.plan:
            web.heading(speech("plan"))
            shown = {"millions": f"{parameters / 1e6:.1f}", "steps": plan.get("steps")}
            if parameters:
                web.paragraph(speech("parameters", minutes=f"{minutes:.0f}", **shown))
            if bits := _number(plan.get("bits_per_byte")):
                web.paragraph(speech("expected", bits=f"{bits:.2f}"))
            web.paragraph(f"{speech('can')}: {speech(f'what_{size}_can')}")
            web.paragraph(f"{speech('cannot')}: {speech(f'what_{size}_cannot')}")
        if not self.ready:
            self.state.set_text("")


def _number(value: object) -> float:
    return widgets.number(value) or 0.0
