"""Studio without a browser: fields from dataclasses, paths, processes, streams, strings."""

import ast
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro
from annotated_types import Ge, Le

from tuti.app.house import all_cards
from tuti.app.invoke import config_type
from tuti.app.studio import stream
from tuti.app.studio.form import _run_name, build, fields_of, inside, parse
from tuti.app.studio.place import LOG, TAIL, Jobs, Voices, read_tail
from tuti.app.studio.web import LANGUAGES
from tuti.app.tests.wordy import ENGLISH as SPOKEN_ENGLISH
from tuti.app.tests.wordy import PERSIAN as SPOKEN_PERSIAN
from tuti.app.tests.wordy import save_wordy
from tuti.infer import load_model
from tuti.pipelines.report import abilities
from tuti.run import Run, RunOptions, UserError, printable
from tuti.run.files import atomic_link

ENGLISH, PERSIAN = (LANGUAGES[code].strings for code in ("en", "fa"))


@dataclass(frozen=True)
class Small:
    """One way."""

    rank: Annotated[int, Ge(1)] = 8
    """Rank of the
    update"""


@dataclass(frozen=True)
class Whole:
    """Another way."""


@dataclass(frozen=True)
class Stage:
    """What a stage takes."""

    source: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of text"""
    rate: Annotated[float, Le(1)] = 0.5
    """A share"""
    names: tuple[str, ...] = ()
    """Names"""
    method: Small | Whole = field(default_factory=Whole)
    """How"""
    base: str | None = None
    """A model"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of weights"""
    shuffle: bool = True
    """Whether to shuffle"""
    saved: tuple[int, ...] = ()
    """Steps"""
    plan: tyro.conf.Suppress[Whole | None] = None
    """Not asked for"""


def test_fields_come_from_the_dataclass() -> None:
    made = {each.name: each for each in fields_of(Stage)}
    kinds = {name: each.kind for name, each in made.items()}
    assert kinds == {
        "source": "lines",
        "rate": "number",
        "names": "lines",
        "method": "variant",
        "base": "text",
        "precision": "choice",
        "shuffle": "switch",
        "saved": "lines",
    }
    assert made["source"].required and not made["rate"].required
    assert made["rate"].default == 0.5 and made["rate"].help == "A share"
    assert made["method"].default == "Whole" and made["method"].choices == ("Small", "Whole")
    assert made["method"].variants["Small"][0].help == "Rank of the update"
    assert made["precision"].choices == ("fp32", "bf16")


def test_a_preset_gives_the_defaults() -> None:
    made = {each.name: each for each in fields_of(Stage, Stage((Path("a"),), method=Small(3)))}
    assert made["source"].default == ["a"] and not made["source"].required
    assert made["method"].default == "Small"
    assert made["method"].variants["Small"][0].default == 3


def test_what_was_typed_becomes_the_config(tmp_path: Path) -> None:
    values = {
        "source": f"{tmp_path}\n {tmp_path}/b \n",
        "rate": " ۰٫25",
        "names": "x\n\ny",
        "method": {"type": "Small", "rank": "۴"},
        "base": "",
        "precision": "bf16",
        "shuffle": False,
        "saved": "3\n4",
    }
    found = build(Stage, fields_of(Stage), values, [tmp_path])
    paths = (tmp_path, tmp_path / "b")
    assert found == Stage(paths, 0.25, ("x", "y"), Small(4), None, "bf16", False, (3, 4))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("source", "", "source is empty"),
        ("source", " \n ", "source is empty"),
        ("rate", "much", "rate is 'much'"),
        ("rate", "1.5", "less than or equal to 1"),
        ("method", {"type": "Small", "rank": "2.5"}, "rank is '2.5'"),
        ("method", {"type": "Small", "rank": "0"}, "rank is '0'"),
        ("precision", "fp8", "precision"),
        ("saved", "3\nfour", "saved is ['3', 'four']"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    tmp_path: Path, name: str, value: object, said: str
) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        build(Stage, fields_of(Stage), {"source": str(tmp_path), name: value}, [tmp_path])
    assert caught.value.hint


def test_every_stage_of_the_house_has_a_form() -> None:
    for card in all_cards().values():
        for name, entry in card.stages.items():
            kind = config_type(entry.load())
            made = fields_of(kind)
            assert made and all(each.help for each in made), name
            required = {each.name: "x" for each in made if each.required}
            assert set(required) <= set(parse(made, required))


def test_a_form_left_as_it_is_asks_for_no_path_outside(tmp_path: Path) -> None:
    """A default that is empty is no path, least of all the folder that the server runs in."""
    for card in all_cards().values():
        for entry in card.stages.values():
            kind = config_type(entry.load())
            made = fields_of(kind)
            filled = {e.name: str(tmp_path) for e in made if e.required}
            assert isinstance(build(kind, made, filled, [tmp_path]), kind)


