"""Packing of dialogues: each once an epoch, only answers predicted, any batch from its number alone."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.data.dialogues import Dialogue, PackedDialogues, join, pack, scored_dialogues
from tuti.data.packing import IGNORED

CONTEXT = 24


def numbered(sizes: list[int]) -> list[Dialogue]:
    """Dialogue k holds ids 100k, 100k + 1, …; the second half is said."""
    return [
        Dialogue([100 * k + i for i in range(n)], [i >= n // 2 for i in range(n)])
        for k, n in enumerate(sizes, start=1)
    ]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(2, CONTEXT + 1), min_size=1, max_size=80), st.integers(0, 5))
def test_each_dialogue_once_an_epoch_and_only_answers_predicted(
    sizes: list[int], epoch: int
) -> None:
    dialogues = numbered(sizes)
    rows = PackedDialogues(dialogues, CONTEXT, seed=3)
    layout = rows.rows(epoch)
    assert sorted(n for row in layout for n in row) == list(range(len(dialogues)))
    batch = pack([[dialogues[n] for n in row] for row in layout], CONTEXT)
    assert batch.ids.shape == (len(layout), CONTEXT) and batch.documents is not None
    assert batch.num_targets == sum(dialogue.predictions for dialogue in dialogues)
    at = batch.targets != IGNORED
    # A target follows its own id within one dialogue: numbers of one dialogue are consecutive.
    assert torch.equal(batch.targets[at], batch.ids[at] + 1)
    for row, documents in zip(batch.ids, batch.documents, strict=True):
        for piece in documents.unique():
            own = row[documents == piece]
            assert len(set((own // 100).tolist())) == 1


def test_a_batch_is_a_function_of_its_number() -> None:
    dialogues = numbered([5, 9, 20, 3, 7, 11, 25, 2] * 6)
    one, other = (PackedDialogues(dialogues, CONTEXT, seed=1) for _ in range(2))
    for first in range(0, 60, 7):
        one.batch(first, 5)
    assert torch.equal(one.batch(40, 6).ids, other.batch(40, 6).ids)
    epochs = [one.rows(0), one.rows(1)]
    assert epochs[0] != epochs[1]


def test_rows_are_nearly_full() -> None:
    rows = PackedDialogues(numbered([4 + n % 12 for n in range(400)]), CONTEXT, seed=0)
    used = sum(len(dialogue.ids) - 1 for dialogue in rows.dialogues)
    assert used / (rows.rows_per_epoch * CONTEXT) > 0.9


def test_what_does_not_fit_is_cut_and_a_question_alone_is_nothing() -> None:
    [long] = numbered([60])
    assert long.cut(CONTEXT) is None
    shorter = long.cut(40)
    assert shorter is not None and len(shorter.ids) == 41 and shorter.predictions == 11


def test_joined_batches_keep_their_targets() -> None:
    first, second = (pack([dialogues], CONTEXT) for dialogues in (numbered([5, 8]), numbered([20])))
    both = join(first, second)
    assert both.num_targets == first.num_targets + second.num_targets
    assert torch.equal(both.ids[1], second.ids[0])


def test_scored_dialogues_are_all_there() -> None:
    dialogues = numbered([3 + (7 * n) % 22 for n in range(50)])
    seen: list[int] = []
    for batch, numbers in scored_dialogues(dialogues, tokens=100):
        assert batch.ids.numel() <= 100
        counts = (batch.targets != IGNORED).sum(1).tolist()
        assert counts == [dialogues[n].predictions for n in numbers]
        seen += numbers.tolist()
    assert sorted(seen) == list(range(50))
