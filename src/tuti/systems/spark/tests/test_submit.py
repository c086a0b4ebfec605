"""Cluster mode: drivers that outlive whoever submitted them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuti.run import UserError
from tuti.systems.spark.submit import Driver, submit

PROGRAM = """
import sys, time
import pyarrow as pa
from tuti.systems.spark.engine import Session
from tuti.systems.spark.tests.frames import frame_of
with Session(executors=2, memory="1g", partitions=2) as session:
    frame = frame_of(session, pa.table({"n": range(100)}))
    print("rows", frame.group_by().agg(total=("sum", "n")).collect()["total"][0], flush=True)
    if sys.argv[1] == "fail":
        raise SystemExit("it went wrong")
    if sys.argv[1] == "stay":
        time.sleep(100)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def ended(driver: Driver) -> str:
    until = time.monotonic() + 60
    while driver.state() == "running" and time.monotonic() < until:
        time.sleep(0.05)
    return driver.state()


def printed(driver: Driver) -> str:
    return (driver.folder / "printed").read_text()


def test_the_driver_goes_on_when_its_submitter_has_gone(program: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tuti.systems.spark.submit import submit;"
    code += "submit(Path(sys.argv[1]), ['end'], Path(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, program, tmp_path / "driver"], check=True)
    driver = Driver(tmp_path / "driver")
    assert ended(driver) == "finished" and printed(driver) == "rows 4950\n"


def test_how_a_driver_ended_is_known(program: Path, tmp_path: Path) -> None:
    failed = submit(program, ["fail"], tmp_path / "failed")
    assert ended(failed) == "failed" and printed(failed).endswith("it went wrong\n")
    killed = submit(program, ["stay"], tmp_path / "killed")
    assert killed.state() == "running"
    os.killpg(int((killed.folder / "pid").read_text()), signal.SIGKILL)  # also who would have seen it end
    assert ended(killed) == "failed"


def test_what_cannot_be_submitted_is_refused(program: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for path, folder, says in ((tmp_path / "no.py", "a", "no file"), (program, "there", "exists")):
        with pytest.raises(UserError, match=says) as caught:
            submit(path, [], tmp_path / folder)
        assert caught.value.hint
