"""The measures of fine-tuning on held-out material: dialogue loss, bits per byte of text, answers."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tuti.data import read_tokens
from tuti.data.dialogues import Dialogue, scored_dialogues
from tuti.infer import Model, Sampling, document_nats, fitting, generate, sample_text
from tuti.measure import bits_per_byte
from tuti.nn import Decoder, token_nll
from tuti.run import Run, read_events, red
from tuti.systems.finetune.exercises import Message
from tuti.systems.finetune.material import Material
from tuti.text import ChatTemplate, Tokenizer

WORSE = 0.05
"""Bits per byte that text may get worse by before it is a warning"""
Nats = NDArray[np.float64]


@torch.inference_mode()
def dialogue_nats(model: Decoder, dialogues: Sequence[Dialogue]) -> Nats:
    """Summed nats of what the assistant says in each dialogue, stop tokens included."""
    nats = np.zeros(len(dialogues))
    device = str(model.readout.device)
    for batch, numbers in scored_dialogues(dialogues):
        there = batch.to(device)
        nats[numbers] = token_nll(model, there.ids, there.targets).double().sum(1).cpu().numpy()
    return nats


def answer(
    model: Model,
    template: ChatTemplate,
    messages: Sequence[Message],
    *,
    max_tokens: int = 60,
    temperature: float = 0.8,
    seed: int = 0,
) -> str:
    """What the model answers; the question loses its beginning where it does not fit."""
    ids = template.render(messages, add_generation_prompt=True).ids
    rule = Sampling(temperature=temperature, top_p=0.95, max_tokens=max_tokens, seed=seed)
    said = generate(model, template.tokenizer, fitting(ids, model, max_tokens), rule, template.stops)
    return "".join(token.text for token in said)


class HeldOut:
    """Measures a model before, between (a quarter of the material) and after the updates.

    The material is `limit` dialogues, and `limit` documents or those that fill as many rows.
    """

    def __init__(
        self,
        run: Run,
        tokens: Path,
        context: int,
        limit: int,
        template: ChatTemplate | None = None,
        material: Material | None = None,
    ) -> None:
        self.run, self.context = run, context
        self.tokens, self.tokenizer = read_tokens(tokens, "valid"), Tokenizer.load(tokens)
        self.documents = self.tokens.leading(limit, limit * context)
        self.template, self.material = template, material
        self.dialogues = material.dialogues[:limit] if material else []

    def __call__(self, model: Decoder, step: int, *, last: bool = False) -> None:
        """Logs the measures and a sample."""
        began = time.monotonic()
        model.eval()
        whole = last or step == 0
        count = self.documents if whole else max(1, self.documents // 4)
        nats = document_nats(model, self.tokens, self.context, count)
        bits = float(bits_per_byte(nats.sum(), int(self.tokens.bytes[:count].sum())))
        found = {"bits_per_byte": {"all": bits}, "documents": count}
        text = f"text {bits:.3f} bits per byte"
        dialogues = self.dialogues if whole else self.dialogues[: max(1, len(self.dialogues) // 4)]
        if dialogues:
            said = sum(dialogue.predictions for dialogue in dialogues)
            loss = float(dialogue_nats(model, dialogues).sum() / said)
            found |= {"dialogue_loss": loss, "dialogues": len(dialogues)}
            text += f", answers {loss:.3f} nats a token"
        self.run.log("held_out", step=step, last=last, **found)
        self.run.show(f"step {step}: held-out {text}")
        self._sample(model, step)
        model.train()
        self.run.log("measured", step=step, seconds=round(time.monotonic() - began, 3))

    def _sample(self, model: Decoder, step: int) -> None:
        if self.template is not None and self.material is not None and self.material.exercises:
            exercise = self.material.exercises[step % len(self.material.exercises)]
            asked = exercise.messages[0]["content"]
            text = answer(model, self.template, exercise.messages[:1], seed=step)
        else:
            ids = self.tokens.document(step % len(self.tokens))[1:9].tolist()
            asked = self.tokenizer.decode(ids)
            text = sample_text(model, self.tokenizer, asked, max_tokens=60, seed=step)
        self.run.log("sample", step=step, prompt=asked, text=text)
        self.run.show(f"  {asked[-80:]!r} → {text[:160]!r}")

    def verdict(self) -> None:
        """Compares the first and the last measurement; what became worse is said in red."""
        events = read_events(self.run.folder, "held_out")
        first = next(event for event in events if event["step"] == 0)
        last = next(event for event in reversed(events) if event["last"])
        lost = last["bits_per_byte"]["all"] - first["bits_per_byte"]["all"]
        if lost > WORSE:
            self._warn(f"text became worse by {lost:.3f} bits per byte (limit {WORSE})", lost)
        if "dialogue_loss" in last and last["dialogue_loss"] > first["dialogue_loss"]:
            more = last["dialogue_loss"] - first["dialogue_loss"]
            self._warn(f"the held-out dialogue loss rose by {more:.3f} nats a token", more)

    def _warn(self, text: str, value: float) -> None:
        self.run.log("warning", text=text, value=value)
        self.run.show(red(f"warning: {text}"))
