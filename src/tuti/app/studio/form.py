"""A form for each stage, from its dataclass: its JSON schema, attribute docstrings and defaults.

It starts the stage as a process of its own.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast, get_type_hints

import pydantic
import tyro
from nicegui import ui

from tuti.app.house import all_cards
from tuti.app.invoke import config_type
from tuti.app.studio import web
from tuti.app.studio.place import Place
from tuti.run import RunOptions, UserError, config_from_json, config_to_json
from tuti.run.card import load
from tuti.run.lineage import Json, variants_of

Values = Callable[[], Json]
"""How to read what is typed into some fields, by name"""
DOCUMENTED = pydantic.ConfigDict(use_attribute_docstrings=True)
KINDS = {"array": "lines", "boolean": "switch", "integer": "number", "number": "number"}
"""The input that a type of JSON schema asks for, where it is no line of text"""
DIGITS = str.maketrans("۰۱۲۳۴۵۶۷۸۹٫", "0123456789.")


@dataclass(frozen=True)
class Field:
    """One input: `kind` is text, number, lines, switch, choice or variant."""

    name: str
    kind: str
    help: str
    default: Any
    required: bool
    choices: tuple[str, ...] = ()
    variants: dict[str, "list[Field]"] = field(default_factory=dict[str, "list[Field]"])
    optional: bool = False
    """Empty stands for None."""


def fields_of(kind: type, defaults: Any = None) -> list[Field]:
    """The fields of a config class; `defaults` is a preset's config to begin from."""
    asked: dict[str, Json] = {}
    for one in reversed(kind.__mro__[:-1]):  # each class tells of the fields that it adds
        schema = pydantic.TypeAdapter(cast(Any, list)[one], config=DOCUMENTED).json_schema()
        for name, about in schema["$defs"][one.__name__].get("properties", {}).items():
            asked[name] = asked.get(name, {}) | about
    hints = get_type_hints(kind, include_extras=True)
    return [
        _field(each, hints[each.name], asked[each.name], defaults)
        for each in dataclasses.fields(kind)
        if tyro.conf.Suppress not in getattr(hints[each.name], "__metadata__", ())
    ]


def _field(each: "dataclasses.Field[Any]", hint: Any, about: Json, defaults: Any) -> Field:
    own = each.default if each.default_factory is dataclasses.MISSING else each.default_factory()
    default = own if defaults is None else getattr(defaults, each.name)
    required = default is dataclasses.MISSING
    default = None if required else default
    help = " ".join(about.get("description", "").split())
    options: list[Json] = about.get("anyOf", [about])
    told = [option for option in options if option.get("type") != "null"]
    optional = len(told) < len(options)
    if variants := variants_of(hint):
        made = {one.__name__: fields_of(one, default if type(default) is one else None) for one in variants}
        chosen = type(default).__name__ if default is not None else next(iter(made))
        return Field(each.name, "variant", help, chosen, required, tuple(made), made, optional)
    kind = "choice" if "enum" in told[0] else KINDS.get(told[0].get("type", ""), "text")
    choices = tuple(told[0]["enum"]) if kind == "choice" else ()
    return Field(each.name, kind, help, config_to_json(default), required, choices, {}, optional)


def parse(made: Sequence[Field], values: Mapping[str, Any]) -> Json:
    """The config's JSON from what was typed, numbers still as texts; what has to be given is asked for."""
    found: Json = {}
    for each in made:
        value = values.get(each.name)
        value = value.strip() if isinstance(value, str) else value
        if each.kind == "variant":
            chosen = cast(Json, value or {"type": each.default})
            inner = each.variants.get(str(chosen.get("type")))
            if inner is not None:
                found[each.name] = {"type": chosen["type"]} | parse(inner, chosen)
        elif each.kind == "lines" and value:
            found[each.name] = [line.strip() for line in value.splitlines() if line.strip()]
        elif value not in (None, ""):
            found[each.name] = str(value).translate(DIGITS) if each.kind == "number" else value
        elif each.required:
            raise UserError(f"{each.name} is empty", hint=each.help or "fill it in")
        elif each.optional:
            found[each.name] = None
    return found


