"""The command line's manners: exit codes, what goes to stdout, colours, runs, and what cannot be resumed."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tuti.app import cli
from tuti.run import read_events
from tuti.run.assets import TABLE

Said = tuple[int, str, str]
Tuti = Callable[..., Said]


@pytest.fixture
def tuti(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Tuti:
    """Runs one command in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(ended.value.code or 0), out, err

    return run


def texts(folder: Path, lines: int = 3000) -> Path:
    folder.mkdir()
    (folder / "a.txt").write_text(
        "\n".join(f"the parrot sang its song of sugar {n}" for n in range(lines))
    )
    return folder


@pytest.fixture
def prepared(tuti: Tuti, tmp_path: Path) -> Path:
    texts(tmp_path / "in")
    code, out, err = tuti("spark", "prepare", "in", "--genre", "any", "--out", "runs/clean")
    assert code == 0 and out == "" and "documents to train on" in err
    return tmp_path / "runs" / "clean"


def test_help_and_version_are_data(tuti: Tuti) -> None:
    from tuti import __version__

    assert tuti("--version") == (0, f"tuti {__version__}\n", "")
    for words in (
        ("--help",),
        ("-h",),
        ("help",),
        ("spark",),
        ("spark", "--help"),
        ("look", "--help"),
    ):
        code, out, err = tuti(*words)
        assert code == 0 and "tuti" in out and err == "", words


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nonsense",),
        ("taech", "x"),
        ("spark", "nonsense"),
        ("spark", "--nonsense"),
        ("list", "--nonsense"),
        ("look",),
        ("runs", "burn"),
        ("spark", "prepare", "x", "--seed", "q"),
        ("spark", "prepare", "x", "--scale", "huge"),
        ("teach", "x", "--precision", "fp7"),
    ],
)
def test_usage_is_2_and_says_so_on_stderr(tuti: Tuti, words: tuple[str, ...]) -> None:
    code, out, err = tuti(*words)
    assert code == 2 and out == "" and err.strip()


def test_the_words_that_are_right_are_shown(tuti: Tuti) -> None:
    shown = tuti("taech")[2].partition("hint: one of: ")[2].strip().split(", ")
    assert {"teach", "chat", "spark"} <= {*shown} and shown == sorted(shown)
    assert "prepare" in tuti("spark", "prepar")[2]


@pytest.mark.parametrize(
    "words",
    [
        ("spark", "prepare", "absent"),
        ("spark", "prepare"),
        ("teach",),
        ("teach", "absent"),
        ("teach", "in", "--minutes", "-1"),
        ("teach", "in", "--scale", "tiny"),
        ("spark", "prepare", "in", "--scale", "paper"),
        ("transformer", "pretrain", "absent", "--rows", "0"),
        ("transformer", "pretrain", "--scale", "tiny"),
        ("transformer", "tokenizer", "in"),
        ("look", "in"),
        ("look", "absent"),
        ("runs", "ls", "absent"),
        ("runs", "rm", "in"),
        ("evaluate", "in"),
        ("chat", "in"),
        ("fetch",),
        ("fetch", "nonsense"),
        ("spark", "prepare", "--resume"),
        ("spark", "prepare", "--resume", "--out", "absent"),
        ("spark", "prepare", "in", "--out", "in/a.txt/run"),
    ],
)
def test_a_persons_error_is_1_with_a_hint(
    tuti: Tuti, tmp_path: Path, words: tuple[str, ...]
) -> None:
    texts(tmp_path / "in", lines=3)
    code, out, err = tuti(*words)
    assert code == 1 and out == "", err
    assert err.startswith("error: ") and "\nhint: " in err and "\x1b" not in err