def test_forms_reach_no_path_outside_their_folders(tmp_path: Path) -> None:
    open_folder, secret = tmp_path / "texts", tmp_path / "secret"
    for folder in (open_folder, secret):
        folder.mkdir()
    (open_folder / "link").symlink_to(secret)
    made = fields_of(Stage)
    for path in (
        secret,
        "/etc/passwd",
        open_folder / "link" / "a",
        f"{open_folder}/../secret",
        "~",
    ):
        with pytest.raises(UserError, match="outside"):
            build(Stage, made, {"source": str(path)}, [open_folder])
        with pytest.raises(UserError, match="outside"):
            build(Stage, made, {"source": str(open_folder), "base": f" {path}"}, [open_folder])
    build(Stage, made, {"source": str(open_folder), "base": "org/name"}, [open_folder])
    with pytest.raises(UserError):
        inside(Path("a\0b"), [open_folder])


def test_runs_are_addressed_by_name_alone(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "good").mkdir(parents=True)
    about = '{"room": "a", "stage": "b", "config": null}'
    (runs / "good" / "config.json").write_text(about)
    (tmp_path / "config.json").write_text(about)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text(about)
    (runs / "link").symlink_to(tmp_path / "out")
    assert stream.find_run(runs, "good") == runs / "good"
    for name in ("..", ".", "", "good/..", "../out", "/etc", "a\0", "link", "absent"):
        with pytest.raises(UserError):
            stream.find_run(runs, name)
    assert [run.folder.name for run in stream.list_runs(runs)] in (["good", "link"], ["link", "good"])


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "a b", "<b>"])
def test_names_of_runs_are_plain(name: str) -> None:
    with pytest.raises(UserError):
        _run_name(name, "spark", "prepare")
    assert _run_name("", "spark", "prepare").startswith("spark-prepare-")
    assert _run_name(" first-1 ", "spark", "prepare") == "first-1"


def test_a_tail_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    watch = stream.Watch(tmp_path)

    def events() -> list[str]:
        return [event["event"] for event in watch.stages[tmp_path.name]]

    assert not watch.read()
    path.write_bytes('{"event": "a", "text": "سلام"}\n{"event": "b", "text": "س'.encode()[:-1])
    assert watch.read() and events() == ["a"]
    with open(path, "ab") as file:
        file.write("س".encode()[-1:] + b'"}\nnot json\n[1]\n{"event": 3}\n{"event": "c"}\n')
    assert watch.read() and events() == ["a", "b", "c"]
    assert not watch.read()
    path.write_bytes(b'{"event": "anew"}\n')
    assert watch.read() and events() == ["anew"]


def test_a_watch_follows_the_stages_of_a_pipeline(tmp_path: Path) -> None:
    watch = stream.Watch(tmp_path)
    assert not watch.read()
    inner = tmp_path / "stages" / "pretrain"
    inner.mkdir(parents=True)
    (inner / "events.jsonl").write_text('{"event": "step", "time": 2, "step": 1, "loss": 3.5}\n')
    assert watch.read()
    assert watch.last("step") == ("pretrain", {"event": "step", "time": 2, "step": 1, "loss": 3.5})
    assert watch.last("plan") is None


def test_states_are_told_from_the_disk(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    assert stream.state_of(tmp_path) == "unfinished"
    events.write_text('{"event": "start"}\n')
    assert stream.state_of(tmp_path) == "running"
    os.utime(events, (time.time() - 3600,) * 2)
    assert stream.state_of(tmp_path) == "unfinished"
    events.write_text('{"event": "start"}\n{"event": "stopped"}\n')
    assert stream.state_of(tmp_path) == "stopped"
    (tmp_path / "lineage.json").write_text("{}")
    assert stream.state_of(tmp_path) == "finished"


def test_a_damaged_artifact_hides_no_model_beside_it(tmp_path: Path) -> None:
    kinds = {"a": "{", "b": "[]", "c": '{"kind": "Documents"}', "d": '{"kind": "LanguageModel"}'}
    for name, about in kinds.items():
        (tmp_path / "artifacts" / name).mkdir(parents=True)
        (tmp_path / "artifacts" / name / "tuti.json").write_text(about)
    assert stream.model_of(tmp_path) == tmp_path / "artifacts" / "d"
    (tmp_path / "artifacts" / "d" / "tuti.json").write_bytes(b"\xff")
    assert stream.model_of(tmp_path) is None


def test_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * TAIL + "\nstep 2\n\x1b[31mسلام\r".encode() + b"\xff\n")
    assert read_tail(log).endswith("xx\nstep 2\n\x1b[31mسلام\r\ufffd") and len(read_tail(log)) < TAIL
    assert printable(read_tail(log)).endswith("xx\nstep 2\n\\x1b[31mسلام\\r\ufffd")
    assert read_tail(tmp_path / "absent") == ""


def test_jobs_are_few_and_end_with_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(limit=1)
    script = "import sys, time; sys.argv.append('x'); print('begun', flush=True); time.sleep(60)"
    monkeypatch.setattr(sys, "executable", _stand_in(tmp_path, script))
    job = jobs.start("tests", "sleep", None, RunOptions(out=tmp_path / "run"))
    with pytest.raises(UserError, match="running already"):
        jobs.resume(tmp_path / "run")
    with pytest.raises(UserError, match="at most 1"):
        jobs.start("tests", "sleep", None, RunOptions(out=tmp_path / "other"))
    until = time.monotonic() + 20
    while read_tail(tmp_path / "run" / LOG) != "begun" and time.monotonic() < until:
        time.sleep(0.05)
    jobs.end()
    assert job.poll() in (-signal.SIGINT, 1, 130)
    assert jobs.find(tmp_path / "run") is job


