"""The rooms are one house: a folder of text becomes a model that answers, is judged, and loads elsewhere."""

import re

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuti import teach
from tuti.app import cli
from tuti.infer import LoadedModel, Sampling, generate, load_model
from tuti.nn import load_decoder
from tuti.pipelines.plan import Plan
from tuti.run import Run, finished, read_events
from tuti.systems.transformer.tests.grammar import write_corpus

PLAN = Plan(vocab=400, width=32, layers=2, rows=4, steps=24, sft_steps=8)
STAGES = ["prepare", "tokenizer", "pack", "pretrain", "sft", "evaluate"]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("story")
    write_corpus(folder / "texts", size=80_000)
    return teach(folder / "texts", out=folder / "run", plan=PLAN, precision="fp32")


@pytest.fixture(scope="module")
def loaded(taught: Run) -> LoadedModel:
    return load_model(taught.folder / "stages" / "sft")  # promoted or not, it has learnt to answer


def test_every_stage_came_to_its_end(taught: Run) -> None:
    assert finished(taught.folder)
    assert [event["stage"] for event in read_events(taught.folder, "stage")] == STAGES
    assert all((taught.folder / "stages" / name / "lineage.json").exists() for name in STAGES)
    losses = [event["loss"] for event in read_events(taught.folder / "stages" / "pretrain", "step")]
    assert len(losses) == PLAN.steps and losses[-1] < 0.8 * losses[0]


def test_it_answers_and_the_same_seed_answers_the_same(loaded: LoadedModel) -> None:
    assert loaded.template is not None
    asked = [{"role": "user", "content": "طوطی، بخوان!"}]
    prompt = loaded.template.render(asked, add_generation_prompt=True).ids
    rule = Sampling(temperature=0.9, max_tokens=24, seed=5)
    answers = [
        "".join(
            token.text
            for token in generate(loaded.model, loaded.tokenizer, prompt, rule, loaded.ends)
        )
        for _ in range(2)
    ]
    assert answers[0] == answers[1] != ""


def test_the_folder_is_hugging_faces(loaded: LoadedModel) -> None:
    ours = load_decoder(loaded.folder)
    theirs = AutoModelForCausalLM.from_pretrained(loaded.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(loaded.folder)
    text = "the parrot said: طوطی می‌گوید 42"
    ids = loaded.tokenizer.encode(text)
    assert tokenizer.encode(text, add_special_tokens=False) == ids
    with torch.no_grad():
        want = theirs(torch.tensor([ids])).logits
        torch.testing.assert_close(ours.logits(ours(torch.tensor([ids]))), want, rtol=0, atol=1e-4)
    chat = [{"role": "user", "content": "سلام"}, {"role": "assistant", "content": "hello"}]
    assert loaded.template is not None
    theirs_ids = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    assert theirs_ids == loaded.template.render(chat).ids


def test_the_promoted_model_speaks(taught: Run) -> None:
    model = load_model(taught.folder)
    prompt = [model.tokenizer.end, *model.tokenizer.encode("the ")]
    tokens = list(
        generate(model.model, model.tokenizer, prompt, Sampling(0.0, max_tokens=8), model.ends)
    )
    assert 0 < len(tokens) <= 8


def test_evaluate_prints_its_figures(taught: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(taught.folder)])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "bits per byte" in said and "n-gram" in said


def test_the_report_stands_alone(taught: Run) -> None:
    page = (taught.folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert not re.findall(r"""(?:src|href|action|data)\s*=\s*["']?(?!#|data:)[^\s"'>]+""", page)
    assert not re.findall(r"@import|url\((?!['\"]?(?:#|data:))", page)
    assert "<svg" in page and "<script src" not in page


def test_look_tells_what_the_run_holds(taught: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["look", str(taught.folder)])
    said = capsys.readouterr().out
    assert all(f"stage {name}: finished" in said for name in STAGES)
    assert "artifact model: LanguageModel" in said
