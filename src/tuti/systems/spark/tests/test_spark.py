"""The Spark engine against the in-process one: the same bytes, whatever the partitions."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuti.run import UserError, hash_folder
from tuti.systems.spark import engine_spark
from tuti.systems.spark.tests.corpus import run_of, told, write_corpus

needs_java = pytest.mark.skipif(not shutil.which("java"), reason="needs the program java")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Every format, both scripts, duplicates across files, and something for each rule and skip."""
    folder = write_corpus(tmp_path_factory.mktemp("spark") / "in", files=8)
    english = (folder / "0" / "0.txt").read_text()
    persian = (folder / "1" / "1.txt").read_text()
    (folder / "page.html").write_text(f"<h1>گل</h1><p>{persian[:3000]}<script>no</script>")
    rows = [{"text": english[:2500]}, {"text": persian[500:900]}, {"title": "none"}]
    lines = "\n".join(json.dumps(row) for row in rows) + "\n{torn"
    (folder / "rows.jsonl").write_text(lines)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    pq.write_table(pa.table({"text": [english[:2500], persian[:100]]}), folder / "t.parquet")
    pq.write_table(pa.table({"n": [1]}), folder / "none.parquet")
    licence = "All of this may be copied by anyone who keeps these words at its head. " * 3
    for name in ("a", "b", "c"):
        (folder / f"licensed-{name}.txt").write_text(f"{licence}\n\n{name} {english[900:1050]}")
    (folder / "licence.txt").write_text(licence)
    (folder / "code.py").write_text("def parrot():\n    return 'طوطی'\n")
    (folder / "broken.txt").write_bytes(b"\xff\xfe\xfd\xfc" * 500)
    (folder / "image.bin").write_bytes(bytes(range(256)))
    with open(os.fsencode(folder) + b"/\xff.txt", "w") as file:
        file.write("a name that is not UTF-8")
    chats = [
        {
            "messages": [
                {"role": "user", "content": f"q{n % 9}"},
                {"role": "assistant", "content": "ok"},
            ]
        }
        for n in range(20)
    ]
    (folder / "x.chat.jsonl").write_text("\n".join(map(json.dumps, chats)))
    return folder


@needs_java
def test_spark_and_in_process_write_the_same_bytes(corpus, tmp_path):
    ours = run_of(tmp_path / "local", corpus, passage=500)
    rules = set(told(ours, "drops")["rules"])
    assert rules >= {"duplicate", "near duplicate", "repeated paragraph"}
    assert rules <= {"duplicate", "near duplicate", "repeated paragraph", "empty", "broken encoding"}
    wanted = hash_folder(ours.folder / "artifacts")
    try:
        for partitions in (1, 3):
            ways = {"master": "local[2]", "memory": "1g", "partitions": partitions}
            run = run_of(tmp_path / f"spark-{partitions}", corpus, passage=500, **ways)
            assert hash_folder(run.folder / "artifacts") == wanted
    finally:
        engine_spark.session("local[2]", "1g").stop()


def test_without_pyspark_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/java")
    with pytest.raises(UserError, match=r"pip install 'tuti\[spark\]'"):
        engine_spark.session("local[2]", "1g")


def test_without_java_the_error_says_so(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UserError, match="Spark needs Java 17"):
        engine_spark.session("local[2]", "1g")


def test_spark_is_not_imported_in_process():
    code = "import sys, tuti.systems.spark.prepare; print('pyspark' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
