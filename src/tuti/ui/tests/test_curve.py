import math
import re

from hypothesis import given
from hypothesis import strategies as st

from tuti.ui import Series, charts, line_chart
from tuti.ui.curve import HEIGHT, POINTS, WIDTH, measures
from tuti.ui.tests.reading import Reader

STEPS = [(float(n), 9.0 - n / 20) for n in range(1, 101)]


def chart(series: list[Series]) -> str:
    return line_chart(series, title="Loss", x_label="step", y_label="nats")


def coordinates(svg: str) -> list[tuple[float, float]]:
    pairs = [p for line in re.findall(r'points="([^"]*)"', svg) for p in line.split()]
    return [(float(a), float(b)) for a, b in (pair.split(",") for pair in pairs)]


def test_the_chart_tells_its_story_without_being_seen() -> None:
    svg = chart([Series("train", STEPS)])
    read = Reader(svg)
    read.check_alone()
    drawing = read.named("svg")[0]
    assert drawing["role"] == "img"
    title, description = drawing["aria-labelledby"].split()
    assert {"id": title} in read.named("title") and {"id": description} in read.named("desc")
    assert "nats: train: from 8.95 at step 1 to 4 at step 100, least 4 at 100." in svg


def test_a_falling_loss_falls_on_the_page_and_stays_inside_it() -> None:
    drawn = coordinates(chart([Series("train", STEPS)]))
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    assert drawn[0][1] < drawn[-1][1]  # y grows downwards in SVG
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in drawn)


def test_several_series_are_told_apart_without_colour() -> None:
    svg = chart([Series("<b>", STEPS), Series("فارسی", STEPS)])
    assert "stroke-dasharray" in svg and "&lt;b&gt;" in svg and "فارسی" in svg
    assert len({attrs["style"] for attrs in Reader(svg).named("polyline")}) == 2


def test_what_is_not_finite_or_absent_is_left_out() -> None:
    assert chart([Series("a", [(1, math.nan), (2, math.inf)])]) == ""
    assert chart([]) == ""
    svg = chart([Series("a", [(1, 2.0), (2, math.nan), (3, 1.0)])])
    assert "nan" not in svg and len(coordinates(svg)) == 2


def test_long_series_keep_their_spikes() -> None:
    many = [(float(n), 1.0) for n in range(100_000)]
    many[54_321] = (54_321.0, 99.0)
    svg = chart([Series("a", many)])
    assert len(coordinates(svg)) <= POINTS + 4
    heights = [y for _, y in coordinates(svg)]
    assert min(heights) < HEIGHT / 4 < max(heights)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(-1e9, 1e9)), min_size=1, max_size=20))
def test_any_points_make_a_whole_chart(found: list[tuple[int, float]]) -> None:
    svg = chart([Series("a", sorted(found))])
    Reader(svg).check_alone()
    assert svg and "nan" not in svg and "inf" not in svg


def test_a_resumed_step_counts_once() -> None:
    losses = ((1, 5.0), (2, 4.0), (2, 3.0), (3, 2.0))
    events = [{"event": "step", "step": n, "loss": loss} for n, loss in losses]
    assert measures(events) == {"loss": [Series("loss", [(1, 5.0), (2, 3.0), (3, 2.0)])]}


def test_events_become_a_chart_for_each_measure() -> None:
    events = [
        {"event": "step", "step": 1, "loss": 5.0},
        {"event": "step", "step": 2, "loss": "torn"},
        {
            "event": "held_out",
            "step": 1,
            "bits_per_byte": {"all": 3.0, "Arabic": 3.5},
            "documents": 4,
        },
        {"event": "held_out", "step": 2, "bits_per_byte": {"all": 2.0, "Arabic": 2.5}, "loss": 2.2},
    ]
    _, *made = charts({"sft": events}).split("<figure>")
    assert len(made) == 3
    assert "sft: training loss" in made[0]
    assert "Arabic" in made[1] and "bits per byte" in made[1]
    assert "held-out loss" in made[2]
