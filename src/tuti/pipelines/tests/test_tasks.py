"""Bits, choices and pass-keys: the model's own likelihoods, lm-eval's numbers, and bad items."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tuti.app.cli import main
from tuti.app.tests.parrot import SENTENCE, save_parrot
from tuti.nn import load_decoder, token_nll
from tuti.pipelines.evaluate import EvaluateRun, evaluate_run, read_evaluation
from tuti.run import UserError
from tuti.text import Tokenizer


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_parrot(tmp_path_factory.mktemp("runs") / "parrot")


def figures(parrot: Path, out: Path, task: Any, **more: Any) -> list[dict[str, Any]]:
    evaluate_run(EvaluateRun(parrot, task=task, out=out, device="cpu", **more))
    return read_evaluation(out)["sections"][0]["rows"]


def nats(parrot: Path, ids: list[int]) -> torch.Tensor:
    """What each id but the first costs, by the decoder itself."""
    model = load_decoder(parrot / "artifacts" / "model")
    with torch.no_grad():
        return token_nll(model, torch.tensor([ids[:-1]]), torch.tensor([ids[1:]]))[0]


def test_bits_are_the_models_own(parrot: Path, tmp_path: Path) -> None:
    texts = {"a.txt": SENTENCE, "b.txt": "طوطی 🦜 said " + SENTENCE}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    rows = figures(parrot, tmp_path / "run", "bits", items=tuple(tmp_path / name for name in texts))
    tokenizer = Tokenizer.load(parrot / "artifacts" / "model")
    for row, text in zip(rows, texts.values(), strict=False):
        cost = float(nats(parrot, [tokenizer.end, *tokenizer.encode(text)]).sum())
        assert row["bits per byte"] == pytest.approx(cost / math.log(2) / len(text.encode()), abs=2e-3)
    assert rows[2]["text"] == "all" and rows[2]["low"] <= rows[2]["bits per byte"] <= rows[2]["high"]


def test_what_the_parrot_says_is_what_it_chooses(parrot: Path, tmp_path: Path) -> None:
    """Sentences cut anywhere: their own ending against another one's, and each option's exact cost."""
    items: list[dict[str, Any]] = []
    for cut in range(4, len(SENTENCE) - 4, 3):
        own, other = SENTENCE[cut:], SENTENCE[cut:][::-1]
        items.append({"prompt": SENTENCE[:cut], "options": [other, own], "right": 1})
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    rows = figures(parrot, tmp_path / "run", "choice", items=(tmp_path / "items.jsonl",))
    assert rows[0]["right"] == 1 and rows[0]["items"] == len(items) and rows[0]["chance"] == 0.5
    tokenizer, right = Tokenizer.load(parrot / "artifacts" / "model"), 0
    for item in items:
        before, costs = len(tokenizer.encode(item["prompt"])), []
        for option in item["options"]:
            ids = [tokenizer.end, *tokenizer.encode(item["prompt"] + option)]
            costs.append(float(nats(parrot, ids)[before:].sum()) / len(option.encode()))
        right += costs[1] < costs[0]
    assert rows[1]["right"] == pytest.approx(right / len(items), abs=1e-3)


def test_bounds_of_a_view_are_checked(parrot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(parrot)
    below = ["chat", run, "--temperature", "-1"]
    wrong = (["evaluate", run, "--tries", "0"], below, ["serve", "--slots", "0"])
    for words in wrong:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code
        assert words[-2].strip("-") in capsys.readouterr().err


def test_a_context_that_holds_no_pass_key_is_refused(tmp_path: Path) -> None:
    small = save_parrot(tmp_path / "small", context=90, steps=1)
    with pytest.raises(UserError, match="90 tokens does not hold"):
        figures(small, tmp_path / "run", "passkey")


def test_pass_keys_are_asked_for_at_every_depth(parrot: Path, tmp_path: Path) -> None:
    rows = figures(parrot, tmp_path / "run", "passkey", tries=2)
    assert [row["tokens"] for row in rows] == [256]  # the model's context; of a longer one 256, 512, …, all
    assert all(row[f"{depth}% deep"].endswith("/2") for row in rows for depth in (0, 25, 50, 75, 100))


@pytest.mark.parametrize(
    "task,text,says",
    [
        ("bits", None, "needs files"),
        ("bits", b"", "is empty"),
        ("bits", b"\xff\xfe", "not readable"),
        ("choice", b"{", "line 1 is no question"),
        ("choice", b'{"prompt": "a", "options": ["b", "c"], "right": 0}\n{"prompt": "a"}', "line 2"),
        ("choice", b'{"prompt": "a", "options": ["b"], "right": 0}', "no question"),
        ("choice", b'{"prompt": "a", "options": ["b", "c"], "right": 2}', "no question"),
        ("choice", b'{"prompt": "a", "options": ["b", ""], "right": 0}', "no question"),
        ("choice", b'["prompt"]', "no question"),
    ],
)
def test_items_that_are_none(parrot: Path, tmp_path: Path, task: Any, text: bytes | None, says: str) -> None:
    if text is not None:
        (tmp_path / "x").write_bytes(text)
    with pytest.raises(UserError, match=says) as error:
        figures(parrot, tmp_path / "run", task, items=() if text is None else (tmp_path / "x",))
    assert error.value.hint