def build(kind: type, made: Sequence[Field], values: Mapping[str, Any], allowed: Sequence[Path]) -> Any:
    """The checked config; a path outside the allowed folders is refused."""
    config: Any = config_from_json(cast(type[Any], kind), parse(made, values))
    check_paths(dataclasses.asdict(config), allowed)
    return config


def check_paths(value: Any, allowed: Sequence[Path]) -> None:
    """Refuses values that name a path, or a text that leads to one, outside the allowed folders."""
    if isinstance(value, dict):
        value = list(cast(Json, value).values())
    if isinstance(value, (list, tuple)):
        for item in cast(Sequence[Any], value):
            check_paths(item, allowed)
    elif isinstance(value, Path) or (isinstance(value, str) and leads_somewhere(value)):
        inside(Path(value), allowed)


def leads_somewhere(text: str) -> bool:
    """Whether a plain string would be found as a file by a stage that takes one ("" is no name)."""
    try:
        return bool(text) and (text.startswith(("/", "~", "\\")) or ".." in text or Path(text).exists())
    except (OSError, ValueError):  # too long, or with a NUL: no stage could open it either
        return False


def inside(path: Path, allowed: Sequence[Path]) -> None:
    """Refuses a path that, with all links followed, lies in none of the folders."""
    try:
        real = path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is no usable path: {error}", hint="choose another") from error
    if not any(real.is_relative_to(folder.resolve()) for folder in allowed):
        names = ", ".join(str(folder) for folder in allowed)
        what = f"{path} lies outside the folders that this page may read: {names}"
        raise UserError(what, hint="start the server with that folder named, or use the command line")


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
    read = _inputs(made, speech)
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
    name = given.strip()
    if not name:
        return "-".join(dict.fromkeys([room, stage, time.strftime("%Y%m%d-%H%M%S")]))
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise UserError(f"{name!r} is no name for a run", hint="letters, digits, hyphens, dots, no slashes")
    return name


def _inputs(made: list[Field], speech: web.Language) -> Values:
    reads = {each.name: _input(each, speech) for each in made}
    return lambda: {name: read() for name, read in reads.items()}


def _input(each: Field, speech: web.Language) -> Callable[[], Any]:
    """One field with its help; returns how to read it."""
    label = each.name.replace("_", " ") + (f" ({speech('required')})" if each.required else "")
    if each.choices:
        made = ui.select(list(each.choices), value=each.default, label=label).classes("field")
        web.attributed(made, hint=each.help)
        if each.variants:
            return _variant(each, made, speech)
    elif each.kind == "switch":
        made = ui.switch(label, value=bool(each.default))
        web.said(each.help, "quiet", "p")
    elif each.kind == "lines":
        made = ui.textarea(label=label, value="\n".join(map(str, each.default or ()))).classes("field")
        hint = f"{each.help} ({speech('one_a_line')})"
        web.attributed(made, hint=hint, dir="ltr", rows="2").props("autogrow")
    else:
        made = _text(label, each.help, "" if each.default is None else str(each.default))
        if each.kind == "number":
            made.props("inputmode=decimal")
    return lambda: made.value


def _text(label: str, help: str, value: str) -> ui.input:
    """A line of text: paths, numbers and names of options read left to right in any language's form."""
    return web.attributed(ui.input(label=label, value=value).classes("field"), hint=help, dir="ltr")


def _variant(each: Field, select: ui.select, speech: web.Language) -> Values:
    """The fields of each dataclass that can be chosen, of which those of the chosen one are shown."""
    reads: dict[str, Values] = {}
    for name, inner in each.variants.items():
        group = web.attributed(ui.element("div").classes("variant"), role="group", aria_label=name)
        group.bind_visibility_from(select, "value", value=name if inner else "")
        with group:
            reads[name] = _inputs(inner, speech)
    return lambda: {"type": str(select.value)} | reads[str(select.value)]()
