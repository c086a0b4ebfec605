import re

from hypothesis import given
from hypothesis import strategies as st

from tuti.ui import Section, block, escape, facts, figure, folded, page, paragraph, table
from tuti.ui.template import STYLE
from tuti.ui.tests.reading import Reader

HOSTILE = "<script>alert(1)</script>\" ' onload=x </pre></td> &lt; \u202egnp.exe \u2066\x00\ud800"


def test_markup_in_a_text_stays_text() -> None:
    shown = Reader(page(HOSTILE, paragraph(HOSTILE), [Section("a", HOSTILE, block(HOSTILE))]))
    shown.check_alone()
    assert "<script>alert(1)</script>" in "".join(shown.text)


def test_every_widget_escapes_what_it_is_given() -> None:
    parts = [
        folded(HOSTILE, paragraph(HOSTILE)),
        table(HOSTILE, [HOSTILE, "b"], [[HOSTILE, HOSTILE], [1, {HOSTILE: HOSTILE}]]),
        facts(HOSTILE, {HOSTILE: HOSTILE}),
    ]
    for part in parts:
        read = Reader(part)
        read.check_alone()
        assert "<script>" not in part
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\ud800]", part)


def test_overrides_are_spelled_and_joiners_kept() -> None:
    assert escape("a\u202eb") == "a\\u202eb"
    assert escape("\x00\x1b[31m") == "\\x00\\x1b[31m"
    assert escape("می\u200cروم\u200f") == "می\u200cروم\u200f"
    assert escape("two\nlines\tand") == "two\nlines\tand"


@given(st.text())
def test_any_text_is_one_text_node_and_can_be_encoded(text: str) -> None:
    read = Reader(paragraph(text))
    assert [tag for tag, _ in read.tags] == ["p"]
    paragraph(text).encode("utf-8")
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", "".join(read.text))


def test_texts_have_their_own_direction() -> None:
    for part in (paragraph("سلام"), block("سلام"), facts("a", {"b": "سلام"})):
        assert 'dir="auto"' in part


def test_numbers_are_told_with_their_intervals() -> None:
    assert figure(1234567) == "1,234,567"
    assert figure(1.23456) == "1.235"
    assert figure(0.0) == "0"
    assert figure(2.5e12) == "2.5e+12"
    assert figure(float("nan")) == "nan"
    assert figure({"value": 1.7, "low": 1.68, "high": 1.72, "n": 30}) == "1.7 [1.68, 1.72]"
    assert figure(None) == "–"
    assert figure(True) == "yes"


def test_figures_are_aligned_at_their_end() -> None:
    read = Reader(table("t", ["name", "n"], [["a", 1], ["b", None]]))
    assert [attrs.get("class") for attrs in read.named("table")] == ["figures"]
    assert re.search(r"\.figures td, .*\{ text-align: end; }", STYLE)
    assert [attrs["scope"] for attrs in read.named("th")] == ["col", "col", "row", "row"]


def test_the_style_sheet_works_in_both_directions_and_loads_nothing() -> None:
    sided = r"\b(left|right)\b|margin-(top|bottom)|(?<!-)\b(width|height):"
    assert not re.findall(sided, re.sub(r"@media[^{]*", "", STYLE))
    assert "url(" not in STYLE and "@import" not in STYLE
    assert "prefers-color-scheme: dark" in STYLE
    assert STYLE.count("{") == STYLE.count("}")


def test_a_page_says_its_language_and_fits_a_phone() -> None:
    read = Reader(page("عنوان", "", [Section("a", "بخش", paragraph("x"))]))
    assert read.named("html") == [{"lang": "en", "dir": "ltr"}]
    assert read.named("main")[0]["id"] == "content"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.named(
        "meta"
    )


def test_empty_sections_are_left_out() -> None:
    made = page("t", "", [Section("a", "A"), Section("b", "B", paragraph("x"))])
    assert 'id="a"' not in made and 'id="b"' in made
