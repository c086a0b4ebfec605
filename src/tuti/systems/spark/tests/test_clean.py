"""What happens to one text: spelling, languages, masks, edits, and what stands around it in a page."""

import gzip
import random
import string
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import UserError
from tuti.systems.spark.clean import (
    Cleaning,
    chosen,
    clean,
    identify,
    is_iban,
    is_national_id,
    known,
    mask,
    steps,
)
from tuti.systems.spark.markup import html_text
from tuti.systems.spark.readers import warc_texts
from tuti.systems.spark.tests.corpus import run_of, told
from tuti.text import half_spaces, without_vowel_signs

PERSIAN = "این نوشته برای آزمون است و در آن از طوطی و شکر گفته می‌شود، با واژه‌هایی که همه می‌شناسند."
ENGLISH = "This is a text for a test, and it tells of a parrot that would rather have sugar than a song."
ANY = Cleaning(genre="any")


@pytest.mark.parametrize(
    ("written", "joined"),
    [
        ("می روم و نمی دانم", "می‌روم و نمی‌دانم"),
        ("کتاب های خانه ی ما", "کتاب‌های خانه‌ی ما"),
        ("بزرگ ترین درخت ها", "بزرگ‌ترین درخت‌ها"),
        ("حرفه ای بوده اند", "حرفه‌ای بوده‌اند"),
        ("بچهها میخواهند", "بچه‌ها می‌خواهند"),
        ("می ناب و تر و خشک", "می ناب و تر و خشک"),
        ("که ای و چه ای", "که ای و چه ای"),
        ("زمین و آدمی", "زمین و آدمی"),
    ],
)
def test_half_spaces_join_what_is_one_word(written: str, joined: str) -> None:
    assert half_spaces(written) == joined
    assert half_spaces(joined) == joined


def test_in_verse_wine_stays_wine() -> None:
    assert half_spaces("می خور که نمی دانی", verse=True) == "می خور که نمی‌دانی"


@given(st.text(alphabet="می نهاتریاماندکآب ‌هی.،\n", max_size=60))
@settings(deadline=None)
def test_half_spaces_twice_are_half_spaces_once(text: str) -> None:
    once = half_spaces(text)
    assert half_spaces(once) == once
    assert once.replace("\u200c", "").replace(" ", "") == text.replace("\u200c", "").replace(" ", "")


def test_vowel_signs_go_and_the_shadda_stays() -> None:
    assert without_vowel_signs("مُعَلِّمٌ") == "معلّم"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to ali.r+x@mail.example.ir now", "to <e-mail> now"),
        ("at 8.8.8.8 or 185.3.2.1, not 192.168.1.1", "at <ip> or <ip>, not 192.168.1.1"),
        ("see 12.3.2.2. and version 1.2.3.4.5", "see 12.3.2.2. and version 1.2.3.4.5"),
        ("2001:4860:4860::8888 but std::vector and ::1", "<ip> but std::vector and ::1"),
        ("۰۹۱۲-۳۴۵-۶۷۸۹ یا +98 912 345 6789", "<phone> یا <phone>"),
        ("021-88776655 or +1 (555) 234-5678", "<phone> or <phone>"),
        ("کد ملی 0013542419 و ۰۴۹۹۳۷۰۸۹۹", "کد ملی <national-id> و <national-id>"),
        ("1234567890 and 0013542418", "1234567890 and 0013542418"),
        ("IR06 2960 0000 0010 0324 2000 01", "<iban>"),
        ("GB82 WEST 1234 5698 7654 32, GB83 WEST 1234 5698 7654 32", "<iban>, GB83 WEST 1234 5698 7654 32"),
        ("2022-11-25 10:30:45, 3.1415, 978-3-16-148410-0", "2022-11-25 10:30:45, 3.1415, 978-3-16-148410-0"),
    ],
)
def test_what_tells_who_somebody_is_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(masked) == masked


def test_check_digits_find_any_single_wrong_digit() -> None:
    chance = random.Random(0)
    for _ in range(200):
        body = [chance.randrange(10) for _ in range(9)]
        rest = sum(d * (10 - n) for n, d in enumerate(body)) % 11
        own = "".join(map(str, [*body, rest if rest < 2 else 11 - rest]))
        if len(set(own)) == 1:
            continue
        assert is_national_id(own) and is_national_id(f"{own[:3]}-{own[3:9]}-{own[9]}")
        place = chance.randrange(9)
        wrong = own[:place] + str((int(own[place]) + chance.randrange(1, 10)) % 10) + own[place + 1 :]
        assert not is_national_id(wrong) or rest in (1, 10)
        body = "".join(chance.choices(string.digits, k=22))
        check = 98 - int(body + "182700") % 97
        assert is_iban(f"IR{check:02d}{body}")
        assert not is_iban(f"IR{check:02d}{body[:-1]}{(int(body[-1]) + 1) % 10}")


@given(st.text(max_size=200))
@settings(deadline=None)
def test_masks_and_steps_take_any_text(text: str) -> None:
    masked = mask(text)
    assert mask(masked) == masked
    *_, last = steps(text, Cleaning(edits=("mojibake", "half-spaces", "vowel-signs", "private")))
    assert isinstance(last.text, str)


