"""A form for each stage, made from its dataclass; it starts the stage as a process of its own."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from nicegui import ui

from tuti.app.house import all_cards
from tuti.app.invoke import config_type
from tuti.app.studio import web
from tuti.app.studio.fields import Field, build, fields_of
from tuti.app.studio.jobs import Place
from tuti.app.studio.stream import list_runs
from tuti.run import RunOptions, UserError
from tuti.run.card import load

Values = Callable[[], dict[str, Any]]
"""How to read what is typed into some fields, by name."""


def register_form(place: Place) -> None:
    """Mounts `/new/<room>/<stage>`."""

    @ui.page("/new/{room}/{stage}", dark=None, response_timeout=60)
    async def form_page(speech: web.Speech, room: str, stage: str, preset: str = "") -> None:
        path = f"/new/{room}/{stage}"
        card = all_cards().get(room)
        if card is None or stage not in card.stages:
            with web.frame(speech, path, speech("not_found")):
                web.paragraph(f"{room} {stage}")
            return
        with web.frame(speech, path, " ".join(dict.fromkeys([room, stage]))):  # one word where they are one
            entry, presets = card.stages[stage], card.presets.get(stage, {})
            folders = ", ".join(map(str, place.folders))
            about = {"path": path, "help": entry.help, "presets": presets, "folders": folders}
            web.markup(web.filled("form", speech, **about))
            with web.telling(speech):
                kind = config_type(await asyncio.to_thread(entry.load))
                defaults = load(presets[preset])() if preset in presets else None
                _form(place, room, stage, kind, fields_of(kind, defaults), speech)


def _form(place: Place, room: str, stage: str, kind: type, made: list[Field], speech: web.Language) -> None:
    known = [str(run.folder) for run in list_runs(place.runs)] + [str(f) for f in place.folders]
    read = _inputs(made, known, speech)
    name = _text(speech("run_name"), speech("run_name_help"), "")
    seed = _text(speech("seed"), speech("seed_help"), "0")
    problem = web.alert()

    async def start() -> None:
        problem.set_text("")
        with web.telling(speech, problem):
            folder = place.runs / _run_name(str(name.value or ""), room, stage)
            if not str(seed.value or "0").strip().isdecimal():
                raise UserError(f"seed is {seed.value!r}", hint="give a whole number")
            options = RunOptions(out=folder, seed=int(seed.value or 0))
            config = await asyncio.to_thread(build, kind, made, read(), place.folders)
            place.jobs.start(room, stage, config, options)
            ui.navigate.to(web.address(f"/runs/{folder.name}", speech))

    web.button(speech("start"), start)


def _run_name(given: str, room: str, stage: str) -> str:
    """A plain folder's name."""
    name = given.strip()
    if not name:
        return "-".join(dict.fromkeys([room, stage, time.strftime("%Y%m%d-%H%M%S")]))
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise UserError(f"{name!r} is no name for a run", hint="letters, digits, hyphens, dots, no slashes")
    return name


def _inputs(made: list[Field], known: list[str], speech: web.Language) -> Values:
    reads = {each.name: _input(each, known, speech) for each in made}
    return lambda: {name: read() for name, read in reads.items()}


def _input(each: Field, known: list[str], speech: web.Language) -> Callable[[], Any]:
    """One field with its help; returns how to read it."""
    label = each.name.replace("_", " ") + (f" ({speech('required')})" if each.required else "")
    if each.choices:
        made = ui.select(list(each.choices), value=each.default, label=label).classes("field")
        web.attributed(made, hint=each.help)
        if each.variants:
            return _variant(each, made, known, speech)
    elif each.kind == "switch":
        made = ui.switch(label, value=bool(each.default))
        web.said(each.help, "quiet", "p")
    elif each.kind in ("paths", "list", "json"):
        shown = each.default
        text = json.dumps(shown) if each.kind == "json" else "\n".join(map(str, shown or ()))
        made = ui.textarea(label=label, value="" if shown is None else text).classes("field")
        hint = each.help + ("" if each.kind == "json" else f" ({speech('one_a_line')})")
        web.attributed(made, hint=hint, dir="ltr", rows="2").props("autogrow")
    else:
        made = _text(label, each.help, "" if each.default is None else str(each.default))
        if each.kind == "path":
            made.set_autocomplete(known)
        if each.kind in ("integer", "number"):
            made.props("inputmode=decimal")
    return lambda: made.value


def _text(label: str, help: str, value: str) -> ui.input:
    """A line of text: paths, numbers and names of options read left to right in any language's form."""
    return web.attributed(ui.input(label=label, value=value).classes("field"), hint=help, dir="ltr")


def _variant(each: Field, select: ui.select, known: list[str], speech: web.Language) -> Callable[[], Any]:
    """The fields of each dataclass that can be chosen, of which those of the chosen one are shown."""
    groups: dict[str, ui.element] = {}
    reads: dict[str, Values] = {}
    for name, inner in each.variants.items():
        groups[name] = web.attributed(ui.element("div").classes("variant"), role="group", aria_label=name)
        with groups[name]:
            reads[name] = _inputs(inner, known, speech)

    def show() -> None:
        for name, group in groups.items():
            group.set_visibility(name == select.value and bool(each.variants[name]))

    select.on_value_change(show)
    show()

    return lambda: {"type": str(select.value)} | reads[str(select.value)]()
