"""One key that has nine rows in ten: grouped, joined and told apart in little memory, with the right rows."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.systems.spark.engine import Frame, Session, col, operators
from tuti.systems.spark.engine.scheduler import Order
from tuti.systems.spark.tests.frames import frame_of, reported

ROWS = 24_000


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session(executors=2, memory="490m", partitions=2) as made:
        assert made.pool < 12_000_000
        yield made


@pytest.fixture
def report(session: Session) -> list[Order]:
    return reported(session)


def skewed(session: Session, rows: int = ROWS) -> Frame:
    """A kilobyte a row, so that one key's rows are more than a pool; the key of nine in ten is 0."""
    ids, chance = np.arange(rows), np.random.default_rng(0)
    keys = np.where(ids % 10 == 0, 1 + ids, 0)
    texts = [chance.bytes(500).hex() for _ in ids]
    return frame_of(session, pa.table({"id": ids, "k": keys, "text": texts}), 4)


def spilled(report: list[Order]) -> int:
    return sum(order["spilled"] for order in report)


def test_a_skewed_key_is_grouped(session: Session, report: list[Order]) -> None:
    frame = skewed(session)
    found = frame.group_by("k").agg(n=("count", None), least=("min", "id")).sort("k").collect().to_pylist()
    assert found[0] == {"k": 0, "n": ROWS * 9 // 10, "least": 1}
    assert [row["k"] for row in found[1:]] == [1 + n for n in range(0, ROWS, 10)]
    assert {row["n"] for row in found[1:]} == {1}
    two = frame.union(frame).group_by("k", "text").agg(n=("count", None)).filter(col("n") == 2)
    assert two.count() == ROWS and spilled(report) > 10_000_000


def test_a_skewed_key_is_told_apart(session: Session, report: list[Order]) -> None:
    frame = skewed(session)
    assert frame.select("k").distinct().count() == 1 + ROWS // 10
    assert frame.union(frame).distinct().count() == ROWS and spilled(report) > 10_000_000


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_skewed_key_is_joined(session: Session, report: list[Order], side: str) -> None:
    """On the left it goes past; on the right it is parted again and again, and held in the end."""
    few = frame_of(session, pa.table({"k": [0, 1, 11, 5], "name": ["often", "once", "once", "never"]}))
    frame = skewed(session)
    both = frame.join(few, "k") if side == "left" else few.join(frame, "k")
    found = both.select("id", "name", "text").collect().to_pylist()  # a text that nobody asks for stays away
    wanted = {n: "often" for n in range(ROWS) if n % 10} | {0: "once", 10: "once"}
    assert sorted((row["id"], row["name"]) for row in found) == sorted(wanted.items())
    assert (spilled(report) > 10_000_000) == (side == "right")


def test_a_key_that_is_skewed_on_both_sides_is_joined_a_few_rows_at_a_time(
    session: Session, report: list[Order]
) -> None:
    """3.2 million rows of 2 KB come out of 2,000 on each side; no more than some batches are ever there."""
    frame = skewed(session, 2000)
    other = frame.select("k", other=col("id"), words=col("text"))
    before = frame_of(session, pa.table({"n": [1]})).count() and max(order["rss"] for order in report)
    assert frame.join(other, "k").count() == 1800 * 1800 + 200
    assert max(order["rss"] for order in report) < before + 150_000_000


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_matches_are_those_of_two_loops(data: st.DataObject) -> None:
    """Whatever number of matches is found at a time, and of any keys, nulls too, which match nothing."""
    keys = st.lists(st.one_of(st.none(), st.integers(0, 3)), max_size=12)
    left, right = data.draw(keys), data.draw(keys)
    how = data.draw(st.sampled_from(["inner", "left", "semi", "anti"]))
    with Session(executors=1, memory="600m") as session, pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "MATCHES", data.draw(st.integers(1, 30)))
        patch.setattr(operators, "ROWS", data.draw(st.integers(1, 5)))
        sides = [
            pa.table({"k": pa.array(k, pa.int64()), name: pa.array(range(len(k)), pa.int64())})
            for k, name in ((left, "a"), (right, "b"))
        ]
        frames = [frame_of(session, side, 1) for side in sides]
        node: Any = frames[0].join(frames[1], "k", how=how).node
        parts = operators.joined(sides[0].to_batches(), sides[1], node)
        found = [row for part in parts for row in part.to_pylist()]
    wanted: list[tuple[Any, ...]] = []
    for a, one in enumerate(left):
        matches = [b for b, other in enumerate(right) if one is not None and one == other]
        if how in ("semi", "anti"):
            wanted += [(one, a)] if bool(matches) == (how == "semi") else []
        else:
            wanted += [(one, a, b) for b in matches or ([None] if how == "left" else [])]
    assert Counter(tuple(row.values()) for row in found) == Counter(wanted)
