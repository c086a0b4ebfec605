"""sft and adapt: what is scored, that they learn, resume to the bit, and say what they made worse."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch

from tuti.data import read_tokens
from tuti.data.dialogues import pack
from tuti.infer import document_nats
from tuti.measure import ratio_interval
from tuti.nn import load_decoder, nll
from tuti.run import Run, RunOptions, UserError, find_artifact, read_events
from tuti.run.files import hash_file
from tuti.systems.finetune import exercises
from tuti.systems.finetune.held_out import HeldOut, answer, dialogue_nats
from tuti.systems.finetune.sft import Adapt, Full, Lora, Sft, adapt, parts, sft, tiny
from tuti.systems.finetune.tests.small import go, write_jsonl
from tuti.text import ChatTemplate, Tokenizer
from tuti.train import fit


def config_of(small: Path, **fields: object) -> Sft:
    config = Sft(
        small / "model",
        small / "documents",
        small / "tokens",
        context=128,
        rows=8,
        steps=40,
        every=20,
        exercises=300,
        held_out=16,
    )
    return dataclasses.replace(config, **fields)  # type: ignore[arg-type]


def model_of(small: Path, name: str = "model") -> Path:
    return find_artifact(small / name, "LanguageModel")


def test_the_stop_token_is_trained_and_questions_are_not(small: Path) -> None:
    template = ChatTemplate.load(model_of(small))
    documents = find_artifact(small / "documents", "Documents")
    found = exercises.gather(documents, "train", template, 128, 60, 0)
    assert found.own == 6 and len(found.exercises) > 40
    for dialogue in found.dialogues:
        if len(dialogue.ids) <= 128:
            said = [i for i, mine in zip(dialogue.ids, dialogue.said, strict=True) if mine]
            assert said[-1] == template.stops[0] and dialogue.predictions == len(said)
    text = template.tokenizer.decode(
        [i for i, mine in zip(found.dialogues[0].ids, found.dialogues[0].said, strict=True) if mine]
    )
    assert text == "It is red.<|end|>"


def test_packed_dialogues_cost_what_they_cost_alone(small: Path) -> None:
    template = ChatTemplate.load(model_of(small))
    found = exercises.gather(
        find_artifact(small / "documents", "Documents"), "valid", template, 128, 6, 0
    )
    model = load_decoder(model_of(small), dtype=torch.float64)
    row = [d for d in found.dialogues if len(d.ids) < 60][:2]
    batch = pack([row], 128)
    together = nll(model, batch.ids, batch.targets, batch.documents)
    alone = dialogue_nats(model, row).sum()
    assert float(together.detach()) == pytest.approx(float(alone), rel=1e-9)
    # Were both one document, the second would see the first.
    leaky = nll(model, batch.ids, batch.targets, torch.zeros_like(batch.ids))
    assert abs(float(leaky.detach()) - float(alone)) > 1e-6


def test_batches_are_a_function_of_the_step(small: Path, tmp_path: Path) -> None:
    config = config_of(small, keep=0.25)
    one, other = (parts(config, Run(tmp_path / n, RunOptions(seed=3))) for n in ("a", "b"))
    for step in (0, 1, 2):
        one.batches(step)
    [ours], [theirs] = one.batches(7), other.batches(7)
    assert torch.equal(ours.ids, theirs.ids) and torch.equal(ours.targets, theirs.targets)
    plain = (ours.targets != -100).all(dim=1)
    assert int(plain.sum()) == 2  # a quarter of eight rows, every token scored


@pytest.fixture(scope="module")
def adapted(small: Path) -> Path:
    """A model that has learnt the texts."""
    config = Adapt(small / "model", small / "tokens", Full(4e-3), rows=8, steps=60, every=100)
    return go(small / "adapted", adapt, config).folder


@pytest.fixture(scope="module")
def tuned(small: Path, adapted: Path) -> Run:
    config = config_of(small, model=adapted, method=Full(4e-3), steps=120, every=100)
    return go(small / "tuned", sft, config)


def held(run: Path) -> tuple[dict[str, float], dict[str, float]]:
    found = read_events(run, "held_out")
    return found[0], found[-1]


def test_adapt_lowers_bits_per_byte(adapted: Path) -> None:
    first, last = held(adapted)
    assert last["bits_per_byte"]["all"] < first["bits_per_byte"]["all"] - 0.5  # type: ignore[index]


def test_sft_learns_to_answer_and_keeps_the_text(tuned: Run) -> None:
    first, last = held(tuned.folder)
    assert last["dialogue_loss"] < first["dialogue_loss"] - 1
    assert last["bits_per_byte"]["all"] < first["bits_per_byte"]["all"] + 0.05  # type: ignore[index]
    folder = find_artifact(tuned.folder, "LanguageModel")
    about = json.loads((folder / "tuti.json").read_text())
    template = ChatTemplate.load(folder)
    assert about["chat"] is True and about["template"] == template.hash
    stops = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert stops == list(template.stops)
    model = load_decoder(folder).eval()
    said = answer(model, template, [{"role": "user", "content": "What is red?"}], temperature=0)
    assert re.fullmatch(r"It is \w+\.", said)  # and stops there


def test_transformers_loads_what_was_saved(tuned: Run) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = find_artifact(tuned.folder, "LanguageModel")
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ours = load_decoder(folder)
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        assert float((theirs(ids).logits - ours.logits(ours(ids))).abs().max()) < 1e-4
    messages = [{"role": "user", "content": "What is red?"}]
    rendered = ChatTemplate.load(folder).render(messages, add_generation_prompt=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(found) == rendered.ids


@pytest.mark.parametrize("method", [Full(), Lora(rank=2, alpha=4)], ids=["full", "lora"])
def test_a_killed_run_resumes_to_the_same_bits(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Full | Lora
) -> None:
    config = config_of(small, method=method, steps=6, every=2, held_out=2, rows=4, exercises=40)
    whole = go(tmp_path / "whole", sft, config)
    reported = fit.report

    def dies(step: object, steps: int, run: Run) -> None:
        reported(step, steps, run)  # type: ignore[arg-type]
        if step.number == 3:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fit, "report", dies)
        go(tmp_path / "killed", sft, config)
    resumed = go(tmp_path / "killed", sft, config)
    assert [event["step"] for event in read_events(resumed.folder, "resumed")] == [2]
    ours, theirs = (
        hash_file(find_artifact(run.folder, "LanguageModel") / "model.safetensors")
        for run in (whole, resumed)
    )
    assert ours == theirs


def test_lora_in_bf16_is_merged_in_fp32_and_saved_for_peft(small: Path, adapted: Path) -> None:
    from peft import PeftModel
    from transformers import LlamaForCausalLM

    config = config_of(
        small, model=adapted, method=Lora(rank=4, alpha=8, lr=5e-3), precision="bf16", steps=20
    )
    run = go(small / "lora", sft, config)
    first, last = held(run.folder)
    assert last["dialogue_loss"] < first["dialogue_loss"]
    merged = load_decoder(find_artifact(run.folder, "LanguageModel"))
    base = load_decoder(find_artifact(adapted, "LanguageModel"))
    assert torch.equal(base.embedding.weight, merged.embedding.weight)
    theirs = LlamaForCausalLM.from_pretrained(find_artifact(adapted, "LanguageModel"))
    peer = PeftModel.from_pretrained(theirs, run.folder / "artifacts" / "adapter").eval()
    assert peer.active_peft_config.r == 4
    ids = torch.arange(3, 60)[None]
    with torch.no_grad():
        hidden = peer.merge_and_unload().model(ids).last_hidden_state
        assert torch.allclose(hidden, merged(ids), atol=1e-5)


def test_a_long_answer_is_cut_and_a_long_question_counted(small: Path) -> None:
    template = ChatTemplate.load(model_of(small))
    documents = find_artifact(small / "documents", "Documents")
    found = exercises.gather(documents, "train", template, 30, 80, 0)
    assert found.lost > 0 and all(len(d.ids) <= 31 and d.predictions for d in found.dialogues)


def test_greetings_and_developers_are_rendered(tmp_path: Path) -> None:
    turns = [("assistant", "hello"), ("developer", "be kind"), ("user", "a"), ("assistant", "b")]
    messages = [{"role": role, "content": content} for role, content in turns]
    write_jsonl(tmp_path / "dialogues-train.jsonl", [{"messages": messages}])
    [found] = exercises.own_dialogues(tmp_path, "train", 10)
    assert [message["role"] for message in found] == ["system", "user", "assistant"]


def test_tokens_of_another_tokenizer_are_refused(small: Path) -> None:
    folder = find_artifact(small / "tokens", "Tokens")
    other = ChatTemplate.default(Tokenizer.train({"ab": 3, "cd": 2}, 300))
    with pytest.raises(UserError, match="another tokenizer"):
        read_tokens(folder, "train", other.tokenizer.hash)


def test_nothing_to_answer_is_said(small: Path, tmp_path: Path) -> None:
    with Run(tmp_path, RunOptions()).save("documents", "Documents") as folder:
        write_jsonl(folder / "train-00.jsonl", [])
    with pytest.raises(UserError, match="nothing to answer"):
        parts(config_of(small, documents=tmp_path), Run(tmp_path / "run", RunOptions()))


def test_what_became_worse_is_a_warning_with_the_figure(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path, RunOptions())
    measure = HeldOut(run, find_artifact(small / "tokens", "Tokens"), 64, 2)
    for step, bits, loss in ((0, 2.0, 3.0), (9, 2.08, 3.5)):
        run.log(
            "held_out", step=step, last=step > 0, bits_per_byte={"all": bits}, dialogue_loss=loss
        )
    measure.verdict()
    assert [round(event["value"], 3) for event in read_events(tmp_path, "warning")] == [0.08, 0.5]
    assert "0.080 bits per byte" in capsys.readouterr().err


def test_document_nats_against_the_plain_sum(small: Path) -> None:
    from tuti.data import read_tokens

    tokens = read_tokens(find_artifact(small / "tokens", "Tokens"), "valid")
    model = load_decoder(model_of(small), dtype=torch.float64)
    number = min(range(len(tokens)), key=lambda n: len(tokens.document(n)))
    ids = torch.from_numpy(tokens.document(number))[None]
    with torch.no_grad():
        scores = model.logits(model(ids[:, :-1])).log_softmax(-1)
        plain = -scores.gather(-1, ids[:, 1:, None]).sum()
    found = document_nats(model, tokens, 4 * ids.shape[1], number + 1)[number]
    assert found == pytest.approx(float(plain), rel=1e-9)


@pytest.mark.tiny
def test_the_tiny_preset_learns(small: Path, adapted: Path) -> None:
    places = {"model": adapted, "documents": small / "documents", "tokens": small / "tokens"}
    run = go(small / "tiny", sft, dataclasses.replace(tiny(), **places))
    folder = find_artifact(run.folder, "LanguageModel")
    documents = find_artifact(small / "documents", "Documents")
    found = exercises.gather(documents, "valid", ChatTemplate.load(folder), 128, 80, 9).dialogues
    before = dialogue_nats(load_decoder(find_artifact(adapted, "LanguageModel")), found)
    after = dialogue_nats(load_decoder(folder), found)
    lower = ratio_interval(after - before, [dialogue.predictions for dialogue in found])
    assert lower.high < -0.5, lower
