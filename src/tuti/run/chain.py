"""Stages in order inside one run, for jobs that are made of others."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuti.run.directory import Run, execute, finished, read_config
from tuti.run.files import atomic_link
from tuti.run.lineage import config_to_json


class Chain:
    """Runs stages in order inside one run, each in `stages/<name>`; a finished and unchanged one is skipped.

    Once one had to be computed, all that follow are computed too.
    """

    def __init__(self, parent: Run) -> None:
        self.parent = parent
        self.fresh = True

    def step(self, name: str, room: str, stage: Callable[[Any, Run], None], config: Any) -> Path:
        """The finished run of one stage: found, gone on with, or computed."""
        folder = self.parent.folder / "stages" / name
        options = dataclasses.replace(self.parent.options, out=folder, resume=True)
        run, plain = Run(folder, options), config_to_json(config)
        same = (folder / "config.json").exists() and read_config(folder)["config"] == plain
        if same and finished(folder) and self.fresh:
            self.parent.log("skipped", stage=name)
            return folder
        if not same or not self.fresh:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
            run.write_config(room, stage.__name__, config)
        self.fresh = False
        self.parent.log("stage", stage=name, folder=str(folder.relative_to(self.parent.folder)))
        self.parent.show(f"── {name}")
        execute(stage, config, run)
        return folder

    def promote(self, name: str, target: Path) -> None:
        """Points `artifacts/<name>` of the pipeline's run at a stage's artifact."""
        atomic_link(self.parent.folder / "artifacts" / name, target)
        self.parent.log("promoted", name=name, target=os.path.relpath(target, self.parent.folder))
