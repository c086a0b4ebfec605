"""`kill -9` amid the training of experts, then --resume: the same bits as without."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tuti.run import read_events
from tuti.run.files import hash_file
from tuti.systems.transformer.tests.grammar import write_corpus
from tuti.systems.transformer.tests.small import packed

WORDS = (
    "--scale tiny --width 48 --layers 2 --hidden 64 --rows 4 --steps 60 --every 10 --threads 1 --device cpu"
).split()


def start(tokens: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    order = ["mixtral", "train", str(tokens), "--out", str(out), *WORDS, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "tuti", *order], stderr=subprocess.DEVNULL, start_new_session=True
    )


def test_killed_twice_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus")
    tokens = packed(tmp_path, tmp_path / "corpus")
    whole = start(tokens, tmp_path / "whole")
    broken, more = tmp_path / "broken", []
    for step in (17, 41):  # between two checkpoints
        child = start(tokens, broken, *more)
        while not any(event["step"] >= step for event in read_events(broken, "step")):
            assert child.poll() is None, "it ended before it was killed"
            time.sleep(0.02)
        os.killpg(child.pid, signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL
        assert not (broken / "artifacts" / "model").exists()
        more = ["--resume"]
    assert start(tokens, broken, "--resume").wait(120) == 0
    assert whole.wait(120) == 0
    made = (tmp_path / run / "artifacts" / "model" / "model.safetensors" for run in ("whole", "broken"))
    assert len({hash_file(path) for path in made}) == 1
    resumed = [event["step"] for event in read_events(broken, "resumed")]
    assert resumed and all(step % 10 == 0 and step > 0 for step in resumed), resumed
