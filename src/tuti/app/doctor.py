"""`tuti doctor RUN|CONFIG.json`: a stage examined before it trains; `tuti doctor`: this machine."""

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from tuti.app.house import all_cards
from tuti.app.invoke import config_type
from tuti.run import Run, RunOptions, UserError, config_from_json, find_artifact, read_json
from tuti.run.card import load
from tuti.run.directory import CONFIG, read_config
from tuti.run.errors import has_colours
from tuti.run.machine import choose_device, pin
from tuti.run.sandbox import check_kernel

if TYPE_CHECKING:
    from tuti.text import ChatTemplate
    from tuti.train.doctor import Patient, Row


@dataclass(frozen=True)
class Doctor:
    """Examines a stage before a minute of training is spent; without a name, this machine."""

    target: tyro.conf.Positional[Path | None] = None
    """A run or a config.json: of a stage that trains, or of a job whose stages train"""


def doctor(config: Doctor) -> None:
    """Prints one line a check; a check that fails makes the exit code 1."""
    rows: list[Row] = []
    for row in examine_machine() if config.target is None else examine_target(config.target):
        rows.append(row)
        print(line(row), flush=True)
    if bad := [row for row in rows if not row.ok]:
        names = ", ".join(row.name for row in bad)
        hint = next((row.hint for row in bad if row.hint), "see the lines above")
        raise UserError(f"{len(bad)} of {len(rows)} checks failed: {names}", hint=hint)


def line(row: "Row") -> str:
    """A check as one line; what failed has its remedy below."""
    mark = "ok  " if row.ok else "FAIL"
    if has_colours(sys.stdout):
        mark = f"\x1b[{32 if row.ok else 31}m{mark}\x1b[0m"
    remedy = f"\n{'':27}hint: {row.hint}" if row.hint else ""
    bound = f"  ({row.bound})" if row.bound else ""
    return f"{mark} {row.name:<22}{row.figure}{bound}{remedy}"


def examine_target(path: Path) -> "Iterator[Row]":
    """The rows of every stage that trains: of the run at `path`, or of those inside it."""
    from tuti.train.doctor import examine, mask_text

    abouts = [_read(p) for p in (path, *sorted((path / "stages").glob("*/config.json")))]
    training = [about for about in abouts if hasattr(sys.modules[_stage(about).__module__], "parts")]
    if not training:
        what = f"{path} ({abouts[0]['room']} {abouts[0]['stage']}) has no stage that trains"
        raise UserError(what, hint="name a run of a training stage, or a job's run whose training has begun")
    for about in training:
        patient = patient_of(about)
        print(f"── {about['room']} {about['stage']}")
        first = patient.parts.batches(0)[0]
        print(mask_text(first, patient.template.tokenizer, colour=has_colours(sys.stdout)), flush=True)
        yield from examine(patient)


def _read(path: Path) -> dict[str, Any]:
    if path.name == "config.json" or path.is_dir():
        return read_config(path if path.is_dir() else path.parent)
    try:
        return read_json(path, *CONFIG)
    except UserError as error:
        raise UserError(f"{path} describes no stage: {error.what}", "a run's config.json does") from error


def _stage(about: dict[str, Any]) -> Any:
    card = all_cards().get(about["room"])
    if card is None or about["stage"] not in card.stages:
        raise UserError(f"no stage {about['room']} {about['stage']}", hint="tuti list names all")
    return card.stages[about["stage"]].load()


def patient_of(about: dict[str, Any]) -> "Patient":
    """A stage made ready to be examined, in a directory that goes away; `parts` beside it says of what."""
    from tuti.train.doctor import Patient

    stage = _stage(about)
    config = config_from_json(config_type(stage), about["config"])
    options = config_from_json(RunOptions, about.get("options", {}))
    pin(options.seed, options.threads)
    device = choose_device(options.device)
    run = Run.follow(options)
    parts = sys.modules[stage.__module__].parts(config, run)
    kinds = {name.partition(":")[0] for name in run.inputs}
    return Patient(
        parts, config.steps, template_of(config), chat="Documents" in kinds,
        pretrained="LanguageModel" in kinds, precision=config.precision, device=device,
        micro=getattr(config, "micro", 0), free=free_bytes(device),
    )


def template_of(config: Any) -> "ChatTemplate":
    """The tokenizer and template of a config's inputs: the model's, else the tokens'."""
    from tuti.text import ChatTemplate

    paths = [value for f in fields(config) if isinstance(value := getattr(config, f.name), Path)]
    errors: list[UserError] = []
    for path, kind in product(paths, ("LanguageModel", "Tokens")):
        try:
            return ChatTemplate.load(find_artifact(path, kind))
        except UserError as error:
            errors.append(error)
    raise errors[0]


def free_bytes(device: str) -> int:
    """Free memory of the device; on a processor, no more than a container's limit leaves."""
    import psutil
    import torch

    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info()[0])
    free = int(psutil.virtual_memory().available)
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        return min(free, limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return free


def examine_machine() -> "Iterator[Row]":
    """What this machine has, what is missing and what for; then every room's own checks."""
    import psutil
    import torch

    from tuti.train.doctor import Row

    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    yield Row("python", sys.version_info >= (3, 11), platform.python_version(), "≥ 3.11", "")
    yield Row("torch", True, torch.__version__, "")
    available, total = memory.available / 1e9, memory.total / 1e9
    low = "" if available >= 2 else "close other programs"
    yield Row("memory", not low, f"{available:.1f} of {total:.1f} GB free", "≥ 2 GB", low)
    full = "" if disk.free >= 2e9 else "tuti runs du; tuti runs rm RUN"
    yield Row("disk", not full, f"{disk.free / 1e9:.1f} GB free here", "≥ 2 GB", full)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for name in names if (path := shutil.which(name))), "")
    try:
        check_kernel()
        box = "Landlock and seccomp hold"
    except UserError:
        box = ""
    for name, found, purpose in (
        ("cuda", gpu, "training larger models faster"),
        ("chromium", browser, "the tests of the pages in a real browser"),
        ("sandbox", box, "running code that models write"),
    ):
        yield Row(name, True, found or "missing", "" if found else f"needed only for {purpose}")
    checks = {f"{room}: {name}": at for room, card in all_cards().items() for name, at in card.checks.items()}
    for name, at in checks.items():
        try:
            yield Row(name, True, str(load(at)()), "")
        except UserError as error:
            yield Row(name, False, error.what, "", error.hint)