def test_a_place_that_cannot_be_written_is_1_with_a_hint(
    tuti: Tuti, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_dispatch", lambda words: tmp_path.write_text(""))
    code, out, err = tuti("list")
    assert code == 1 and out == "" and err.startswith("error: ") and "\nhint: name another place" in err


def test_an_interruption_is_130(tuti: Tuti, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(words: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupted)
    code, out, err = tuti("list")
    assert code == 130 and out == "" and "--resume" in err


def test_a_reader_that_leaves_early_breaks_nothing() -> None:
    script = f'set -o pipefail; "{sys.executable}" -m tuti list | true; echo $?'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def seen_on_a_terminal(*words: str, **environment: str) -> str:
    """What a person sees on stderr."""
    ours, theirs = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    command = [sys.executable, "-m", "tuti", *words]
    done = subprocess.Popen(
        command,
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        env=kept | {"TERM": "xterm"} | environment,
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # Linux's way of saying that the other end is closed
        done.wait()
    finally:
        os.close(ours)
    assert done.wait() == 1
    return seen.decode()


def test_errors_are_red_on_a_terminal_unless_asked_otherwise() -> None:
    assert "\x1b[31merror:" in seen_on_a_terminal("look", "absent")
    assert "\x1b" not in seen_on_a_terminal("look", "absent", NO_COLOR="1")


def test_runs_are_listed_measured_shown_and_removed(tuti: Tuti, prepared: Path) -> None:
    code, out, err = tuti("runs")
    assert (code, err) == (0, "") and out == "runs/clean  spark prepare  finished\n"
    code, out, _ = tuti("runs", "du")
    size = sum(p.stat().st_size for p in prepared.rglob("*") if p.is_file())
    assert code == 0 and f"{size / 1e6:.1f} MB" in out
    code, out, _ = tuti("look", "runs/clean")
    assert code == 0 and "artifact documents: Documents" in out and "cost" in out
    code, out, err = tuti("runs", "rm", "runs/clean")
    assert code == 0 and out == "" and "removed" in err and not prepared.exists()
    assert tuti("runs")[:2] == (0, "")


def test_a_damaged_run_hides_no_other_and_can_be_removed(tuti: Tuti, prepared: Path) -> None:
    damaged = prepared.parent / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_text("{")
    code, out, _ = tuti("runs", "ls")
    assert code == 0 and "damaged" in out and "spark prepare  finished" in out
    assert "no unfinished run of spark prepare" in tuti("spark", "prepare", "--resume")[2]
    assert tuti("runs", "rm", "runs/damaged")[0] == 1  # nothing says that it is a run
    (damaged / "events.jsonl").write_text('{"event": "start"}\n')
    assert tuti("runs", "rm", "runs/damaged")[0] == 0 and not damaged.exists()


def test_what_is_resumed(tuti: Tuti, prepared: Path) -> None:
    events = len(read_events(prepared))
    code, out, err = tuti("spark", "prepare", "--resume", "--out", "runs/clean")
    assert (
        code == 0
        and out == ""
        and "finished already" in err
        and len(read_events(prepared)) == events
    )
    code, _, err = tuti("transformer", "pretrain", "--resume", "--out", "runs/clean")
    assert code == 1 and "is a run of spark prepare" in err
    assert "hint: tuti spark prepare --resume --out runs/clean" in err
    code, _, err = tuti("spark", "prepare", "in", "--genre", "any", "--out", "runs/clean")
    assert code == 1 and "already holds a run" in err and "--resume" in err
    (prepared / "lineage.json").unlink()  # as if it had been killed at the end
    code, _, err = tuti("spark", "prepare", "--resume")
    assert code == 0 and "finished before" in err and (prepared / "lineage.json").exists()


def test_options_are_in_the_config_and_presets_give_defaults(tuti: Tuti, tmp_path: Path) -> None:
    texts(tmp_path / "in", lines=300)
    code, _, err = tuti("spark", "prepare", "in", "--out", "a", "--scale", "tiny", "--seed=7")
    assert code == 0, err
    about = json.loads((tmp_path / "a" / "config.json").read_text())
    assert about["config"]["passage"] == 1000 and about["config"]["source"] == ["in"]
    assert about["options"]["seed"] == 7 and about["options"]["scale"] == "tiny"


def test_a_union_is_chosen_by_its_name(tuti: Tuti, tmp_path: Path) -> None:
    """Before other options or after them; what was chosen is in the config, though the tokens are missing."""
    words = ["optimiser:adam-w", "--rows", "3"]
    for out, order in (("a", words), ("b", words[1:] + words[:1])):
        code, _, err = tuti("transformer", "pretrain", "missing", "--out", out, *order)
        assert code == 1 and "missing does not exist" in err
        config = json.loads((tmp_path / out / "config.json").read_text())["config"]
        assert config["rows"] == 3 and config["optimiser"]["type"] == "AdamW"


def test_list_fetch_and_claims_print(tuti: Tuti) -> None:
    code, out, err = tuti("list")
    assert (code, err) == (0, "") and "tuti teach " in out and "tuti spark prepare" in out
    assert "teach teach" not in out  # a command that is shown is one that works
    assert all(name in tuti("fetch")[2] for name in TABLE)
    assert tuti("claims")[1].startswith("# Claims")
    assert "usage: tuti evaluate" in tuti("evaluate", "--help")[1]
