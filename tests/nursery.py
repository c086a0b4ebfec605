"""Runs `teach` again and again in forked children that kill themselves, or are killed, at chosen moments.

    python tests/nursery.py  < orders, a JSON object a line; answers a line `pid`, then a line `status`

Everything is imported once and no tensor is computed here, so that a child starts in a tenth of a second.
An order: {"out", "source", "seed", "kill": null | {"stage", "event" | "call", "count"}}.
"""

import json
import os
import signal
import sys
from pathlib import Path

from tuti.pipelines.plan import Plan
from tuti.pipelines.teach import Teach, teach
from tuti.run import Run, RunOptions, UserError, config_from_json, execute, files
from tuti.run.directory import read_config

PLAN = Plan(vocab=400, width=32, layers=2, rows=2, steps=24, sft_steps=10)


def die() -> None:
    os.killpg(os.getpgid(0), signal.SIGKILL)


def arm(kill: dict) -> None:
    """Kills this process group at the chosen call or event inside the chosen stage."""
    stage, seen = [""], [0]
    log = Run.log

    def watched(run: Run, event: str, **fields) -> None:
        if event == "start":
            stage[0] = run.folder.name
        log(run, event, **fields)
        if stage[0] == kill["stage"] and "event" in kill and kill["event"] in ("any", event):
            seen[0] += 1
            if seen[0] == kill["count"]:
                die()

    Run.log = watched
    if "call" in kill:
        real = getattr(os, kill["call"])

        def deadly(*arguments, **named):
            inside = stage[0] == kill["stage"] and kill.get("where", "") in str(sys_path(arguments[0]))
            seen[0] += inside
            if inside and seen[0] == kill["count"]:
                die()
            return real(*arguments, **named)

        setattr(os, kill["call"], deadly)
        setattr(files.os, kill["call"], deadly)


def sys_path(target) -> str:
    """The path of a file descriptor or a path."""
    return os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)


def child(order: dict) -> None:
    os.setsid()
    sys.stderr = open(os.devnull, "w")
    out = Path(order["out"])
    if (out / "config.json").exists():
        config = config_from_json(Teach, read_config(out)["config"])
        run = Run(out, RunOptions(out=out, seed=order["seed"], threads=1, device="cpu", resume=True))
    else:
        config = Teach(source=(Path(order["source"]),), precision="fp32", plan=PLAN)
        options = RunOptions(out=out, seed=order["seed"], threads=1, device="cpu")
        run = Run.create("teach", "teach", config, options)
    if order["kill"]:
        arm(order["kill"])
    try:
        execute(teach, config, run)
    except UserError as error:
        print(error, file=sys.__stderr__)
        os._exit(3)
    os._exit(0)


for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        child(json.loads(line))
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
