import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.text import is_persian, normalise, script_of
from tuti.text.tests.sample import CODE, ENGLISH, PERSIAN

ARABIC = "ذهب الولد إلى المدرسة في الصباح، وكان معه كتاب ١٢ يقرأ فيه عن البحر."
URDU = "یہ کتاب میز پر ہے اور لڑکا اسے پڑھ رہا ہے، ي ك ٣"
KURDISH = "من لە ماڵەوە کتێبێکی نوێ دەخوێنمەوە و چای دەخۆمەوە ي ك ٣"
PASHTO = "زه په کور کې یم او ښه کتاب لولم چې نوی دی ي ك ٣"
TRICKY = st.text(
    st.sampled_from(
        "اب يىكیک٠١۲پچ\u200c\u200d \t\n\r\ufeff\x00\x85\u2028e\u0301ﷺﺍﻼﹰ\ud800.\xa0\u3000\u0654"
    )
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("\ufeffa\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a\x00b\x07c\td", "abc\td"),
        ("cafe\u0301", "café"),
        ("ﻻ ﷲ ﹰ", "لا الله \u064b"),
        ("ﬁ ① x²", "ﬁ ① x²"),  # compatibility forms outside Arabic mean something
        ("a    b  \n\n\n\n    c\n\n", "a b\n\n    c"),
        ("\tif x:\n\t\treturn", "\tif x:\n\t\treturn"),
        ("a\xa0b\u2009c", "a b c"),
        ("می\u200c\u200cشود \u200cو\u200c نه\u200c", "می\u200cشود و نه"),
        ("كتاب خوبي را به علي داد؛ ٤٥", "کتاب خوبی را به علی داد؛ ۴۵"),
        ("x \ud800 y", "x \ufffd y"),
        ("", ""),
        (" \n \n", ""),
    ],
)
def test_each_rule(raw: str, clean: str) -> None:
    assert normalise(raw) == clean


@pytest.mark.parametrize("text", [ARABIC, URDU, KURDISH, PASHTO])
def test_other_languages_keep_their_letters(text: str) -> None:
    assert not is_persian(text)
    assert normalise(text) == text


@pytest.mark.parametrize("text", [PERSIAN, ENGLISH, CODE])
def test_clean_text_stays(text: str) -> None:
    assert normalise(text) == text.strip("\n").replace("  #", " #")


def test_persian_is_known_however_it_was_typed() -> None:
    typed = PERSIAN.replace("ی", "ي").replace("ک", "ك").replace("۱۲", "١٢")
    assert is_persian(PERSIAN) and is_persian(typed)
    assert normalise(typed) == normalise(PERSIAN)
    assert not is_persian(ENGLISH) and not is_persian("")
    mixed = normalise(ENGLISH + typed)
    assert mixed.endswith(normalise(PERSIAN))


@settings(max_examples=400, deadline=None)
@given(st.text() | TRICKY | st.tuples(TRICKY, st.sampled_from([PERSIAN, ARABIC])).map("".join))
def test_idempotent_and_valid(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once.encode().decode() == once
    assert not {"\r", "\ufeff", "\x00"} & set(once)


@pytest.mark.parametrize(
    "piece", [" ", "\u200c", "\n", " \n", "\u200c ", "a ", "ي", "\t", "\u064b", "\ufeff"]
)
def test_linear_time(piece: str) -> None:
    def seconds(times: int) -> float:
        start = time.process_time()
        normalise("x" + piece * times + "x")
        return time.process_time() - start

    seconds(1000)
    small, large = min(seconds(20_000) for _ in range(3)), min(seconds(160_000) for _ in range(2))
    assert large < 8 * 6 * max(small, 5e-4)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (PERSIAN, "Arabic"),
        (ENGLISH, "Latin"),
        ("Кот и dog", "Cyrillic"),
        ("日本語です", "Han"),
        ("한국어", "Hangul"),
        ("12 + ½ … 🙂", "Common"),
        ("", "Common"),
    ],
)
def test_script(text: str, script: str) -> None:
    assert script_of(text) == script
