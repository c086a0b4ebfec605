"""A disk that is full in the middle: said with a remedy, nothing half-written, and then it goes on."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tuti.run import Run, RunOptions, UserError
from tuti.run.files import hash_folder
from tuti.systems.spark.engine import session as sessions
from tuti.systems.spark.prepare import Prepare
from tuti.systems.spark.tests.corpus import run_of, write_corpus

DISK = """
import json, resource, subprocess, sys
from pathlib import Path
folder, real = Path(sys.argv[1]), sys.argv[2] == "real"

def disk(megabytes, remount=""):
    if real:
        size = [f"{remount}size={megabytes}m", "tmpfs", str(folder)]
        subprocess.run(["mount", "-t", "tmpfs", "-o", *size], check=True)
    else:  # no file may be larger
        most = resource.RLIM_INFINITY if remount else megabytes * 20_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
"""
ON_THE_ENGINE = DISK + """
import numpy as np, pyarrow as pa
from tuti.run import UserError
from tuti.systems.spark.engine import Session
from tuti.systems.spark.tests.frames import frame_of

chance = np.random.default_rng(0)
texts = [chance.bytes(500).hex() for _ in range(16_000)]
disk(5)
with Session(executors=2, memory="520m", partitions=2, folder=folder) as session:
    frame = frame_of(session, pa.table({"n": np.arange(16_000), "text": texts}), 4)
    frame = frame.group_by("text").agg(n=("sum", "n"))
    for act in (frame.count, frame.collect, lambda: frame.take(3), lambda: frame.save(folder / "out")):
        try:
            act()
            print("whole")
        except UserError as error:
            left = [path.name for path in session.scratch.rglob("*") if path.is_file()]
            print(json.dumps([str(error), left]))
    print(json.dumps([path.name for path in folder.iterdir()]))
    disk(200, "remount,")
    print(frame.count(), sum(frame.collect()["n"].to_pylist()))
print(json.dumps([path.name for path in folder.iterdir()]))
"""
PREPARED = DISK + """
import os
from tuti.run.files import hash_folder
from tuti.app.cli import main

def tuti(*words):
    try:
        main(words)
    except SystemExit as end:
        return end.code

disk(2)
run = folder / "run"
print(tuti("spark", "prepare", sys.argv[3], "--genre", "any", "--passage", "500", "--out", str(run)))
print(json.dumps(sorted(path.name for path in run.rglob("*"))))
disk(200, "remount,")
print(tuti("spark", "prepare", "--resume", "--out", str(run)))
print(hash_folder(run / "artifacts"))
"""


@cache
def namespace() -> list[str]:
    """What begins a command that may mount: as root, or as anybody where the kernel allows it."""
    for begin in (["unshare", "-m"], ["unshare", "-rm"]):
        try:
            command = [*begin, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
            subprocess.run(command, check=True, capture_output=True)
            return begin
        except (OSError, subprocess.CalledProcessError):
            continue
    return []


def on_a_small_disk(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """On a file system of its own; where none can be mounted, with a limit on files' sizes."""
    folder.mkdir()
    kind = "real" if namespace() else "limit"
    command = [*namespace(), sys.executable, "-c", code, str(folder), kind, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_a_shuffle_on_a_full_disk(tmp_path):
    done = on_a_small_disk(ON_THE_ENGINE, tmp_path / "small")
    *failed, left, whole, empty = done.stdout.splitlines()
    assert len(failed) == 4
    for message, files in map(json.loads, failed):
        assert message.startswith("no space left while writing ") and "\nhint: free some space" in message
        assert not files
    assert len(json.loads(left)) == 1 and json.loads(left)[0].startswith("tuti-spark-")
    assert whole == f"16000 {sum(range(16_000))}"
    assert empty == "[]"


def test_prepare_on_a_full_disk_goes_on_when_there_is_space(tmp_path):
    corpus = write_corpus(tmp_path / "in", files=60)
    done = on_a_small_disk(PREPARED, tmp_path / "small", str(corpus))
    failed, left, resumed, found = done.stdout.splitlines()
    assert (failed, resumed) == ("1", "0")
    assert "error: no space left while writing" in done.stderr
    assert "hint: free some space" in done.stderr and "--resume" in done.stderr
    assert json.loads(left) == ["config.json", "events.jsonl"]
    wanted = run_of(tmp_path / "whole", corpus, passage=500)
    assert found == hash_folder(wanted.folder / "artifacts")


def test_a_small_memory_disk_is_not_for_blocks():
    free = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
    if free is not None:
        assert sessions._in_memory(1) is not None
    assert sessions._in_memory(1 << 60) is None


# -- where a run is to be


def refused(out: Path, source: Path) -> str:
    with pytest.raises(UserError) as caught:
        Run.create("spark", "prepare", Prepare(source=(source,)), RunOptions(out=out))
    assert caught.value.hint
    return str(caught.value)


def test_a_place_where_no_run_can_be(tmp_path):
    source = write_corpus(tmp_path / "in", files=1)
    (tmp_path / "letter").write_text("mine")
    for place in (tmp_path / "letter", tmp_path / "letter" / "run", Path("/proc/no/where")):
        assert f"no run can be made at {place}: " in refused(place, source)
    assert "is no run, and not empty" in refused(tmp_path, source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "letter"]


def test_a_run_is_not_written_over(tmp_path):
    corpus = write_corpus(tmp_path / "in")
    run = run_of(tmp_path / "run", corpus)
    before = hash_folder(run.folder)
    command = [sys.executable, "-m", "tuti", "spark", "prepare", str(corpus), "--out", str(run.folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "already holds a run" in done.stderr and "hint: --resume" in done.stderr
    assert hash_folder(run.folder) == before


@pytest.mark.skipif(os.name == "nt", reason="needs permissions")
def test_a_folder_that_may_not_be_written(tmp_path):
    """As root too: what lies in /sys is nobody's to make."""
    corpus = write_corpus(tmp_path / "in")
    place = Path("/sys/run") if os.geteuid() == 0 and os.path.isdir("/sys") else tmp_path / "locked" / "run"
    (tmp_path / "locked").mkdir(mode=0o500)
    command = [sys.executable, "-m", "tuti", "spark", "prepare", str(corpus), "--out", str(place)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"no run can be made at {place}: " in done.stderr and "hint: --out" in done.stderr
