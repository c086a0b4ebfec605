"""A form's fields from a stage's dataclass: its JSON schema, attribute docstrings and defaults."""

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pydantic
import tyro

from tuti.run import UserError, config_from_json, config_to_json
from tuti.run.lineage import Json, variants_of

DOCUMENTED = pydantic.ConfigDict(use_attribute_docstrings=True)
PLAIN = {"integer": "integer", "number": "number", "boolean": "switch", "string": "text"}


@dataclass(frozen=True)
class Field:
    """One input: `kind` is integer, number, text, path, paths, list, switch, choice, json or variant."""

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
    schema = pydantic.TypeAdapter(cast(Any, list)[kind], config=DOCUMENTED).json_schema()
    asked: dict[str, Json] = schema["$defs"][kind.__name__].get("properties", {})
    hints = typing.get_type_hints(kind, include_extras=True)
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
    kind = _kind(told[0]) if len(told) == 1 else "json"
    choices = tuple(told[0]["enum"]) if kind == "choice" else ()
    return Field(each.name, kind, help, config_to_json(default), required, choices, {}, optional)


def _kind(about: Json) -> str:
    """How a value is asked for."""
    if "enum" in about and all(isinstance(value, str) for value in about["enum"]):
        return "choice"
    if about.get("format") == "path":
        return "path"
    inner: Json = about.get("items", {})
    if about.get("type") == "array" and inner.get("type") == "string":
        return "paths" if inner.get("format") == "path" else "list"
    return PLAIN.get(about.get("type", ""), "json")


def parse(made: Sequence[Field], values: Mapping[str, Any]) -> Json:
    """The config's JSON from what was typed; what cannot be read is refused by its field's name."""
    found: Json = {}
    for each in made:
        value = values.get(each.name)
        if each.kind == "variant":
            chosen = cast(Json, value or {"type": each.default})
            inner = each.variants.get(str(chosen.get("type")))
            if inner is not None:
                found[each.name] = {"type": chosen["type"]} | parse(inner, chosen)
        elif value not in (None, "", []):
            found[each.name] = _value(each, value)
        elif each.required:
            raise UserError(f"{each.name} is empty", hint=each.help or "fill it in")
        elif each.optional:
            found[each.name] = None
    return found


def _value(each: Field, value: Any) -> Any:
    text = str(value).strip()
    if each.kind in ("paths", "list"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    read, wanted = READ.get(each.kind, (str, ""))
    try:
        return bool(value) if each.kind == "switch" else read(text)
    except (ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{each.name} is {text!r}", hint=f"give {wanted}") from error


def _whole(text: str) -> int:
    if (number := float(text)) != int(number):
        raise ValueError
    return int(number)


READ: dict[str, tuple[Callable[[str], Any], str]] = {
    "integer": (_whole, "a whole number"), "number": (float, "a number"), "json": (json.loads, "JSON"),
}  # fmt: skip
"""How a kind's text is read, and what it has to be"""


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
        raise UserError(
            f"{path} lies outside the folders that this page may read: {names}",
            hint="start the server with that folder named, or use the command line",
        )
