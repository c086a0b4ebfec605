"""`tuti demo`: the main job on the embedded corpus, watched and then talked to in the browser."""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le

from tuti.pipelines.teach import Teach
from tuti.run import Run, RunOptions, assets


@dataclass(frozen=True)
class Demo:
    """Teaches a model on Hafez and Shakespeare while you watch, then lets you chat with it."""

    minutes: Annotated[float, Gt(0)] = 10.0
    """Minutes for the whole job"""
    port: Annotated[int, Ge(0), Le(65535)] = 8000
    """Port on 127.0.0.1 (0: any that is free)"""
    offline: Path | None = None
    """Read the corpus's packages from this folder instead of the network"""
    out: Path = Path("runs/demo")
    """The run; one that is unfinished is gone on with, a finished one is opened"""


def demo(config: Demo) -> None:
    """Fetches the corpus, serves `/demo` on 127.0.0.1 and, once its address is printed, teaches behind it.

    Where there is a run already, it is gone on with, as by `tuti … --resume --out RUN`.
    """
    from tuti.app.api import create_app
    from tuti.app.serve import listen, run
    from tuti.app.studio import mount_studio

    if not (config.out / "config.json").exists():
        source = tuple(assets.fetch(name, offline=config.offline) for name in ("hafez", "shakespeare"))
        job = Teach(source=source, minutes=config.minutes)
        Run.create("teach", "teach", job, RunOptions(out=config.out))
    print("open this address in a browser:", file=sys.stderr)
    with contextlib.closing(listen("127.0.0.1", config.port)) as listening:
        app = create_app([])
        jobs = mount_studio(app, config.out.parent, demo=config.out).jobs
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/demo"
        run(app, listening, address, lambda: jobs.resume(config.out))
