"""Chat: one or two models side by side, streaming, stopped at a word, copied at a click.

What a model says is shown as text only, in its own direction: a Persian answer reads right to left
inside an English page.
"""

import asyncio
import contextlib
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui

from tuti.app.studio import web
from tuti.app.studio.place import Voices
from tuti.run import UserError, printable

FRAME = 0.05
"""Seconds between two renewals of a growing answer."""
LONGEST = 100_000
"""Characters of a message."""


@dataclass
class Column:
    """One conversation with one model."""

    voices: Voices
    speech: web.Language
    log: ui.element
    messages: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    task: "asyncio.Task[None] | None" = None

    def ask(self, model: str, text: str, temperature: float, length: int) -> None:
        with self.log:
            web.paragraph(self.speech("you"), "who")
            web.said(text, "said mine")
            web.said(model, "who", "p")
            notice = web.paragraph(self.speech("loading"), "quiet")
            answer = web.attributed(web.said(""), aria_busy="true")
        self.messages.append({"role": "user", "content": text})
        self.task = asyncio.create_task(self._answer(model, answer, notice, temperature, length))

    @property
    def is_answering(self) -> bool:
        return self.task is not None and not self.task.done()

    def stop(self) -> None:
        """Ends the answer where it is; what was said stays."""
        if self.task is not None:
            self.task.cancel()

    def clear(self) -> None:
        self.stop()
        self.messages.clear()
        self.log.clear()

    async def _answer(
        self, model: str, shown: ui.label, notice: ui.label, temperature: float, length: int
    ) -> None:
        pieces: list[str] = []
        ending, last = "", 0.0
        try:
            can_answer = await self.voices.prepare(model)
            notice.set_text("" if can_answer else self.speech("continues", model=model))
            answer = self.voices.speak(model, list(self.messages), temperature, length)
            async with contextlib.aclosing(answer) as stream:
                async for piece in stream:
                    pieces.append(piece)
                    if time.monotonic() - last > FRAME:
                        last = time.monotonic()
                        shown.set_text(printable("".join(pieces)))
                        self._scroll()
        except asyncio.CancelledError:
            ending = self.speech("cut")
        except Exception as error:  # told where it was asked; the page lives on
            if not isinstance(error, UserError):
                traceback.print_exc(file=sys.stderr)
            with self.log:
                web.tell(web.alert(), error, self.speech)
        said = "".join(pieces)
        self.messages.append({"role": "assistant", "content": said})
        shown.set_text(printable(said) if said.strip() else self.speech("empty_answer"))
        shown.props["aria-busy"] = "false"
        shown.update()
        with self.log:
            self._foot(shown.html_id, ending)
        self._scroll()

    def _foot(self, html_id: str, ending: str) -> None:
        with ui.element("div").classes("actions"):
            if ending:
                web.paragraph(ending, tag="span")

            # In the browser, within the click: what is shown is what is copied.
            write = f"navigator.clipboard.writeText(document.getElementById('{html_id}').textContent)"
            copy = web.button(self.speech("copy"), None, flat=True).props("dense size=sm")
            copied = web.attributed(web.paragraph("", "quiet", "div"), role="status")
            told = self.speech("copied")
            copy.on("click", lambda: copied.set_text(told), js_handler=f"() => {write}.then(() => emit())")

    def _scroll(self) -> None:
        self.log.run_method("scrollTo", 0, 10_000_000)


class Panel:
    """The whole chat inside a page: two columns of which the second may be empty, one message for both."""

    def __init__(self, voices: Voices, speech: web.Language, model: str, other: str) -> None:
        self.voices, self.speech = voices, speech
        names = voices.names()
        if not names:
            web.paragraph(speech("no_models"))
        none = speech("no_second")
        first = model if model in names else next(iter(names), None)
        with ui.element("div").classes("columns spaced"):
            self.model = ui.select(names, value=first, label=speech("model"))
            second = other if other in names else none
            self.other = ui.select([none, *names], value=second, label=speech("second_model"))
        with ui.element("div").classes("columns spaced"):
            self.columns = [self._column(1), self._column(2)]
        self.message = ui.textarea(label=speech("message")).props("autogrow outlined rows=2 dir=auto")
        web.attributed(self.message, hint=speech("message_help"), maxlength=str(LONGEST))
        self.message.on(
            "keydown",
            lambda event: (self.send if event.args == "Enter" else self.stop)(),
            js_handler="(e) => { if (e.isComposing) return; "
            "if (e.key === 'Enter' && !e.shiftKey) { e.preventDefault(); emit('Enter'); } "
            "if (e.key === 'Escape') emit('Escape'); }",
        )
        with ui.element("div").classes("actions"):
            web.button(speech("send"), self.send)
            web.button(speech("stop"), self.stop, flat=True)
            web.button(speech("new_chat"), self.clear, flat=True)
        with ui.element("div").classes("columns"):
            self.temperature = ui.input(speech("temperature"), value="0.8")
            self.length = ui.input(speech("length"), value="200")
        for made in (self.temperature, self.length):
            made.props("inputmode=decimal dir=ltr")
        self.problem = web.alert()
        self.columns[1].log.bind_visibility_from(self.other, "value", lambda chosen: chosen != none)
        ui.context.client.on_disconnect(self.stop)

    def _column(self, number: int) -> Column:
        label = f"{self.speech('conversation')} {number}"
        log = ui.element("div").classes("talk")
        web.attributed(log, role="log", aria_label=label, aria_live="polite", tabindex="0")
        return Column(self.voices, self.speech, log)

    def send(self) -> None:
        """Asks each chosen model, unless an answer is under way."""
        text = str(self.message.value or "").strip()[:LONGEST]
        if not text or any(column.is_answering for column in self.columns):
            return
        self.problem.set_text("")
        with web.telling(self.speech, self.problem):
            temperature = _number(self.temperature.value, 0, 2)
            length = _number(self.length.value, 1, 4096)
            if self.model.value is None:
                raise UserError(self.speech("no_models"))
            self.message.set_value("")
            chosen = [str(self.model.value)]
            if self.columns[1].log.visible:
                chosen.append(str(self.other.value))
            for column, model in zip(self.columns, chosen, strict=False):
                column.ask(model, text, temperature, int(length))

    def stop(self) -> None:
        for column in self.columns:
            column.stop()

    def clear(self) -> None:
        for column in self.columns:
            column.clear()


def _number(value: Any, low: float, high: float) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = float("nan")
    if not low <= number <= high:
        raise UserError(f"{value!r} is not between {low:g} and {high:g}", hint="give a number")
    return number
