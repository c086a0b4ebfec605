"""One verb called: its options parsed by tyro from its dataclass, its run made or gone on with."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro

from tuti import pipelines
from tuti.run import Card, Entry, Run, RunOptions, UserError, config_from_json, execute, finished
from tuti.run.card import load
from tuti.run.directory import read_config, runs_of
from tuti.run.lineage import check_config

_cli: Callable[..., Any] = tyro.cli  # its own types are known in part only


def config_type(function: Callable[..., Any]) -> type[Any]:
    """The dataclass a stage or view takes: its first annotation."""
    return next(iter(get_type_hints(function).values()))


def invoke(room: str, verb: str, entry: Entry, words: list[str], card: Card) -> None:
    """Parses `words` and calls the verb; a stage gets a run of its own, a view only its config."""
    function = entry.load()
    kind = config_type(function)
    name = f"tuti {verb}" if room in ("tuti", *pipelines.PIPELINES) else f"tuti {room} {verb}"
    if verb not in card.stages:
        return function(check_config(kind, _parse(kind, words, name, None, entry.help).__dict__))
    world, follows = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0")) > 0
    if world > 1 and "parallel" not in get_type_hints(kind):
        raise UserError(f"{name} computes in one process, not in {world}", hint="leave out torchrun")
    asked = [word for word in words if word not in ("-h", "--help")]
    options: RunOptions = _cli(RunOptions, args=asked, prog=name, return_unknown_args=True)[0]
    if options.resume and asked == words:
        config, run = _resumed(room, verb, kind, options.out)
        if finished(run.folder):
            return run.show(f"{run.folder} is finished already")
        run = Run.follow(run.options) if follows else run
    else:
        default = _preset(name, options.scale, card.presets.get(verb, {}))
        parsed = _parse(_with_options(kind), words, name, default, entry.help)
        config: Any = check_config(kind, parsed.config.__dict__)
        run = Run.follow(parsed.options) if follows else Run.create(room, verb, config, parsed.options)
    execute(function, config, run)


def _with_options(kind: type[Any]) -> type[Any]:
    """A dataclass holding the stage's config and the run's own options, both without a prefix."""
    flat = tyro.conf.arg(name="")
    default: Any = dataclasses.field(default_factory=RunOptions)
    options = ("options", Annotated[RunOptions, flat], default)
    return dataclasses.make_dataclass("Invocation", [("config", Annotated[kind, flat]), options])


def _parse(kind: type[Any], words: list[str], name: str, default: Any, help: str) -> Any:
    extra: dict[str, Any] = {"default": kind(config=default)} if default is not None else {}
    cascade = (tyro.conf.CascadeSubcommandArgs,)  # a run's options may stand behind `method:lora`, too
    return _cli(kind, args=words, prog=name, description=help, config=cascade, **extra)


def _preset(name: str, scale: str | None, presets: dict[str, str]) -> Any:
    """The config of the size that --scale names, which gives the defaults; None where none is asked for."""
    if scale is not None and scale not in presets:
        have = f"it has {', '.join(presets)}" if presets else "leave out --scale"
        raise UserError(f"{name} has no preset of the size {scale}", hint=have)
    return load(presets[scale])() if scale else None


def _resumed(room: str, verb: str, kind: type[Any], out: Path | None) -> tuple[Any, Run]:
    """The config and run to go on with: --out, else the newest unfinished run of this stage."""
    folder = out or _newest_unfinished(room, verb)
    about = read_config(folder)
    if (about["room"], about["stage"]) != (room, verb):
        what = f"{folder} is a run of {about['room']} {about['stage']}, not of {room} {verb}"
        raise UserError(what, hint=f"tuti {about['room']} {about['stage']} --resume --out {folder}")
    kept = config_from_json(RunOptions, about.get("options", {}))
    config: Any = config_from_json(kind, about["config"])
    return config, Run(folder, dataclasses.replace(kept, out=folder, resume=True))


def _newest_unfinished(room: str, verb: str) -> Path:
    found = [run for run in runs_of(Path("runs"), room, verb) if not finished(run)]
    if not found:
        raise UserError(f"no unfinished run of {room} {verb} in runs/", hint="name one: --resume --out RUN")
    return found[0]
