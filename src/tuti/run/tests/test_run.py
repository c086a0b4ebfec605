"""The run directory: atomic, append-only, checked, and the config round trip."""

import dataclasses
import errno
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import Ge

from tuti.run import (
    Run,
    RunOptions,
    UserError,
    atomic_write,
    config_from_json,
    config_to_json,
    execute,
    files,
    find_artifact,
    finished,
    printable,
    read_events,
)
from tuti.run.files import atomic_folder


@dataclass(frozen=True)
class One:
    rate: float = 0.5


@dataclass(frozen=True)
class Two:
    rate: float = 0.25


@dataclass(frozen=True)
class Config:
    source: Path
    steps: Annotated[int, Ge(1)] = 3
    method: One | Two = One()
    several: tuple[Path, ...] = ()


def new_run(tmp_path: Path) -> Run:
    return Run.create("room", "stage", Config(Path("a")), RunOptions(out=tmp_path / "run", seed=4))


def test_config_round_trip() -> None:
    config = Config(Path("x"), 7, Two(0.1), (Path("p"), Path("q")))
    assert config_from_json(Config, json.loads(json.dumps(config_to_json(config)))) == config


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"steps": "many"}, {"unknown": 1}, {"method": {"type": "Three"}}]
)
def test_bad_configs_are_refused_with_the_value(change) -> None:
    with pytest.raises(UserError) as caught:
        config_from_json(Config, config_to_json(Config(Path("x"))) | change)
    assert caught.value.hint


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    new_run(tmp_path)
    with pytest.raises(UserError, match="already holds a run"):
        new_run(tmp_path)


def test_the_place_of_a_run_that_was_refused_is_free_and_of_one_that_had_begun_is_not(tmp_path: Path) -> None:
    def stage(config: Config, run: Run) -> None:
        run.path("artifacts", "games", "1").parent.mkdir(exist_ok=True)
        if config.steps > 1:
            run.log("step", step=1)
        raise UserError("no such file")

    for steps in (1, 1, 2):
        with pytest.raises(UserError, match="no such file"):
            execute(stage, Config(Path("x"), steps), new_run(tmp_path))
    with pytest.raises(UserError, match="already holds a run"):
        new_run(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "artifacts/notes.txt"])
def test_what_lies_beside_a_refused_run_is_never_lost(tmp_path: Path, name: str) -> None:
    run = new_run(tmp_path)
    run.log("start")
    run.log("stopped")
    run.path(name).write_text("mine")
    with pytest.raises(UserError, match="already holds a run"):
        new_run(tmp_path)
    run.path("config.json").unlink()  # two files, and they are no run's
    with pytest.raises(UserError, match="is no run, and not empty"):
        new_run(tmp_path)
    assert run.path(name).read_text() == "mine"


