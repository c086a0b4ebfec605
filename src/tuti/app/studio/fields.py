"""A form's fields from a stage's dataclass: its JSON schema, attribute docstrings and defaults."""

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pydantic
import tyro

from tuti.run import UserError, config_from_json, config_to_json
from tuti.run.lineage import variants_of

Json = dict[str, Any]


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
    asked: dict[str, Json] = pydantic.TypeAdapter(kind).json_schema().get("properties", {})
    hints = typing.get_type_hints(kind, include_extras=True)
    docs = attribute_docs(kind)
    return [
        _field(each, hints[each.name], asked[each.name], docs.get(each.name, ""), defaults)
        for each in dataclasses.fields(kind)
        if tyro.conf.Suppress not in getattr(hints[each.name], "__metadata__", ())
    ]


def _field(each: "dataclasses.Field[Any]", hint: Any, about: Json, help: str, defaults: Any) -> Field:
    default, required = None, False
    if defaults is not None:
        default = getattr(defaults, each.name)
    elif each.default is not dataclasses.MISSING:
        default = each.default
    elif each.default_factory is not dataclasses.MISSING:
        default = each.default_factory()
    else:
        required = True
    options: list[Json] = about.get("anyOf", [about])
    told = [option for option in options if option.get("type") != "null"]
    optional = len(told) < len(options)
    if variants := variants_of(hint):
        preset: dict[type, Any] = {type(default): default}
        made = {one.__name__: fields_of(one, preset.get(one)) for one in variants}
        chosen = type(default).__name__ if default is not None else next(iter(made))
        return Field(each.name, "variant", help, chosen, required, tuple(made), made, optional)
    kind, choices = _plain(told)
    return Field(each.name, kind, help, config_to_json(default), required, choices, {}, optional)


def _plain(options: Sequence[Json]) -> tuple[str, tuple[str, ...]]:
    """How one value is asked for."""
    first = options[0] if len(options) == 1 else {}
    if "enum" in first and all(isinstance(value, str) for value in first["enum"]):
        return "choice", tuple(first["enum"])
    plain = {"integer": "integer", "number": "number", "boolean": "switch", "string": "text"}
    if first.get("format") == "path":
        return "path", ()
    if first.get("type") in plain:
        return plain[first["type"]], ()
    inner = cast(Json, first.get("items", {}))
    if first.get("type") == "array" and inner.get("type") == "string":
        return ("paths" if inner.get("format") == "path" else "list"), ()
    return "json", ()


def attribute_docs(kind: type) -> dict[str, str]:
    """Attribute → the string below it in the class's source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = cast(ast.ClassDef, tree.body[0]).body
    return {
        item.target.id: " ".join(after.value.value.split())
        for item, after in zip(body, body[1:], strict=False)
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }


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
            continue
        if value in (None, "", []):
            if each.required:
                raise UserError(f"{each.name} is empty", hint=each.help or "fill it in")
            if each.optional:
                found[each.name] = None
            continue
        found[each.name] = _value(each, value)
    return found


def _value(each: Field, value: Any) -> Any:
    text = str(value).strip()
    try:
        if each.kind == "integer":
            number = float(text)
            if number != int(number):
                raise ValueError
            return int(number)
        if each.kind == "number":
            return float(text)
        if each.kind == "json":
            return pydantic.TypeAdapter(Any).validate_json(text)
    except (ValueError, OverflowError) as error:
        wanted = {"integer": "a whole number", "number": "a number"}.get(each.kind, "JSON")
        raise UserError(f"{each.name} is {text!r}", hint=f"give {wanted}") from error
    if each.kind in ("paths", "list"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    return bool(value) if each.kind == "switch" else text


def build(kind: type, made: Sequence[Field], values: Mapping[str, Any], allowed: Sequence[Path]) -> Any:
    """The checked config; a path outside the allowed folders is refused."""
    config: Any = config_from_json(cast(type[Any], kind), parse(made, values))
    check_paths(config, allowed)
    return config


def check_paths(value: Any, allowed: Sequence[Path]) -> None:
    """Refuses a config that names a path, or a text that leads to one, outside the allowed folders."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            check_paths(getattr(value, each.name), allowed)
    elif isinstance(value, dict):
        for item in cast(Json, value).values():
            check_paths(item, allowed)
    elif isinstance(value, (list, tuple)):
        for item in cast(Sequence[Any], value):
            check_paths(item, allowed)
    elif isinstance(value, Path) or (isinstance(value, str) and leads_somewhere(value)):
        inside(Path(value), allowed)


def leads_somewhere(text: str) -> bool:
    """Whether a plain string would be found as a file by a stage that takes one ("" is no name)."""
    if not text:
        return False
    try:
        return text.startswith(("/", "~", "\\")) or ".." in text or Path(text).exists()
    except (OSError, ValueError):  # too long, or with a NUL: no stage could open it either
        return False


def inside(path: Path, allowed: Sequence[Path]) -> Path:
    """The path with all links followed, when it lies in one of the folders."""
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
    return real
