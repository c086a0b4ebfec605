import contextlib
import errno
import random
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest

import tuti.systems.spark.prepare as stage
from tuti.run import Run, RunOptions, UserError
from tuti.run.files import hash_folder
from tuti.systems.spark.prepare import Prepare, prepare
from tuti.systems.spark.readers import read
from tuti.systems.spark.tests.corpus import rows, run_of, told, write_corpus
from tuti.systems.spark.walk import walk

# -- bad input


def refused(tmp_path: Path, corpus: Path, **fields) -> str:
    with pytest.raises(UserError) as caught:
        run_of(tmp_path / "refused", corpus, **fields)
    assert "\nhint: " in str(caught.value)
    assert not list((tmp_path / "refused").glob("artifacts/*"))
    assert not (tmp_path / "refused" / "scratch").exists()
    return str(caught.value)


def test_an_empty_folder(tmp_path):
    (tmp_path / "in").mkdir()
    assert "nothing to read" in refused(tmp_path, tmp_path / "in")


def test_an_address_needs_spark(tmp_path):
    config = Prepare(source=(Path("hdfs://host:8020/texts"),))
    run = Run.create("spark", "prepare", config, RunOptions(out=tmp_path / "out"))
    with pytest.raises(UserError) as caught:
        prepare(config, run)
    assert "hdfs://host:8020/texts is no path of this machine" in str(caught.value)
    assert "--master" in str(caught.value)


