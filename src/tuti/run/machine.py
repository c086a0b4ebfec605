"""What this machine is, and how a run is pinned to it: seed, device, threads."""

import os
import platform
import random
import resource
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from tuti.run.errors import UserError


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


@cache
def cores() -> int:
    """Processors that this process may use (affinity counted, hyper-threads too)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(device: str) -> dict[str, str | int | float]:
    """The hardware a run was made on, as its lineage records it; an accelerator by its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if device.startswith("cuda"):
        import torch

        device = torch.cuda.get_device_name()
    found = {"system": platform.platform(), "processor": _processor(), "cores": cores()}
    return found | {"memory_gb": round(memory, 1), "device": device}


def choose_device(wanted: str) -> str:
    """`auto` → `cuda` where there is one, else `cpu`; a device that is absent is refused.

    What computes with torch has imported it; what does without is not made to load it: 200 MB, for each
    process that is forked.
    """
    if wanted == "auto" and "torch" not in sys.modules:
        return "cpu"
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted != "cpu" and wanted.partition(":")[0] != "cuda":
        raise UserError(f"no device {wanted!r}", hint="--device auto, cpu or cuda")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but torch sees no GPU", hint="--device cpu")
    return wanted


def pin(seed: int, threads: int) -> None:
    """Fixes every source of chance and the number of threads, so that equal configs give equal bits."""
    import numpy

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(threads or cores())


def peak_memory_bytes() -> int:
    """The largest resident set this process has had (bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def versions() -> dict[str, str]:
    """The packages that decide what is computed."""
    names = ("tuti", "torch", "numpy", "tokenizers", "safetensors")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}
