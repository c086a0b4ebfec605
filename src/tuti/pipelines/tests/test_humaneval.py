"""HumanEval: the estimator against counting, the judge against cheats, canonical solutions, the run."""

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tuti.measure.intervals import pass_at_k, pass_at_k_interval
from tuti.pipelines.evaluate import EvaluateRun, evaluate_run
from tuti.pipelines.humaneval import judge, problems
from tuti.run import UserError, read_events
from tuti.run.assets import asset_folder
from tuti.run.sandbox import Limits
from tuti.systems.finetune.tests.small import build

SOON = Limits(cpu=1, wall=20.0)
asset = pytest.mark.skipif(
    not asset_folder("humaneval").exists(), reason="the asset humaneval is not here: tuti fetch humaneval"
)
ADD = {
    "task_id": "Test/0",
    "entry_point": "add",
    "prompt": 'def helper():\n    return 3\n\n\ndef add(a, b):\n    """The sum."""\n',
    "test": "\n\ndef check(candidate):\n    assert candidate(1, 2) == helper() == add(1, b=2), 'wrong'\n"
    "    assert candidate([1], [2]) == [1, 2]\n    assert not candidate('', '')\n",
}


def test_the_estimator_counts_subsets() -> None:
    for n, right in ((1, 0), (1, 1), (5, 2), (6, 0), (6, 6), (7, 3)):
        for k in range(1, n + 1):
            subsets = list(itertools.combinations(range(n), k))
            share = sum(any(i < right for i in chosen) for chosen in subsets) / len(subsets)
            assert pass_at_k(n, right, k) == pytest.approx(share, abs=1e-12)
    exact = 1 - math.comb(1900, 100) / math.comb(2000, 100)
    assert pass_at_k(2000, 100, 100) == pytest.approx(exact, rel=1e-12)


def test_intervals_hold_the_value_and_are_never_empty() -> None:
    none = pass_at_k_interval([0] * 164, 1, 1)
    assert none.value == none.low == 0 and none.high == pytest.approx(0.022888, abs=1e-6)  # z² / (n + z²)
    some = pass_at_k_interval([0, 1, 2, 3] * 10, 4, 2)
    assert some.low < some.value < some.high and some.n == 40


@pytest.mark.parametrize(
    "body",
    [
        "    return a + b",
        "    print('passed', input.__name__)\n    return a + b",
        "    from collections import UserString, OrderedDict\n    class L(list): pass\n"
        "    return L(a + b) if isinstance(a, list) else a + b",
        "    return a + b\n\n\ndef check(candidate):\n    raise ValueError\n",
    ],
)
def test_right_programs_pass(body: str) -> None:
    assert judge(ADD, body, SOON) == "passed"


CHEATS = {
    "nothing": "",
    "not Python": "    return (",
    "exit": "    import sys\n    sys.exit(0)",
    "exit while loading": "    pass\nimport sys\nsys.exit(0)",
    "exit at once": "    import os\n    os._exit(0)",
    "exit at once while loading": "    pass\nimport os\nos._exit(0)",
    "its own check": "    pass\ndef check(candidate): pass\ndef helper(): return None",
    "builtins": "    pass\nimport builtins\nbuiltins.AssertionError = ValueError\nbuiltins.exec = print",
    "the word": "    print('passed')\n    import sys\n    sys.stderr.write('passed')\n    sys.exit(0)",
    "equal to all": "    class E:\n        def __eq__(self, other): return True\n    return E()",
    "list equal to all": "    class E(list):\n        def __eq__(self, other): return True\n    return E()",
    "int equal to all": "    class E(int):\n        def __eq__(self, other): return True\n"
    "        def __repr__(self): return '3'\n    return E()",
    "the judge's words": "    import os\n    for fd in range(64):\n        try: os.write(fd, b'False,3\\n')\n"
    "        except OSError: pass\n    os._exit(0)",
    "its frames": "    import sys\n    found = sys._getframe(1).f_globals\n"
    "    found['spell'] = lambda v: 'True'\n    found['names'].clear()",
    "stdin": "    return int(input())",
    "endless": "    while True: pass",
    "endless while loading": "    pass\nwhile True: pass",
    "endless output": "    while True: print('x' * 1000)",
    "endless answer": "    import os\n    while True: os.write(4, b'x' * 65536)",
    "memory": "    return bytearray(10 * 2**30)",
    "recursion": "    return add(a, b)",
    "itself": "    x = []\n    x.append(x)\n    return x",
    "nested": "    import os\n    os.write(4, b'False,' + b'[' * 500000 + b'\\n')",
    "fork bomb": "    import os\n    while True: os.fork()",
    "parent": "    import os\n    os.kill(os.getppid(), 9)",
    "escapes": "    raise ValueError('\\x1b[2J\\n\\x1b[2Jpassed')",
    "surrogates": "    return '\\ud800'",
    "no text": "    \x00",
}  # fmt: skip


@pytest.mark.parametrize("body", CHEATS.values(), ids=CHEATS.keys())
def test_cheats_and_mistakes_fail(body: str) -> None:
    said = judge(ADD, body, SOON)
    assert said.startswith("failed: ") and said.isprintable(), said


def verdicts(asked: Sequence[dict[str, str]], solved: bool) -> set[str]:
    """The problems that pass, with their canonical solutions or without a body."""
    with ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda p: judge(p, p["canonical_solution"] if solved else ""), asked)
        return {p["task_id"] for p, verdict in zip(asked, said, strict=True) if verdict == "passed"}


@asset
def test_canonical_solutions_pass_and_empty_bodies_do_not() -> None:
    asked = problems()[::16] + [problems()[n] for n in (32, 33, 38, 50, 53)]
    assert verdicts(asked, True) == {p["task_id"] for p in asked}
    assert verdicts(asked, False) == set()


@asset
@pytest.mark.slow
def test_all_canonical_solutions_pass_and_no_empty_body() -> None:
    assert len(problems()) == 164
    assert len(verdicts(problems(), True)) == 164
    assert verdicts(problems(), False) == set()


@asset
def test_the_verb_makes_a_run_and_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path)
    config = EvaluateRun(tmp_path / "model", task="humaneval", tries=2, temperature=0.8)
    config = dataclasses.replace(config, max_tokens=12, problems=3)
    texts: list[str] = []
    for name in ("first", "second"):
        evaluate_run(dataclasses.replace(config, out=tmp_path / name))
        texts.append((tmp_path / name / "artifacts" / "evaluation" / "completions.jsonl").read_text())
    rows = [json.loads(line) for line in texts[0].splitlines()]
    assert texts[0] == texts[1] and len(rows) == 6  # the same seed, the same programs
    assert [row["task_id"] for row in rows] == [f"HumanEval/{n // 2}" for n in range(6)]
    assert all(row["verdict"].startswith("failed: ") for row in rows)
    assert any(row["completion"] for row in rows)
    printed = capsys.readouterr().out
    assert "pass@1" in printed and "pass@10" not in printed and "What became of the programs" in printed
    assert read_events(tmp_path / "first", "finish")


def test_tries_without_chance_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one program") as caught:
        evaluate_run(EvaluateRun(tmp_path, task="humaneval", tries=2, out=tmp_path / "run"))
    assert "--temperature" in caught.value.hint
