"""The measures of fine-tuning on held-out material: dialogue loss, bits per byte of text, answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuti import infer
from tuti.data.dialogues import Dialogue, scored_dialogues
from tuti.infer import Model, Sampling, fitting, generate
from tuti.infer.held_out import summed_nats
from tuti.nn import Decoder
from tuti.run import Run, read_events, red
from tuti.systems.finetune.exercises import Material, Message
from tuti.text import ChatTemplate

WORSE = 0.05
"""Bits per byte that text may get worse by before it is a warning"""


def dialogue_nats(model: Decoder, dialogues: Sequence[Dialogue]) -> NDArray[np.float64]:
    """Summed nats of what the assistant says in each dialogue, stop tokens included."""
    return summed_nats(model, scored_dialogues(dialogues), len(dialogues))


def answer(
    model: Model, template: ChatTemplate, messages: Sequence[Message], *, max_tokens: int = 60,
    temperature: float = 0.8, seed: int = 0,
) -> str:
    """What the model answers; the question loses its beginning where it does not fit."""
    ids = template.render(messages, add_generation_prompt=True).ids
    rule = Sampling(temperature=temperature, top_p=0.95, max_tokens=max_tokens, seed=seed)
    said = generate(model, template.tokenizer, fitting(ids, model, max_tokens), rule, template.stops)
    return "".join(token.text for token in said)


class HeldOut(infer.HeldOut):
    """Measures a model before, between (a quarter of the material) and after the updates.

    The material is `limit` dialogues, and `limit` documents or those that fill as many rows.
    """

    def __init__(
        self, run: Run, tokens: Path, context: int, limit: int, template: ChatTemplate | None = None,
        material: Material | None = None,
    ) -> None:
        super().__init__(tokens, context, run)
        self.documents = self.tokens.leading(limit, limit * context)
        self.template = template
        self.exercises = material.exercises if material else []
        self.dialogues = material.dialogues[:limit] if material else []

    def measured(self, model: Decoder, step: int, last: bool) -> tuple[dict[str, Any], str]:
        """Bits per byte of text, and nats a token of the answers; and as words."""
        part = 1 if last or step == 0 else 4
        count = max(1, self.documents // part)
        bits = self.bits(infer.document_nats(model, self.tokens, self.context, count))["all"]
        found: dict[str, Any] = {"bits_per_byte": {"all": bits}, "documents": count}
        text = f"text {bits:.3f} bits per byte"
        if dialogues := self.dialogues[: max(1, len(self.dialogues) // part)]:
            said = sum(dialogue.predictions for dialogue in dialogues)
            loss = float(dialogue_nats(model, dialogues).sum() / said)
            found |= {"dialogue_loss": loss, "dialogues": len(dialogues)}
            text += f", answers {loss:.3f} nats a token"
        return found, text

    def sampled(self, model: Decoder, step: int) -> tuple[str, str]:
        """An exercise and the model's answer; without one, a document's opening and how it goes on."""
        if self.template is None or not self.exercises:
            asked = self.opening(step)
            return asked, infer.sample_text(model, self.tokenizer, asked, max_tokens=60, seed=step)
        question = self.exercises[step % len(self.exercises)].messages[:1]
        return question[0]["content"], answer(model, self.template, question, seed=step)

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
