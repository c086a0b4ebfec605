"""Runs one stage inside its run: pins the machine, writes the lineage, counts the cost."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuti.run import files, machine
from tuti.run.directory import Run, read_events
from tuti.run.lineage import code_commit, config_to_json


def execute(stage: Callable[[Any, Run], None], config: Any, run: Run) -> None:
    """Calls `stage(config, run)`; afterwards lineage.json holds hashes, versions, hardware and cost.

    An interrupted or failed stage leaves its checkpoints and an event that says so; the error goes on.
    """
    files.sweep(run.folder)
    files.sweep(run.folder / "artifacts")
    device = machine.choose_device(run.options.device)
    machine.pin(run.options.seed, run.options.threads)
    run.log("start", stage=stage.__name__, device=device, threads=run.options.threads)
    started = time.monotonic()
    try:
        stage(config, run)
    except BaseException as error:
        run.log("stopped", error=type(error).__name__, message=str(error)[:2000])
        raise
    run.log("finish", seconds=round(time.monotonic() - started, 3))
    write_lineage(run, config, device)


def seconds_spent(run: Run) -> float:
    """Wall seconds of all attempts, a killed one counted up to its last event."""
    total, first, last = 0.0, 0.0, 0.0
    for event in read_events(run.folder):
        if event["event"] == "start":
            total, first = total + last - first, float(event["time"])
        last = float(event["time"])
    return round(total + last - first, 3)


def write_lineage(run: Run, config: Any, device: str) -> None:
    """Writes lineage.json; its presence marks the run as finished."""
    seconds = seconds_spent(run)
    flops = sum(float(event.get("flops", 0)) for event in read_events(run.folder, "cost"))
    cost = {"seconds": seconds, "flops": flops, "peak_memory_bytes": machine.peak_memory_bytes()}
    if price := os.environ.get("TUTI_PRICE"):  # of an hour
        cost["money"] = round(float(price) * seconds / 3600, 4)
    plain = config_to_json(config)
    lineage = {
        "key": _digest([plain, run.inputs, run.options.seed]),  # what a finished stage is recognised by
        "inputs": run.inputs,
        "config_sha256": _digest(plain),
        "code_commit": code_commit(),
        "seed": run.options.seed,
        "versions": machine.versions(),
        "machine": machine.describe(device),
        "cost": cost,
    }
    files.atomic_write(run.path("lineage.json"), json.dumps(lineage, indent=1, ensure_ascii=False))


def _digest(value: Any) -> str:
    return files.hash_text(json.dumps(value, sort_keys=True))


def finished(folder: Path) -> bool:
    """Whether the stage of the run in this folder came to its end."""
    return (folder / "lineage.json").exists()
