import re

import pytest

from tuti.ui import Bar, Box, bars, graph
from tuti.ui.tests.reading import Reader

BOXES = [
    Box("read <a>", ["8 tasks"], ["5 MB"]),
    Box("read b", ["2 tasks"], ["1 MB"]),
    Box("join", ["8 tasks, " + "many " * 20], reads=[0, 1], mark="slowest"),
    Box("sort", reads=[0, 2]),
]


def rects(svg: str) -> list[dict[str, float]]:
    found = [attrs for attrs in Reader(svg).named("rect")]
    return [{name: float(attrs[name]) for name in ("x", "y", "width", "height")} for attrs in found]


def test_a_graph_is_said_in_words_and_reached_by_keyboard() -> None:
    svg = graph(BOXES, title="Stages & shuffles")
    read = Reader(svg)
    read.check_alone()
    drawing = read.named("svg")[0]
    assert drawing["role"] == "img"
    title, description = drawing["aria-labelledby"].split()
    assert {"id": title} in read.named("title") and {"id": description} in read.named("desc")
    told = "".join(read.text)
    assert "join ← read <a>, read b, slowest, 8 tasks" in told and "read <a>, 8 tasks, 5 MB" in told
    region = read.named("div")[0]
    assert (region["role"], region["tabindex"], region["aria-label"]) == ("region", "0", "Stages & shuffles")


def test_boxes_stand_below_what_they_read_and_none_on_another() -> None:
    svg = graph(BOXES, title="t")
    boxes, width = rects(svg), float(Reader(svg).named("svg")[0]["width"])
    for box, place in zip(BOXES, boxes, strict=True):
        assert all(boxes[read]["y"] + boxes[read]["height"] < place["y"] for read in box.reads)
        assert 0 <= place["x"] and place["x"] + place["width"] <= width
    a, b = boxes[:2]
    assert a["y"] == b["y"] and a["x"] + a["width"] <= b["x"]
    assert len(Reader(svg).named("path")) == 4
    marked = [attrs for attrs in Reader(svg).named("rect") if attrs.get("class") == "marked"]
    assert len(marked) == 1 and float(marked[0]["y"]) == boxes[2]["y"]


def test_long_lines_are_cut_in_the_picture_alone() -> None:
    svg = graph(BOXES, title="t")
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert max(map(len, shown)) <= 40 and any(line.endswith("…") for line in shown)
    assert "many " * 20 in svg


def test_a_box_reads_only_earlier_boxes() -> None:
    with pytest.raises(AssertionError):
        graph([Box("a", reads=[1]), Box("b")], title="t")


LEVELS = [Bar("driver", "1 of 4", 1, 4), Bar("<pool>", "3 of 2", 3, 2), Bar("free", "2", 2, 0)]


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
def test_bars_are_on_one_scale_and_begin_where_lines_begin(direction: str) -> None:
    svg = bars(LEVELS, title="Memory", direction=direction)
    read = Reader(svg)
    read.check_alone()
    assert "<pool>: 3 of 2" in "".join(read.text)
    width = float(read.named("svg")[0]["width"])
    cap, used, small, full, free = rects(svg)
    assert cap["width"] == pytest.approx(width, abs=4) and used["width"] == pytest.approx(width / 4, abs=4)
    assert free["width"] == pytest.approx(width / 2, abs=4) and small["width"] == full["width"]
    ends = {bar["x"] + bar["width"] if direction == "rtl" else bar["x"] for bar in rects(svg)}
    assert max(ends) - min(ends) < 1.5 and abs(min(ends) - (width if direction == "rtl" else 0)) < 2
    assert [attrs["class"] for attrs in read.named("rect")].count("used marked") == 1


def test_nothing_gives_nothing() -> None:
    assert graph([], title="t") == "" == bars([], title="t") == bars([Bar("a", "", 0, 0)], title="t")
