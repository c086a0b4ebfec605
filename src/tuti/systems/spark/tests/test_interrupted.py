"""Executors that die and Ctrl-C, in the middle of a preparation: the same bytes, and nothing twice."""

import inspect
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tuti.run.files import hash_folder
from tuti.systems.spark import gather, near
from tuti.systems.spark.tests.corpus import run_of, write_corpus, write_every_kind
from tuti.systems.spark.tests.test_spark import needs_java


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_every_kind(tmp_path_factory.mktemp("interrupted") / "in")


@pytest.fixture(scope="module")
def wanted(corpus, tmp_path_factory) -> str:
    run = run_of(tmp_path_factory.mktemp("whole") / "run", corpus, passage=500)
    return hash_folder(run.folder / "artifacts")


def deadly(really, mark: Path):
    """The function, but whoever is first to be amid it (a generator), or to have done it, is killed."""
    driver = os.getpid()

    def die() -> None:
        if os.getpid() != driver and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def done(*arguments):
        result = really(*arguments)
        die()
        return result

    def amid(*arguments):
        for number, item in enumerate(really(*arguments)):
            if number == (2 if really.__name__ == "rows_of" else 0):
                die()
            yield item

    return amid if inspect.isgeneratorfunction(really) else done


PLACES = [
    (gather, "rows_of"),
    (gather, "_write"),
    (gather, "_repeated"),
    (gather, "_edit"),
    (near, "_write_sets"),
    (near, "_similar"),
    (near, "_without"),
]


@pytest.mark.parametrize(("module", "name"), PLACES, ids=[name for _, name in PLACES])
def test_an_executor_that_dies_amid_a_preparation_changes_nothing(
    tmp_path, monkeypatch, corpus, wanted, module, name
):
    """What it had done is done again: a bucket that it wrote, too, and nothing is there twice."""
    monkeypatch.setattr(module, name, deadly(getattr(module, name), tmp_path / "mark"))
    run = run_of(tmp_path / "run", corpus, passage=500)
    assert (tmp_path / "mark").exists()
    assert hash_folder(run.folder / "artifacts") == wanted


@pytest.mark.parametrize(
    "master", ["", pytest.param("local[2]", marks=[pytest.mark.cluster, needs_java])]
)
def test_ctrl_c_stops_at_once_and_resume_goes_on(tmp_path, master):
    """The signal goes to all, as a terminal sends it; nobody is left, and no Java trace is told."""
    source, out = write_corpus(tmp_path / "in", files=20), tmp_path / "run"
    command = [sys.executable, "-m", "tuti", "spark", "prepare", "--out", str(out)]
    asked = [str(source), "--genre", "any", "--passage", "500", "--threads", "2"]
    asked += ["--master", master, "--memory", "3g", "--partitions", "2"] if master else []
    child = psutil.Popen([*command, *asked], start_new_session=True, stderr=subprocess.PIPE, text=True)
    while not (out / "scratch").exists() or not child.children():
        assert child.poll() is None
        time.sleep(0.01)
    time.sleep(0.2)
    family = child.children(recursive=True)
    assert family and child.poll() is None
    os.killpg(child.pid, signal.SIGINT)
    told = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and "--resume goes on" in told and "Traceback" not in told
    assert not re.search(r"\tat |Exception", told), told
    assert not psutil.wait_procs(family, timeout=5)[1]
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "events.jsonl"]
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    wanted = run_of(tmp_path / "whole", source, passage=500)
    assert hash_folder(out / "artifacts") == hash_folder(wanted.folder / "artifacts")
