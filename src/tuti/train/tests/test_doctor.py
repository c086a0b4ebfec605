"""A sound stage passes every check; each thing broken on purpose is caught by its own check."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tuti.data import IGNORED, Batch
from tuti.data.dialogues import Dialogue, PackedDialogues, join, pack
from tuti.nn import Decoder, DecoderConfig
from tuti.text import ChatTemplate, Tokenizer
from tuti.text.tests.sample import count_words
from tuti.train import AdamW, Muon, Parts, Trapezoid, batch_loss
from tuti.train.doctor import CHECKS, Patient, examine, mask_text, needed_bytes, saved_bytes

WORDS = "gol bolbol bagh bahar mey saghi yar del jan rah shab ruz".split()
STEPS = 50


def says(n: int, count: int) -> str:
    chance = torch.Generator().manual_seed(n)
    return " ".join(WORDS[i] for i in torch.randint(0, 12, (count,), generator=chance))


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate.default(Tokenizer.train(count_words(says(n, 9) for n in range(30)), 320))


@pytest.fixture(scope="module")
def dialogues(template) -> list[Dialogue]:
    found = []
    for n in range(40):
        asked = {"role": "user", "content": says(n, 3 + n % 5)}
        answered = {"role": "assistant", "content": says(n + 100, 2 + n % 7)}
        rendered = template.render([asked, answered])
        found.append(Dialogue(rendered.ids, rendered.mask))
    return found


def stage(template, dialogues, **broken: Any) -> Patient:
    """A small stage of answers, with some parts replaced."""
    shape = DecoderConfig(
        vocab=template.tokenizer.vocab_size,
        width=32,
        layers=2,
        heads=4,
        kv_heads=2,
        head_dim=8,
        hidden=64,
        context=96,
    )
    rows = PackedDialogues(dialogues, 96, 0)
    parts = Parts(
        Decoder(shape, torch.Generator().manual_seed(0)),
        lambda step: [rows.batch(4 * step, 4)],
        batch_loss,
        Trapezoid(STEPS, 5),
        AdamW(lr=5e-3),
    )
    own = {name: broken.pop(name) for name in list(broken) if hasattr(parts, name)}
    whole = Patient(replace(parts, **own), STEPS, template, chat=True, pretrained=False)
    return replace(whole, **broken)


def failed(patient: Patient) -> dict[str, str]:
    """What failed, with the hint; every check has its row, whatever happens."""
    rows = list(examine(patient))
    assert [row.name for row in rows] == list(CHECKS)
    assert all(row.figure and row.bound for row in rows)
    assert all(row.hint for row in rows if not row.ok)
    return {row.name: f"{row.figure}; {row.hint}" for row in rows if not row.ok}


def test_a_sound_stage_passes(template, dialogues) -> None:
    rows = {row.name: row for row in examine(stage(template, dialogues))}
    assert all(row.ok and not row.hint for row in rows.values()), rows
    assert "cpu only" in rows["cpu against device"].figure or torch.cuda.is_available()
    before = stage(template, dialogues).parts.model.readout
    assert torch.equal(
        before,
        Decoder(
            stage(template, dialogues).parts.model.config, torch.Generator().manual_seed(0)
        ).readout,
    )


def test_bf16_and_muon_pass_too(template, dialogues) -> None:
    assert not failed(stage(template, dialogues, optimiser=Muon(), precision="bf16"))


def test_a_mask_that_trains_the_questions_too(template, dialogues) -> None:
    careless = [Dialogue(d.ids, [True] * len(d.ids)) for d in dialogues]
    assert set(failed(stage(template, careless))) == {"mask"}


def test_a_mask_that_trains_nothing(template, dialogues) -> None:
    rows = PackedDialogues(dialogues, 96, 0)

    def batches(step: int) -> list[Batch]:
        batch = rows.batch(4 * step, 4)
        return [replace(batch, targets=torch.full_like(batch.targets, IGNORED))]

    found = failed(stage(template, dialogues, batches=batches))
    assert {"mask", "first loss", "one batch overfits", "accumulation"} <= set(found)
    assert "every target of the first steps is masked" in found["first loss"]


def test_a_schedule_below_zero(template, dialogues) -> None:
    found = failed(stage(template, dialogues, schedule=lambda step: 1 - step / (STEPS - 2)))
    assert set(found) == {"schedule"} and "at update 49" in found["schedule"]
    assert set(failed(stage(template, dialogues, schedule=lambda step: 0.0))) == {"schedule"}


def test_a_loss_normalised_per_micro_batch(template, dialogues) -> None:
    def mean(model: nn.Module, batch: Batch) -> Tensor:
        return batch_loss(model, batch) / batch.num_targets

    found = failed(stage(template, dialogues, loss=mean))
    assert "the loss must be the *sum*" in found["accumulation"]
    assert "first loss" in found


@pytest.mark.parametrize("scale", [30.0, 0.0])
def test_wrong_initial_weights(template, dialogues, scale: float) -> None:
    """Too large: the first loss is far from ln V. All zero: ln V exactly, but nothing is learnt."""
    patient = stage(template, dialogues)
    with torch.no_grad():
        for weight in patient.parts.model.parameters():
            if weight.ndim == 2:
                weight.mul_(scale)
    found = failed(patient)
    assert ("first loss" if scale else "one batch overfits") in found


def test_a_pretrained_model_with_a_foreign_tokenizer(template, dialogues) -> None:
    patient = stage(template, dialogues, pretrained=True)
    with torch.no_grad():
        patient.parts.model.readout.mul_(30)
    assert "tokenizer" in failed(patient)["first loss"]


def test_a_learning_rate_that_learns_nothing(template, dialogues) -> None:
    found = failed(stage(template, dialogues, optimiser=AdamW(lr=1e-7)))
    assert set(found) == {"one batch overfits"}


def test_a_model_that_breaks_is_a_failed_row(template, dialogues) -> None:
    def broken(model: nn.Module, batch: Batch) -> Tensor:
        raise IndexError("index 320 is out of range")

    found = failed(stage(template, dialogues, loss=broken))
    assert "IndexError: index 320" in found["first loss"] and "memory" in found


def test_too_little_memory_names_the_one_knob(template, dialogues) -> None:
    check = CHECKS["memory"]
    assert check(stage(template, dialogues))[0]
    state, activations = needed_bytes(stage(template, dialogues).parts, "fp32", "cpu", 4)
    half = state + activations * 6 // 10  # enough for two rows, not for four
    assert check(stage(template, dialogues, free=half, micro=3))[3] == "--micro 6"
    assert check(stage(template, dialogues, free=half))[3] == "--rows 2"
    assert "too large" in check(stage(template, dialogues, free=state))[3]


def test_activations_grow_linearly_with_rows(template, dialogues) -> None:
    parts = stage(template, dialogues).parts
    one, two, four = (saved_bytes(parts, "fp32", rows) for rows in (1, 2, 4))
    assert four == pytest.approx(one + 3 * (two - one), rel=0.1)


def test_the_mask_in_colour_and_in_brackets(template, dialogues) -> None:
    batch = pack([dialogues[:2]], 96)
    plain = mask_text(batch, template.tokenizer, colour=False)
    for n in (0, 1):
        assert f"<|assistant|>\n[{says(n + 100, 2 + n)}<|end|>]" in plain
        assert f"<|user|>\n{says(n, 3 + n)}<|end|>" in plain
    green = mask_text(batch, template.tokenizer, colour=True)
    assert green == plain.replace("[", "\x1b[32m").replace("]", "\x1b[0m")
    assert plain.count("<|end|>]") == 2
    text = batch.ids[:1]  # a row of text alone, all trained, shows no mask
    both = join(Batch(text, text, torch.zeros_like(text)), batch)
    assert mask_text(both, template.tokenizer, colour=False) == plain


def test_the_printed_sample_cannot_steer_the_terminal(template) -> None:
    said = template.render(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "\x1b]0;evil\x07"}]
    )
    batch = pack([[Dialogue(said.ids, said.mask)]], 96)
    assert not {"\x1b", "\x07"} & set(mask_text(batch, template.tokenizer, colour=False))
