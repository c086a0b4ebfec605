"""Checkpoints: everything that decides the next bit, written beside the training, whole or not at all.

The training stalls only while its tensors are copied in memory; a thread writes the copy.
"""

import json
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from tuti.run import Run, damaged
from tuti.run.files import atomic_folder

STATE = "state.safetensors"


class Checkpoints:
    """The rotating checkpoints of one run; `save` returns before the disk has them."""

    def __init__(self, run: Run, keep: int = 2) -> None:
        self.run, self.keep = run, keep
        self._writing: Future[None] | None = None
        self._copies: dict[str, Tensor] = {}

    def save(self, step: int, state: dict[str, Tensor]) -> float:
        """Snapshots the state of update `step`; returns the seconds that training stood still."""
        began = time.monotonic()
        self.wait()
        for name, tensor in state.items():
            kept = self._copies.get(name)
            if kept is None or kept.shape != tensor.shape or kept.dtype != tensor.dtype:
                self._copies[name] = tensor.detach().to("cpu", copy=True).contiguous()
            else:
                kept.copy_(tensor)
        self._copies["rng"] = torch.get_rng_state()
        self._writing = ThreadPoolExecutor(1).submit(self._write, step)
        stall = time.monotonic() - began
        self.run.log("checkpoint", step=step, stall=round(stall, 6))
        return stall

    def wait(self) -> None:
        """Waits for the write in progress; its error, if any, is raised here."""
        if self._writing is not None:
            self._writing.result()

    def _write(self, step: int) -> None:
        parent = self.run.folder / "checkpoints"
        with atomic_folder(parent / f"step-{step:08d}") as folder:
            save_file(self._copies, folder / STATE)
            (folder / "facts.json").write_text(json.dumps({"step": step}))
        whole = sorted(p for p in parent.iterdir() if p.name.startswith("step-"))
        for old in whole[: -self.keep]:
            shutil.rmtree(old)


def load_checkpoint(folder: Path) -> tuple[int, dict[str, Tensor]]:
    """The step and the tensors of a checkpoint; torch's generator is set back too."""
    hint = f"remove it (an older one takes over): rm -r {folder}"
    with damaged(f"the checkpoint {folder} is", hint, SafetensorError):
        step = int(json.loads((folder / "facts.json").read_text())["step"])
        state = load_file(folder / STATE)
        torch.set_rng_state(state.pop("rng"))
        return step, state
