"""Packing loses nothing, mixes nothing, and is a pure function of the step."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.data import (
    IGNORED,
    Document,
    PackedRows,
    Tokens,
    held_out_rows,
    read_tokens,
    write_tokens,
)
from tuti.run import UserError

END = 0


def tokens_of(lengths: list[int]) -> Tokens:
    """Documents whose tokens name their document and place: 1000·d + t."""
    parts = [np.array([END, *(1000 * (d + 1) + t for t in range(n))]) for d, n in enumerate(lengths)]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    groups = np.zeros(len(lengths), dtype=np.int64)
    sizes = np.array(lengths, dtype=np.int64)
    return Tokens(np.concatenate(parts), starts, sizes, groups, ("Latin",), 100_000)


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(2, 24), st.integers(0, 5))
def test_every_token_is_predicted_once_an_epoch(sizes, context, seed) -> None:
    tokens = tokens_of(sizes)
    rows = PackedRows(tokens, context, seed)
    total = len(tokens.ids)
    seen: list[int] = []
    for number in range(-(-total // context)):
        seen += rows.row(0, number)[1:, 0].tolist()
    counts = np.unique(np.array(seen)[: total], return_counts=True)
    wanted = np.unique(tokens.ids, return_counts=True)
    np.testing.assert_array_equal(counts[0], wanted[0])
    np.testing.assert_array_equal(counts[1], wanted[1])


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(2, 24), st.integers(0, 5))
def test_document_numbers_change_exactly_at_end_ids(sizes, context, seed) -> None:
    row = PackedRows(tokens_of(sizes), context, seed).row(0, 0)
    steps = np.diff(row[:, 1])
    np.testing.assert_array_equal(steps == 1, row[1:, 0] == END)
    assert set(steps.tolist()) <= {0, 1}
    for piece in np.unique(row[:, 1]):
        inside = row[(row[:, 1] == piece) & (row[:, 0] != END), 0]
        assert len(set((inside // 1000).tolist())) <= 1
        assert (np.diff(inside) == 1).all()


def test_a_batch_depends_on_its_number_alone() -> None:
    tokens = tokens_of([30, 5, 17, 9, 22])
    straight = PackedRows(tokens, 8, 3)
    taken = [straight.batch(8 * n, 8).ids for n in range(6)]
    late = PackedRows(tokens, 8, 3)
    for number in (5, 0, 3):
        assert torch.equal(late.batch(8 * number, 8).ids, taken[number])
    assert not torch.equal(PackedRows(tokens, 8, 4).batch(0, 8).ids, taken[0])


def test_weights_draw_a_group_more_often() -> None:
    tokens = tokens_of([20] * 40)
    weights = np.where(np.arange(40) < 10, 3.0, 1.0 / 3.0)
    rows = PackedRows(tokens, 20, 0, weights)
    seen = np.concatenate([rows.row(0, n)[1:, 0] for n in range(40)])
    often = ((seen // 1000 >= 1) & (seen // 1000 <= 10)).mean()
    assert 0.6 < often < 0.9


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(4, 24), st.integers(1, 5))
def test_held_out_scores_each_token_once(sizes, context, rows) -> None:
    tokens = tokens_of(sizes)
    scored: list[int] = []
    for batch, numbers in held_out_rows(tokens, context, rows, len(tokens)):
        real = batch.targets != IGNORED
        for row, number in zip(range(len(numbers)), numbers, strict=True):
            found = batch.targets[row][real[row]].tolist()
            assert all(token // 1000 == number + 1 for token in found)
            scored += found
            for place in torch.nonzero(real[row]).flatten().tolist():
                before = batch.ids[row, place].item()
                assert before == END or before == batch.targets[row, place].item() - 1
    assert sorted(scored) == sorted(t for t in tokens.ids.tolist() if t != END)


def test_shards_round_trip_and_damage(tmp_path: Path) -> None:
    documents = [Document([0, 5, 70000], 9, "Arabic"), Document([0, 1], 1, "Latin")]
    totals = write_tokens(tmp_path, "train", documents, vocab=80_000)
    assert totals == {"documents": 2, "tokens": 5, "bytes": 10}
    tokens = read_tokens(tmp_path, "train")
    assert tokens.document(0).tolist() == [0, 5, 70000] and tokens.names == ("Arabic", "Latin")
    path = tmp_path / "train" / "tokens.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="damaged"):
        read_tokens(tmp_path, "train")
    path.write_bytes(whole)
    (tmp_path / "train" / "index.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        read_tokens(tmp_path, "train")


def test_an_empty_split_round_trips(tmp_path: Path) -> None:
    write_tokens(tmp_path, "valid", [], vocab=300)
    assert len(read_tokens(tmp_path, "valid")) == 0


def test_dropout_goes_with_the_document_and_a_row_keeps_its_seed() -> None:
    tokens = tokens_of([30, 50, 20, 40])
    probability = np.array([0.0, 0.1, 0.2, 0.3])
    rows = PackedRows(tokens, 16, 5, dropout=probability)
    whole, plain = rows.batch(3, 4), PackedRows(tokens, 16, 5).batch(3, 4)
    assert torch.equal(whole.ids, plain.ids) and plain.dropout is None and whole.dropout is not None
    for n in range(4):
        row = rows.row(0, 3 + n)
        assert whole.dropout[n].tolist() == pytest.approx(probability[row[:-1, 2]].tolist())
        for place in range(16):
            assert row[place, 0] in (END, *tokens.document(int(row[place, 2])))
            assert row[place, 0] == END or row[place, 0] // 1000 == row[place, 2] + 1
    assert whole.seeds[2:] == rows.batch(5, 2).seeds and len(set(whole.seeds)) == 4
    assert PackedRows(tokens, 16, 6, dropout=probability).batch(3, 4).seeds != whole.seeds
    assert PackedRows(tokens, 16, 5, dropout=np.zeros(4)).batch(0, 2).dropout is None


@given(lengths, st.integers(1, 10), st.integers(1, 200))
def test_leading_documents_are_within_both_limits_but_two(sizes, documents, most) -> None:
    tokens = tokens_of(sizes)
    found, within = tokens.leading(documents, most), min(documents, len(sizes))
    assert min(2, within) <= found <= within
    assert found <= 2 or int(tokens.starts[found]) <= most
    if found < within:  # one more would have been too much
        assert int(tokens.starts[found + 1]) > most
