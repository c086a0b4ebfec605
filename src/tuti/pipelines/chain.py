"""A chain of stages inside one run: each in `stages/<name>`, skipped where it is finished and unchanged."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuti.run import Run, atomic_link, config_to_json, execute, finished
from tuti.run.directory import read_config


class Chain:
    """Runs stages in order; once one had to be computed, all that follow are computed too."""

    def __init__(self, parent: Run) -> None:
        self.parent = parent
        self.fresh = True
        self.runs: dict[str, Run] = {}

    def step(self, name: str, room: str, stage: Callable[[Any, Run], None], config: Any) -> Run:
        """The finished run of one stage: found, gone on with, or computed."""
        folder = self.parent.folder / "stages" / name
        options = dataclasses.replace(self.parent.options, out=folder, resume=True)
        run = self.runs[name] = Run(folder, options)
        same = self._same(folder, config)
        if same and finished(run.folder) and self.fresh:
            self.parent.log("skipped", stage=name)
            return run
        if not same or not self.fresh:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            run.write_config(room, stage.__name__, config)
        self.fresh = False
        self.parent.log("stage", stage=name, folder=str(folder.relative_to(self.parent.folder)))
        self.parent.show(f"── {name}")
        execute(stage, config, run)
        return run

    def _same(self, folder: Path, config: Any) -> bool:
        written = (folder / "config.json").exists()
        return written and read_config(folder)["config"] == json.loads(json.dumps(config_to_json(config)))

    def promote(self, name: str, target: Path) -> None:
        """Points `artifacts/<name>` of the pipeline's run at a stage's artifact."""
        atomic_link(self.parent.folder / "artifacts" / name, target)
        self.parent.log("promoted", name=name, target=os.path.relpath(target, self.parent.folder))
