"""What the pages say is so: fresh tables, commands that parse, links that lead somewhere, live examples."""

import importlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from tuti import systems
from tuti.app.cli import _find, main
from tuti.app.invoke import _parse, _preset, _with_options, config_type
from tuti.app.views import Claims, claims, ledger
from tuti.pipelines.plan import Plan
from tuti.run.card import Status, load_claims
from tuti.systems.transformer.tests.grammar import write_corpus

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / name
    for name in ("README.md", "README.fa.md", "CONTRIBUTING.md", "SECURITY.md", "THIRD_PARTY.md")
]
PAGES += sorted(ROOT.glob("src/tuti/systems/*/README.md")) + sorted(ROOT.glob("docs/**/*.md"))


def load(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code_of(page: Path) -> list[str]:
    """The lines of a page's blocks of code."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(
        r"^    (\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.MULTILINE
    )
    return [line for block in fenced for line in block.splitlines()] + indented


def commands() -> list[str]:
    """Each `tuti …` in a page's code; several may share a line."""
    found: dict[str, None] = {}
    for page in PAGES:
        for line in code_of(page):
            for part in re.findall(
                r"(?<!-m )\btuti [a-z].*?(?=\s+tuti |$)", line.partition("  #")[0]
            ):
                part = re.sub(r"…\s*$", "", part.strip())
                if "…" not in part and " import " not in part:
                    found[part] = None
    return list(found)


def mentioned() -> set[str]:
    """Each `tuti …` between single backticks: its verb, or its room and verb."""
    found: set[str] = set()
    for page in PAGES:
        for verb, stage in re.findall(
            r"`tuti ([a-z]+)(?: ([a-z]+)\b)?", page.read_text(encoding="utf-8")
        ):
            found.add(f"{verb} {stage}" if verb in systems.ROOMS and stage else verb)
    return found


@pytest.mark.parametrize("command", commands())
def test_commands_on_the_pages_parse(command: str) -> None:
    room, verb, entry, card, rest = _find(shlex.split(command)[1:])
    assert entry is not None, f"{command} names no verb"
    kind = config_type(entry.load())
    if verb not in card.stages:
        _parse(kind, rest, "tuti", None, "")
        return
    scale = rest[rest.index("--scale") + 1] if "--scale" in rest else None
    default = _preset(verb, scale, card.presets.get(verb, {}))
    _parse(_with_options(kind), rest, "tuti", default, "")


@pytest.mark.parametrize("words", sorted(mentioned()))
def test_verbs_on_the_pages_have_help(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--help"])
    assert ended.value.code == 0 and words.split()[0] in capsys.readouterr().out


BLOCKS = [
    (page, block)
    for page in sorted((ROOT / "src/tuti/systems").glob("*/README.md"))
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
]


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_the_lines_that_matter_are_the_code(page: Path, block: str) -> None:
    """What a room's README shows stands so in the source, but for its indentation; … leaves something out."""
    told = [re.sub(r"(?m)^ +", "", path.read_text("utf-8")) for path in (ROOT / "src").rglob("*.py")]
    for part in re.split(r"(?m)^…\n", re.sub(r"(?m)^ +", "", block)):
        assert any(part in text for text in told), part


def test_there_are_commands_to_test() -> None:
    assert len(BLOCKS) > 5
    assert len(commands()) > 15 and "tuti teach ~/my-texts --minutes 10" in commands()
    assert {"teach", "spark prepare", "transformer pretrain"} <= mentioned()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_rules_fit_on_a_page() -> None:
    assert (ROOT / "CONTRIBUTING.md").read_text().count("\n") <= 60


def test_the_table_of_benchmarks_is_fresh() -> None:
    table = load(ROOT / "benchmarks" / "table.py")
    for page in table.pages():
        text = page.read_text(encoding="utf-8")
        assert table.renewed(text) == text, (page, "python benchmarks/table.py")


def test_the_ledger_is_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert page == ledger(), "tuti claims > docs/claims.md"
    claims(Claims())
    assert capsys.readouterr().out == page


def wrong_in(text: str) -> Iterator[str]:
    """What a file of claims holds that is no row, or says more than it shows."""
    table = tomllib.loads(text)
    if table.keys() != {"claim"}:
        yield f"it holds {sorted(table)}"
    needed = {"claim", "source", "status"}
    for row in table["claim"]:
        if not needed <= row.keys() <= needed | {"command", "ours"}:
            yield f"a row has the keys {sorted(row)}"
        if not all(isinstance(text, str) and text for text in row.values()):
            yield f"not all are texts: {row}"
        if (status := row.get("status")) not in get_args(Status):
            yield f"said to be {status!r}"
        if status in ("computed exactly", "reproduced in small") and "command" not in row:
            yield f"said to be {status}, and no command shows it"


def test_claims_are_rows_of_texts_and_say_no_more_than_they_show() -> None:
    for room, card in systems.cards().items():
        path = Path(str(importlib.import_module(card.claims).__file__)).with_name("claims.toml")
        assert not list(wrong_in(path.read_text(encoding="utf-8"))), room


ROW = """
[[claim]]
claim = "it is so"
source = "a paper"
status = "source errs"
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROW.replace("errs", "is right"), "said to be 'source is right'"),
        (ROW.replace("source errs", "computed exactly"), "said to be computed exactly"),
        (ROW + 'remark = "x"', "remark"),
        (ROW.replace("source =", "ours ="), "'ours'"),
        (ROW + "ours = 3", "not all are texts"),
        (ROW + 'ours = ""', "not all are texts"),
        (ROW + '[[claims]]\nclaim = "x"', "it holds"),
    ],
)
def test_what_is_no_claim_is_found(text: str, said: str) -> None:
    assert not list(wrong_in(ROW))
    (wrong,) = wrong_in(text)
    assert said in wrong


def test_every_room_has_claims_and_each_names_what_exists() -> None:
    for room, card in systems.cards().items():
        rows = load_claims(card.claims)
        assert len(rows) >= 5, room
        for row in rows:
            assert row.claim and row.source
            if row.command.startswith("pytest "):
                for named in re.findall(r"\S+\.py\S*", row.command):
                    path, _, test = named.partition("::")
                    assert f"def {test}" in (ROOT / path).read_text(), row.command
            elif row.command:
                assert row.command.startswith(("tuti ", "make bench ")), row.command
            for file in re.findall(r"`((?:src|docs|benchmarks)/[^`]+)`", row.ours):
                assert (ROOT / file).exists(), file


def test_whose_data_and_libraries_are_used_is_fresh() -> None:
    text = (ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    assert text == load(ROOT / "docs" / "third_party.py").page(), "python docs/third_party.py"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["spark"]
    for dependency in wanted:
        library = re.split(r"[><=\[]", dependency)[0]
        assert re.search(rf"\b{library}\b", text), library


def test_the_example_teaches_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_corpus(tmp_path / "texts", size=60_000)
    plan = Plan(vocab=400, width=32, layers=1, rows=2, steps=12, sft_steps=4)
    example = load(ROOT / "examples" / "teach_and_chat.py")
    example.main(tmp_path / "texts", tmp_path / "run", plan)
    said = capsys.readouterr().out
    assert said.strip() and (tmp_path / "run" / "report.html").exists()
    assert (ROOT / "examples" / "teach_and_chat.py").read_text().count("\n") <= 30


def test_every_example_is_run_here() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {"teach_and_chat.py"}
