"""A standalone cluster of two workers on this machine: the same bytes as in one process (`-m cluster`)."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tuti.run.files import hash_folder
from tuti.systems.spark.java import find_java
from tuti.systems.spark.tests.corpus import run_of, write_corpus, write_every_kind

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
PREPARED = """
import sys
from pathlib import Path
from tuti.run.files import hash_folder
from tuti.systems.spark.tests.corpus import run_of
master, source, out, *partitions = sys.argv[1:]
for n in map(int, partitions):
    ways = {"master": master, "memory": "2g", "partitions": n}
    run = run_of(Path(out) / f"{n}", Path(source), passage=500, **ways)
    print(n, hash_folder(run.folder / "artifacts"))
"""
REFUSED = """
import sys
from tuti.systems.spark import engine_spark
engine_spark.PATIENCE["spark"] = 5
engine_spark.session(sys.argv[1], "2g")
"""


class Cluster:
    """A master, and workers beside it, each a process that this test started and ends."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, list[psutil.Popen]()
        told = self.start("master", "Starting Spark master at")
        self.address = re.search(r"spark://127\.0\.0\.1:\d+", told)[0]

    def start(self, name: str, until: str, *arguments: str) -> str:
        """Starts one and returns its log once that says `until`."""
        import pyspark

        java = find_java()
        assert java
        home, role = Path(pyspark.__file__).parent, name.rstrip("0123456789")
        what = f"org.apache.spark.deploy.{role}.{role.capitalize()}"
        begin = [str(home / "bin" / "spark-class"), what]
        named = {"SPARK_LOCAL_IP": "127.0.0.1", "JAVA_HOME": str(java[0]), "SPARK_DAEMON_MEMORY": "256m"}
        log = self.folder / f"{name}.log"
        with open(log, "w") as file:
            command = [*begin, "-h", "127.0.0.1", "--webui-port", "0", "-p", "0", *arguments]
            environment = {**os.environ, **named}
            self.started.append(psutil.Popen(command, stdout=file, stderr=file, env=environment))
        for _ in range(600):
            if until in (told := log.read_text()):
                return told
            assert self.started[-1].poll() is None, told
            time.sleep(0.2)
        raise AssertionError(f"{name} did not start: {told}")

    def add_worker(self, number: int) -> None:
        places = ["-c", "1", "-m", "2g", "-d", str(self.folder / f"work{number}"), self.address]
        self.start(f"worker{number}", "Successfully registered with master", *places)

    def below_workers(self) -> list[psutil.Process]:
        return [child for worker in self.started[1:] for child in worker.children(recursive=True)]

    def executor_at_work(self, job: subprocess.Popen[str]) -> psutil.Process:
        """An executor whose Python workers have begun."""
        while job.poll() is None:
            for process in self.below_workers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if "pyspark.daemon" in process.cmdline() and (parent := process.parent()):
                        return parent
            time.sleep(0.05)
        raise AssertionError(f"it ended before: {job.communicate()}")

    def stop(self) -> None:
        """By their ids: workers first, with the executors that they began."""
        for process in reversed(self.started):
            family = [process, *process.children(recursive=True)] if process.is_running() else []
            for member in family:
                member.terminate()
            for member in psutil.wait_procs(family, timeout=10)[1]:
                member.kill()


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.stop()
        assert not any(process.is_running() for process in made.started)


def spark(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: one has one Spark."""
    command = [sys.executable, "-c", code, *arguments]
    named = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, env=named)


def prepared(master: str, source: Path, out: Path, partitions: list[int]) -> dict[int, str]:
    done = spark(PREPARED, master, str(source), str(out), *map(str, partitions))
    assert done.returncode == 0, done.stderr[-3000:]
    return {int(n): found for n, found in map(str.split, done.stdout.splitlines())}


def test_a_cluster_writes_the_bytes_that_one_process_writes(tmp_path, cluster):
    source = write_every_kind(tmp_path / "in")
    ours = [run_of(tmp_path / f"ours{n}", source, passage=500, partitions=n) for n in (1, 2, 8)]
    wanted = {hash_folder(run.folder / "artifacts") for run in ours}
    assert len(wanted) == 1
    done = spark(REFUSED, cluster.address)
    assert f"UserError: {cluster.address} gave no executor within 5 s" in done.stderr
    for number in (1, 2):
        cluster.add_worker(number)
    found = {
        (master, n): hash
        for master in (cluster.address, "local[1]", "local[2]")
        for n, hash in prepared(master, source, tmp_path / re.sub(r"\W", "", master), [1, 2, 8]).items()
    }
    assert len(found) == 9 and set(found.values()) == wanted
    worked = (tmp_path / f"worker{number}.log").read_text()
    assert "Launched" in worked or "Asked to launch executor" in worked, worked


def test_an_executor_that_is_killed_changes_no_byte(tmp_path, cluster):
    source = write_corpus(tmp_path / "in", files=40)
    ours = run_of(tmp_path / "ours", source, passage=500)
    for number in (1, 2):
        cluster.add_worker(number)
    command = [sys.executable, "-c", PREPARED, cluster.address, str(source), str(tmp_path / "theirs"), "6"]
    named = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=named)
    victim = cluster.executor_at_work(job)
    victim.kill()
    said, why = job.communicate(timeout=600)
    assert job.returncode == 0, why[-3000:]
    assert said.split() == ["6", hash_folder(ours.folder / "artifacts")]
    logs = "".join((tmp_path / f"worker{number}.log").read_text() for number in (1, 2))
    assert logs.count("Asked to launch executor") >= 3, logs  # two, and one in the place of the killed one


def test_files_that_spark_reaches_by_address(tmp_path):
    """file:// goes the way of hdfs://: Spark's connector, bytes, a temporary file."""
    source = write_every_kind(tmp_path / "in")
    os.remove(os.fsencode(source) + b"/\xff.txt")  # Java has no name for it
    ours = run_of(tmp_path / "ours", source, passage=500)
    done = spark(PREPARED, "local[2]", source.as_uri(), str(tmp_path / "theirs"), "3")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["3", hash_folder(ours.folder / "artifacts")]


def test_an_address_that_nobody_answers(tmp_path):
    done = spark(PREPARED, "local[1]", "hdfs://127.0.0.1:1/texts", str(tmp_path), "1")
    assert done.returncode and "hdfs://127.0.0.1:1/texts cannot be read by Spark" in done.stderr
    assert "hint: give the whole address" in done.stderr