def test_events_survive_a_torn_last_line(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.log("step", step=1)
    with open(run.path("events.jsonl"), "ab") as stream:
        stream.write(b'{"event": "step", "st')
    run.log("step", step=2)
    assert [event["step"] for event in read_events(run.folder, "step")] == [1, 2]


def test_an_artifact_is_whole_or_absent(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    with pytest.raises(RuntimeError), run.save("a", "Tokens") as folder:
        (folder / "x").write_text("half")
        raise RuntimeError
    assert not (run.folder / "artifacts" / "a").exists()
    with run.save("a", "Tokens") as folder:
        (folder / "x").write_text("whole")
    assert (run.load(run.folder, "Tokens") / "x").read_text() == "whole"
    with run.save("a", "Tokens") as folder:
        (folder / "x").write_text("again!")
    assert (find_artifact(run.folder, "Tokens") / "x").read_text() == "again!"


def test_wrong_missing_and_truncated_artifacts_say_what_was_wanted(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    with run.save("a", "Tokens") as folder:
        (folder / "x").write_text("whole")
    with pytest.raises(UserError, match="holds Tokens, wanted: Documents") as caught:
        run.load(run.folder, "Documents")
    assert "tuti spark prepare" in caught.value.hint
    with pytest.raises(UserError, match="does not exist"):
        run.load(tmp_path / "nowhere", "Tokens")
    (run.folder / "artifacts" / "a" / "x").write_text("who")
    with pytest.raises(UserError, match="truncated"):
        run.load(run.folder, "Tokens")
    (run.folder / "artifacts" / "a" / "tuti.json").write_text('{"kind": ')
    with pytest.raises(UserError, match=r"tuti\.json is not readable JSON.*\nhint: .*make it again"):
        run.load(run.folder, "Tokens")


def test_a_damaged_run_directory_is_refused(tmp_path: Path) -> None:
    from tuti.run.directory import read_config

    run = new_run(tmp_path)
    unread, path = "is not readable JSON", run.folder / "config.json"
    damages = {"": unread, "{": unread, "[]": "holds a list", '{"room": 1}': "lacks", "\x00\x01": unread}
    damages["[" * 100_000] = unread
    for content, said in damages.items():
        path.write_text(content)
        with pytest.raises(UserError, match=rf"config\.json {said}.*\nhint: .*make it again"):
            read_config(run.folder)
    with pytest.raises(UserError, match="not a run"):
        read_config(tmp_path)


def killed_at(call: str, number: int, work) -> None:
    """Runs `work` in a child that is killed just before its `number`th call of os.<call>."""
    pid = os.fork()
    if pid == 0:
        real, count = getattr(os, call), [0]

        def deadly(*arguments, **named):
            count[0] += 1
            if count[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        setattr(os, call, deadly)
        work()
        os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_file_killed_while_written_is_old_or_new(tmp_path: Path, call: str) -> None:
    path = tmp_path / "file"
    for number in (1, 2, 3):
        atomic_write(path, "old")
        killed_at(call, number, lambda: atomic_write(path, "new" * 1000))
        files.sweep(tmp_path)
        assert path.read_text() in ("old", "new" * 1000)
        assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_folder_killed_while_replaced_is_old_or_new(tmp_path, call: str, number: int) -> None:
    path = tmp_path / "folder"

    def write(text: str) -> None:
        with atomic_folder(path) as folder:
            (folder / "x").write_text(text)
            (folder / "y").write_text(text)

    write("old")
    killed_at(call, number, lambda: write("new"))
    files.sweep(tmp_path)
    assert {(path / "x").read_text(), (path / "y").read_text()} in ({"old"}, {"new"})
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch) -> None:
    run = new_run(tmp_path)
    atomic_write(run.path("kept"), "before")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left") as caught:
        atomic_write(run.path("kept"), "after")
    assert "--resume" in caught.value.hint
    assert run.path("kept").read_text() == "before"
    with pytest.raises(UserError, match="no space left"), run.save("a", "Tokens") as folder:
        (folder / "x").write_text("x")
    assert not (run.folder / "artifacts" / "a").exists()


def test_execute_writes_the_lineage_and_the_cost(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TUTI_PRICE", "3600")
    run = new_run(tmp_path)

    def stage(config: Config, run: Run) -> None:
        run.log("cost", flops=5.0)

    execute(stage, Config(Path("a")), run)
    lineage = json.loads((run.folder / "lineage.json").read_text())
    assert finished(run.folder) and lineage["cost"]["flops"] == 5 and lineage["seed"] == 4
    assert lineage["cost"]["money"] == pytest.approx(lineage["cost"]["seconds"], abs=1e-3)
    assert {"torch", "python"} <= lineage["versions"].keys() and lineage["machine"]["cores"] >= 1


def test_a_failed_stage_stays_unfinished_and_its_time_counts(tmp_path: Path) -> None:
    run = new_run(tmp_path)

    def fails(config: Config, run: Run) -> None:
        raise UserError("no", hint="yes")

    with pytest.raises(UserError):
        execute(fails, Config(Path("a")), run)
    assert not finished(run.folder)
    assert read_events(run.folder, "stopped")[0]["error"] == "UserError"


def test_options_are_kept(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    kept = json.loads((run.folder / "config.json").read_text())["options"]
    assert config_from_json(RunOptions, kept) == dataclasses.replace(run.options, resume=False)


def test_a_printed_text_cannot_steer_the_terminal() -> None:
    said = "سلام، می\u200cروم\t1.\nnaïve\xa0😀 \U0001fa77"
    assert printable(said) == said
    assert printable("\x1b]0;evil\x07\r\x9b2J\x7f") == r"\x1b]0;evil\x07\r\x9b2J\x7f"
    assert printable("\u202egnp.exe \u2066a\u2028b \ud800") == r"\u202egnp.exe \u2066a\u2028b \ud800"