def test_a_folder_of_only_binaries(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.bin").write_bytes(bytes(range(256)))
    assert "skipped 3 × binary" in refused(tmp_path, tmp_path / "in")


def test_only_zero_byte_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").touch()
    assert "skipped 1 × 0 bytes" in refused(tmp_path, tmp_path / "in")


def test_nothing_left_after_the_rules(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("… — !!! " * 1000)
    (tmp_path / "in" / "b.txt").write_bytes(b"caf\xe9 " * 1000)
    message = refused(tmp_path, tmp_path / "in")
    assert "no text is left of 2 files" in message
    assert "× broken encoding" in message and "× empty" in message


def test_a_corpus_too_small_says_what_is_too_little(tmp_path):
    (tmp_path / "a.txt").write_text("too little")
    message = refused(tmp_path, tmp_path / "a.txt")
    assert "10 bytes of text in 1 documents" in message and "below 50,000 bytes" in message


def test_invalid_utf8_is_dropped_by_the_passage_and_shown(tmp_path):
    corpus = write_corpus(tmp_path / "in")
    (corpus / "bad.txt").write_bytes(
        b"whole words here\n" * 300 + b"\xff\xfe\xfd broken \x07\n" * 300
    )
    run = run_of(tmp_path / "run", corpus)
    rule = told(run, "drops")["rules"]["broken encoding"]
    assert rule["count"] >= 1 and len(rule["examples"]) <= 5
    assert all(
        len(example["text"]) <= 600 and "\x07" not in example["text"]
        for example in rule["examples"]
    )
    kept = [
        row
        for row in rows(run, "train-00.jsonl") + rows(run, "valid-00.jsonl")
        if "bad.txt" in row["source"]
    ]
    assert kept and all("\ufffd" not in row["text"] for row in kept)


def test_nul_and_control_characters_are_removed(tmp_path):
    corpus = write_corpus(tmp_path / "in")
    (corpus / "nul.txt").write_bytes(b"wo\0rds with\x1b\x07 controls\x7f\r\nand lines")
    run = run_of(tmp_path / "run", corpus)
    found = {
        row["source"]: row["text"]
        for name in ("train", "valid")
        for row in rows(run, f"{name}-00.jsonl")
    }
    assert found["nul.txt#1"] == "words with controls\nand lines"


def test_skips_are_listed_up_to_a_limit_and_counted_beyond(tmp_path):
    corpus = write_corpus(tmp_path / "in")
    (corpus / "rows.jsonl").write_text("torn\n" * 950)
    skipped = told(run_of(tmp_path / "run", corpus), "drops")["skipped"]
    assert skipped["count"] == 950 and skipped["reasons"] == {"row is not JSON": 950}
    assert [skip["source"] for skip in skipped["listed"]] == [
        f"rows.jsonl#{n}" for n in range(1, 201)
    ]


# -- interruptions


def fail_once(monkeypatch, target, name: str, error: BaseException) -> None:
    really, calls = getattr(target, name), []

    def failing(*arguments, **fields):
        calls.append(1)
        if len(calls) == 1:
            raise error
        return really(*arguments, **fields)

    monkeypatch.setattr(target, name, failing)


@pytest.mark.parametrize("place", ["gather", "write_documents", "write_counts"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_full_disk_or_ctrl_c_loses_nothing_and_goes_on(tmp_path, monkeypatch, place, error):
    corpus = write_corpus(tmp_path / "in")
    wanted = run_of(tmp_path / "whole", corpus)
    config = Prepare(source=(corpus,), genre="any")
    run = Run.create("spark", "prepare", config, RunOptions(out=tmp_path / "run"))
    fail_once(monkeypatch, stage, place, error)
    with pytest.raises(
        KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError
    ) as caught:
        prepare(config, run)
    if isinstance(error, OSError):
        assert "no space left" in str(caught.value) and "\nhint: " in str(caught.value)
    assert not (run.folder / "scratch").exists()
    if place == "write_counts":
        assert (run.folder / "artifacts" / "documents" / "tuti.json").exists()
    prepare(config, run)
    assert hash_folder(run.folder / "artifacts") == hash_folder(wanted.folder / "artifacts")


CHILD = """
import sys
from pathlib import Path
from tuti.run import Run, RunOptions
from tuti.systems.spark.prepare import Prepare, prepare
config = Prepare(source=(Path(sys.argv[1]),), passage=200, genre="any")
prepare(config, Run(Path(sys.argv[2]), RunOptions(resume=True)))
"""


def test_kill_9_and_resume_gives_the_same_bytes(tmp_path):
    corpus = write_corpus(tmp_path / "in", files=30)
    out = tmp_path / "run"
    wanted = run_of(tmp_path / "whole", corpus, passage=200)
    stopped = 0
    for stage_reached in (
        "scratch",
        "scratch/sorted",
        "artifacts/.documents.partial",
        "artifacts/documents",
    ):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, corpus, out], stderr=subprocess.DEVNULL
        )
        while child.poll() is None and not (out / stage_reached).exists():
            time.sleep(0.002)
        stopped += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert stopped >= 2
    subprocess.run([sys.executable, "-c", CHILD, corpus, out], check=True, capture_output=True)
    assert hash_folder(out / "artifacts") == hash_folder(wanted.folder / "artifacts")
    assert not (out / "scratch").exists()


def test_one_line_of_many_megabytes_is_read_in_bounded_memory(tmp_path):
    """16 MB without a newline: what is allocated at most while it is read does not grow with it."""
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghij", k=60)) for _ in range(2000)]
    with open(tmp_path / "line.txt", "w") as file:
        for _ in range(100):
            file.write(" ".join(chance.choices(words, k=2_700)) + " ")
    (source,), _ = walk([tmp_path])
    tracemalloc.start()
    try:
        length = sum(len(item.content) for item in read(source, 4000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length == source.size > 16e6
    assert peak < 2e6


CAPPED = """
import sys
from pathlib import Path
from tuti.run import Run, RunOptions
from tuti.systems.spark.prepare import Prepare, prepare
config = Prepare(source=(Path(sys.argv[1]),), memory="600m", genre="any")
prepare(config, Run(Path(sys.argv[2]), RunOptions(threads=2)))
"""


def test_the_cap_of_memory_holds_for_all_processes_together(tmp_path):
    """12 MB of text, all words new; resident bytes of driver and executors, 50 times a second."""
    chance = random.Random(0)
    for number in range(12):
        words = (f"{chance.getrandbits(40):x}" for _ in range(100_000))
        (tmp_path / f"{number}.txt").write_text(" ".join(words))
    child = subprocess.Popen(
        [sys.executable, "-c", CAPPED, tmp_path, tmp_path / "run"], stderr=subprocess.DEVNULL
    )
    peak, tree = 0, psutil.Process(child.pid)
    while child.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            peak = max(
                peak, sum(p.memory_info().rss for p in [tree, *tree.children(recursive=True)])
            )
        time.sleep(0.02)
    assert child.returncode == 0
    assert 100e6 < peak <= 1.1 * 600 * 2**20


def test_a_real_limit_on_file_size(tmp_path):
    corpus = write_corpus(tmp_path / "in")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [sys.executable, "-c", CHILD, corpus, tmp_path / "run"],
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode and "no space left" in done.stderr and "hint:" in done.stderr
    assert not [
        path for path in (tmp_path / "run" / "artifacts").glob("*") if not path.name.startswith(".")
    ]
    subprocess.run(
        [sys.executable, "-c", CHILD, corpus, tmp_path / "run"], check=True, capture_output=True
    )
    wanted = run_of(tmp_path / "whole", corpus, passage=200)
    assert hash_folder(tmp_path / "run" / "artifacts") == hash_folder(wanted.folder / "artifacts")
