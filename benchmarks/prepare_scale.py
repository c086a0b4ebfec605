"""`tuti spark prepare` with two executors against one: rows/s on the Python files of the installed packages.

    make bench NAME=prepare_scale
"""

import shutil
import sysconfig
import tempfile
from pathlib import Path

import harness

from tuti.run import Run, RunOptions
from tuti.systems.spark.prepare import Prepare, prepare

MEGABYTES = 60


def main() -> None:
    installed = sorted(Path(sysconfig.get_paths()["purelib"]).glob("*/**/*.py"))
    with tempfile.TemporaryDirectory() as scratch:
        source, size = Path(scratch) / "in", 0
        source.mkdir()
        for number, path in enumerate(installed):
            shutil.copy(path, source / f"{number:05d}.py")
            size += path.stat().st_size
            if size > MEGABYTES * 1_000_000:
                break

        def work(executors: int) -> float:
            out = Path(scratch) / "out"
            shutil.rmtree(out, ignore_errors=True)
            config = Prepare(source=(source,), partitions=16)
            run = Run.create("spark", "prepare", config, RunOptions(out=out, threads=executors))
            prepare(config, run)
            with open(out / "artifacts" / "documents" / "train-00.jsonl", "rb") as file:
                return sum(1 for _ in file)

        pairs = harness.compare(lambda: work(2), lambda: work(1), pairs=5)
    harness.report("prepare-scale", pairs, unit="documents/s", megabytes=round(size / 1e6))


if __name__ == "__main__":
    main()
