"""`make demo` as a stranger runs it: a fresh clone, its own .venv, until the model is there to chat with.

    make bench NAME=demo             # TUTI_KEEP=FOLDER keeps the run

Wall minutes of everything (making .venv and installing from pip's cache included), the peak of the
memory of all its processes, and the seconds from the end of the installation to the page's address.
The bound is 12 minutes.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import harness
import psutil

from tuti.run import read_events

BOUND = 12.0


def memory(pid: int) -> int:
    """Resident bytes of a process and all below it."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        return total
    return total


def main() -> None:
    root = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "tuti"
        subprocess.run(["git", "clone", "--quiet", str(root), str(clone)], check=True)
        printed = Path(scratch) / "printed"
        began = time.monotonic()
        job = subprocess.Popen(
            ["make", "demo", "ARGS=--port 0"],
            cwd=clone,
            stdout=open(printed, "w"),
            start_new_session=True,
            env={k: v for k, v in os.environ.items() if not k.startswith(("VIRTUAL_ENV", "OMP_"))},
        )
        peak, installed, page = 0, 0.0, 0.0
        run = clone / "runs" / "demo"
        while not read_events(run, "finish"):
            assert job.poll() is None, "make demo ended early"
            if not installed and (clone / ".venv" / "installed").exists():
                installed = time.monotonic()
            if not page and "http://" in printed.read_text():
                page = time.monotonic()
                harness.show(f"address after {page - installed:.1f} s")
            peak = max(peak, memory(job.pid))
            time.sleep(0.5)
        minutes = (time.monotonic() - began) / 60
        if keep := os.environ.get("TUTI_KEEP"):
            shutil.copytree(run, keep, symlinks=True)
        os.killpg(job.pid, signal.SIGINT)
        job.wait(timeout=30)
    harness.write(
        "demo",
        ours=minutes,
        peer=None,
        unit="minutes",
        ratio=minutes / BOUND,
        spread=(minutes / BOUND, minutes / BOUND),
        n=1,
        install_minutes=(installed - began) / 60,
        page_seconds=page - installed,
        peak_memory_gb=peak / 1e9,
    )


if __name__ == "__main__":
    main()
