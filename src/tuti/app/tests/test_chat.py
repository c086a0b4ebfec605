"""`tuti chat` from a pipe and in a terminal."""

import dataclasses
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuti.app.chat import Chat, Conversation
from tuti.app.tests.parrot import QUESTION, SENTENCE, save_parrot
from tuti.infer import load_model

COMMAND = [sys.executable, "-m", "tuti", "chat"]


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_parrot(tmp_path_factory.mktemp("runs") / "parrot")


def test_piped_messages_are_answered_on_stdout_alone(parrot: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(parrot), "--temperature", "0", "--max-tokens", "80"],
        input=f"{QUESTION}\n\n",
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{SENTENCE}\n", "")


def test_a_terminal_streams_stops_and_resets(parrot: Path) -> None:
    master, slave = pty.openpty()
    arguments = [str(parrot), "--temperature", "3", "--max-tokens", "200", "--seed", "1"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    seen = bytearray()

    def until(text: str) -> None:
        deadline = time.monotonic() + 60
        while text.encode() not in seen:
            assert time.monotonic() < deadline, seen.decode("utf-8", "replace")
            if select.select([master], [], [], 0.2)[0]:
                seen.extend(os.read(master, 4096))

    try:
        until("Ctrl-D leaves")
        until("\n> ")
        os.write(master, f"{QUESTION}\n".encode())
        seen.clear()
        until("\n")
        process.send_signal(signal.SIGINT)
        until("\n> ")
        seen.clear()
        os.write(master, b"/reset\n")
        until("forgotten")
        until("> ")
        seen.clear()
        os.write(master, ("a" * 300 + "\n").encode())
        until("hint: shorten it")
        until("> ")
        os.write(master, b"\x04")
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_a_pretrained_model_continues_and_old_turns_make_room(parrot: Path, tmp_path: Path) -> None:
    loaded = load_model(parrot)
    base = Conversation(Chat(parrot, max_tokens=4), dataclasses.replace(loaded, template=None))
    assert len(list(base.answer("طوطی شکر"))) <= 4 and base.messages == []
    talk = Conversation(Chat(parrot, system="?", temperature=0), loaded)
    for _ in range(4):
        list(talk.answer("b" * 60))
    assert talk.messages[0]["content"] == "?" and 3 <= len(talk.messages) < 9