def test_languages_are_told_and_unknown_ones_refused() -> None:
    assert identify(PERSIAN)[0] == "fa" and identify(ENGLISH)[0] == "en"
    assert min(identify(PERSIAN)[1], identify(ENGLISH)[1]) > 0.8
    assert {"fa", "en", "ar", "ckb", "ur", "tr"} <= known() and chosen("fa, en") == {"fa", "en"}
    with pytest.raises(UserError, match="no language 'farsi'") as caught:
        chosen("fa,farsi")
    assert "fa" in caught.value.hint


def test_only_the_languages_that_are_asked_for_stay() -> None:
    how = Cleaning(languages=frozenset(["fa"]), genre="any")
    assert clean(PERSIAN, how).rule == "" and clean(ENGLISH, how).rule == "another language"
    code = "import os\n\ndef f(x):\n    return os.path(x)\n"
    assert clean(code, how).rule == ""


def test_another_callable_tells_the_language() -> None:
    how = Cleaning(languages=frozenset(["xx"]), genre="any", identify=lambda text: ("xx", 1.0))
    assert clean(ENGLISH, how).language == "xx" and clean(ENGLISH, how).rule == ""


def test_wrong_decodings_are_mended_and_right_ones_left() -> None:
    for text in (PERSIAN, "Čeština a žluťoučký kůň, ale také něco delšího.", "naïve façade"):
        assert clean(text.encode().decode("latin-1"), ANY).text == text
        assert clean(text, ANY).text == text
        assert clean(text.encode().decode("latin-1"), Cleaning(genre="any", edits=())).text != text


def test_a_page_without_what_is_around_it() -> None:
    links = "".join(f'<li><a href="/{n}">Chapter {n}</a></li>' for n in range(9))
    page = (
        f"<html><body><nav>Home</nav><div class='menu'><ul>{links}</ul></div><header>Kept title</header>"
        f"<main><h1>A parrot</h1><p>{ENGLISH}</p><div class='sidebar'><p>A note that is text.</p></div>"
        f"<p>{PERSIAN} <a href='/x'>more</a></p></main><ul>{links}</ul>"
        "<footer>© all rights</footer></body></html>"
    )
    text = html_text(page, main=True)
    assert ENGLISH in text and PERSIAN in text and "A note that is text." in text and "Kept title" in text
    assert "Chapter" not in text and "Home" not in text and "rights" not in text
    assert "Chapter 3" in html_text(page)
    only = html_text(f"<body><ul>{links}</ul></body>", main=True)
    assert "Chapter 8" in only  # a page that is nothing else keeps what it has


def archive(*pages: tuple[str, str, bytes], packed: bool = True) -> bytes:
    """A crawl, by hand; packed: each record by itself, as crawlers write it."""
    whole = b""
    for uri, kind, content in pages:
        http = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode() + content
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {uri}\r\n"
            f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
        )
        record = head.encode() + http + b"\r\n\r\n"
        whole += gzip.compress(record) if packed else record
    return whole


PAGES = (
    ("http://a/", "text/html; charset=utf-8", f"<p>{PERSIAN}</p>".encode()),
    ("http://b/", "text/html; charset=windows-1256", "<p>پارس و گل و چاپ</p>".encode("cp1256")),
    ("http://c/", "image/png", b"\x89PNG"),
    ("http://d/", "text/plain", ENGLISH.encode()),
)


@pytest.mark.parametrize("packed", [True, False])
def test_an_archive_of_a_crawl_gives_its_pages(tmp_path, packed: bool) -> None:
    content = archive(*PAGES, packed=packed)
    plain = gzip.decompress(content) if packed else content
    assert list(warc_texts("x", BytesIO(plain))) == [PERSIAN, "پارس و گل و چاپ", ENGLISH]
    source = tmp_path / "in"
    source.mkdir()
    (source / ("crawl.warc.gz" if packed else "crawl.warc")).write_bytes(content)
    run = run_of(tmp_path / "run", source, min_bytes=10)
    stats = told(run, "stats")
    assert sum(part["documents"] for part in stats["splits"].values()) == 3


def test_a_damaged_archive_gives_what_came_before(tmp_path) -> None:
    content = archive(*PAGES, packed=False)
    found = list(warc_texts("x", BytesIO(content[: len(content) // 2] + b"\0" * 50)))
    assert found[0] == PERSIAN
    source = tmp_path / "in"
    source.mkdir()
    packed = archive(*PAGES)
    (source / "crawl.warc.gz").write_bytes(packed[: len(packed) - 200])
    (source / "more.txt").write_text(ENGLISH * 2)
    run = run_of(tmp_path / "run", source, min_bytes=10)
    assert told(run, "drops")["skipped"]["reasons"].get("damaged archive") == 1


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_an_archive_or_a_skip(content: bytes) -> None:
    for item in warc_texts("x", BytesIO(b"WARC/1.0\r\n" + content)):
        assert isinstance(item, str) or item.reason
