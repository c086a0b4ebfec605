"""What a model is taught to answer with: the folder's own dialogues, and exercises made from its texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tuti.data.dialogues import Dialogue
from tuti.run import read_documents, read_rows
from tuti.systems.finetune.exercises import Exercise, Message, make_exercises
from tuti.text import ChatTemplate

REPEATS = 4
"""A folder's own dialogues are repeated up to so often an epoch, that exercises do not drown them"""


@dataclass(frozen=True)
class Material:
    """The folder's own conversations and exercises, as the ids that fit into one row."""

    exercises: list[Exercise]
    own: int
    """How many conversations are the folder's own"""
    dialogues: list[Dialogue]
    """Those, then the exercises"""
    lost: int
    """Conversations of which no answer fits into a row"""

    def repeated(self) -> list[Dialogue]:
        """An epoch: own dialogues first, as often as REPEATS allows, then the exercises."""
        times = min(REPEATS, max(1, len(self.exercises) // max(1, self.own)))
        return self.dialogues[: self.own] * times + self.dialogues[self.own :]


def own_dialogues(folder: Path, split: str, limit: int) -> list[list[Message]]:
    """The folder's own conversations, as the template can render them."""
    path = folder / f"dialogues-{split}.jsonl"
    found: list[list[Message]] = []
    for row in islice(read_rows(path) if path.exists() else (), limit):
        messages: list[Message] = list(row["messages"])
        while messages and messages[0]["role"] == "assistant":  # a greeting answers nothing
            messages.pop(0)
        named = [m | {"role": "system"} if m["role"] == "developer" else m for m in messages]
        if any(m["role"] == "assistant" for m in named):
            found.append(named)
    return found


def gather(
    folder: Path, split: str, template: ChatTemplate, context: int, exercises: int, seed: int
) -> Material:
    """The conversations of one split, rendered; an answer too long for a row is cut, a question drops out."""
    own = own_dialogues(folder, split, 50 * max(exercises, 1000))
    documents = list(islice(read_documents(folder, split), max(exercises, 1)))
    made = make_exercises(documents, exercises, seed)
    dialogues = [fitting for m in own if (fitting := render(template, m, context))]
    kept = [(e, fitting) for e in made if (fitting := render(template, e.messages, context))]
    return Material(
        [exercise for exercise, _ in kept], len(dialogues), dialogues + [fitting for _, fitting in kept],
        len(own) + len(made) - len(kept) - len(dialogues),
    )


def render(template: ChatTemplate, messages: Sequence[Message], context: int) -> Dialogue | None:
    """One conversation as ids, with what the assistant says; None if none of that fits."""
    rendered = template.render(messages)
    return Dialogue(rendered.ids, rendered.mask).cut(context)
