"""Configs as JSON and back, and the record of where a run came from and what it cost."""

import dataclasses
import json
import subprocess
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from tuti.run.errors import UserError

Json = dict[str, Any]
T = TypeVar("T")


def config_to_json(value: Any) -> Any:
    """Plain JSON values of a config; a nested variant carries its class name as `type`."""

    def plain(part: Any) -> str | Json:
        if isinstance(part, Path):
            return str(part)
        fields = {each.name: getattr(part, each.name) for each in dataclasses.fields(part)}
        return {"type": type(part).__name__} | fields

    return json.loads(json.dumps(value, default=plain))


def variants_of(hint: Any) -> list[type]:
    """The dataclasses named in a (possibly annotated, possibly optional) type."""
    if typing.get_origin(hint) is typing.Annotated:
        return variants_of(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(hint) for kind in variants_of(part)]
    return [hint] if dataclasses.is_dataclass(hint) and isinstance(hint, type) else []


def config_from_json(kind: type[T], values: Json) -> T:
    """The config that `config_to_json` wrote; bounds are checked, unknown or bad fields refused."""
    hints = typing.get_type_hints(kind, include_extras=True)
    built: Json = {}
    for name, value in values.items():
        if name == "type":
            continue
        if name not in hints:
            what = f"{kind.__name__} has no field {name!r}"
            raise UserError(what, hint=f"its fields are: {', '.join(hints)}")
        variants: dict[str, type[Any]] = {one.__name__: one for one in variants_of(hints[name])}
        if isinstance(value, dict) and variants:
            fields = cast(Json, value)
            chosen = str(fields.get("type", ""))
            if chosen not in variants:
                what = f"{kind.__name__}.{name}: unknown variant {chosen!r}"
                raise UserError(what, hint=f"one of {', '.join(variants)}")
            value = config_from_json(variants[chosen], fields)
        built[name] = value
    return check_config(kind, built)


def check_config(kind: type[T], fields: Json) -> T:
    """Builds the dataclass from fields after checking every bound in its annotations."""
    import pydantic

    hints = typing.get_type_hints(kind, include_extras=True)
    checked: Json = {}
    for name, value in fields.items():
        try:
            checked[name] = pydantic.TypeAdapter(hints[name]).validate_python(value)
        except pydantic.ValidationError as error:
            rule = error.errors()[0]["msg"]
            what = f"{kind.__name__}.{name} is {value!r}: {rule}"
            raise UserError(what, hint=f"set {name} within its bounds") from error
    return kind(**checked)


@cache
def code_commit() -> str:
    """The git commit of this checkout, with a `+` where it is changed; empty outside one."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + "+" * bool(git("status", "--porcelain", "--", "."))
    except (OSError, subprocess.SubprocessError):
        return ""