SERVE_DEMO = """
import sys
from pathlib import Path
from tuti.app.serve import Demo, demo
sys.executable = sys.argv[2]
demo(Demo(out=Path(sys.argv[1]), port=0))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_is_told_to_end_leaves_no_stage_behind(tmp_path: Path, number: int) -> None:
    """`kill` and a service manager send SIGTERM, which no `finally` outlives."""
    Run.create("tests", "sleep", None, RunOptions(out=tmp_path / "run"))
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(120)"
    words = [sys.executable, "-c", SERVE_DEMO, str(tmp_path / "run"), _stand_in(tmp_path, script)]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None and server.stdout.readline().startswith("http://127.0.0.1:")
    until = time.monotonic() + 20
    while not (said := read_tail(tmp_path / "run" / LOG)).isdigit() and time.monotonic() < until:
        time.sleep(0.05)
    server.send_signal(number)
    server.wait(30)
    with pytest.raises(ProcessLookupError):
        os.kill(int(said), 0)


def _stand_in(folder: Path, script: str) -> str:
    """A program that ignores its arguments and runs the script."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{script}"\n')
    path.chmod(0o755)
    return str(path)


def test_a_stage_from_a_form_is_the_stage_of_the_command_line(tmp_path: Path) -> None:
    """config.json written by a page is what `--resume` reads."""
    run = Run.create("room", "stage", Stage((tmp_path,)), RunOptions(out=tmp_path / "run", seed=3))
    about = json.loads((run.folder / "config.json").read_text())
    assert about["options"]["seed"] == 3 and about["config"]["method"] == {"type": "Whole"}


def test_a_model_promoted_later_speaks_from_then_on(tmp_path: Path) -> None:
    """As `teach` does: the run's link is pointed at a better model while the page is open."""
    for name, text in (("one", SPOKEN_PERSIAN), ("two", SPOKEN_ENGLISH)):
        save_wordy(tmp_path / "made", name, text, ends=True)
    run = Run.create("tests", "job", None, RunOptions(out=tmp_path / "runs" / "job"))
    voices = Voices(tmp_path / "runs", {})
    assert voices.names() == []

    async def said() -> str:
        assert await voices.prepare("job")
        asked = [{"role": "user", "content": "x"}]
        return "".join([piece async for piece in voices.speak("job", asked, 0.0, 50)])

    async def both() -> list[str]:
        answers: list[str] = []
        for name in ("one", "two"):
            target = tmp_path / "made" / name / "artifacts" / "model"
            atomic_link(run.folder / "artifacts" / "model", target)
            answers.append(await said())
        return answers

    assert asyncio.run(both()) == [SPOKEN_PERSIAN, SPOKEN_ENGLISH]
    assert voices.names() == ["job"] and len(voices.loaded) == 1
    with pytest.raises(UserError, match="no model is called"):
        asyncio.run(voices.prepare("../made/one"))
    for spoken in voices.loaded.values():
        spoken.engine.close()


def test_a_long_conversation_gives_up_its_oldest_turns(tmp_path: Path) -> None:
    model = load_model(save_wordy(tmp_path, "one", SPOKEN_ENGLISH))
    turns = [{"role": "system", "content": "short"}]
    for _ in range(40):
        turns += [
            {"role": "user", "content": "x" * 300},
            {"role": "assistant", "content": "y" * 50},
        ]
    turns.append({"role": "user", "content": "last"})
    ids = model.prompt(turns, 100)
    assert len(ids) <= model.context - 100
    text = model.tokenizer.decode(ids)
    assert text.rstrip().endswith("<|user|>\nlast<|end|>\n<|assistant|>")
    with pytest.raises(UserError, match="tokens"):
        model.prompt([{"role": "user", "content": "x" * 40_000}], 100)


def test_both_languages_say_the_same_things() -> None:
    assert ENGLISH.keys() == PERSIAN.keys()
    for size in (1, 10**9):
        for text in abilities(size, "fa"):
            assert re.search("[\u0600-\u06ff]", text) and not re.search("[يك]", text)
    for name, text in ENGLISH.items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", PERSIAN[name])), (
            name
        )
        assert re.search("[\u0600-\u06ff]", PERSIAN[name]), name
        assert not re.search("[يك]", PERSIAN[name]), f"{name}: Arabic letters in Persian"


def test_every_string_that_a_page_asks_for_exists() -> None:
    folder = Path(stream.__file__).parent
    used: set[str] = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("speech"):
                argument = node.args[0]
                if isinstance(argument, ast.Constant):
                    used.add(str(argument.value))
    for path in folder.glob("*.html"):
        used |= set(re.findall(r'speech\("(\w+)"[,)]', path.read_text()))
    assert len(used) > 40 and used <= ENGLISH.keys()
