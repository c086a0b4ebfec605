"""The Spark engine against the in-process one: the same bytes, whatever the partitions."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tuti.run.files import hash_folder
from tuti.systems.spark import engine_spark
from tuti.systems.spark.tests.corpus import run_of, told, write_every_kind

needs_java = pytest.mark.skipif(not shutil.which("java"), reason="needs the program java")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_every_kind(tmp_path_factory.mktemp("spark") / "in")


@needs_java
def test_spark_and_in_process_write_the_same_bytes(corpus, tmp_path):
    ours = run_of(tmp_path / "local", corpus, passage=500)
    rules = set(told(ours, "drops")["rules"])
    assert rules >= {"duplicate", "near duplicate", "repeated paragraph"}
    assert rules <= {"duplicate", "near duplicate", "repeated paragraph", "empty", "broken encoding"}
    wanted = hash_folder(ours.folder / "artifacts")
    try:
        for partitions in (1, 3):
            ways = {"master": "local[2]", "memory": "4g", "partitions": partitions}
            run = run_of(tmp_path / f"spark-{partitions}", corpus, passage=500, **ways)
            assert hash_folder(run.folder / "artifacts") == wanted
    finally:
        engine_spark.session("local[2]", "4g").stop()


def test_spark_is_not_imported_in_process():
    code = "import sys, tuti.systems.spark.prepare; print('pyspark' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
