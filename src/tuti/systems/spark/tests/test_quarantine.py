"""One document that nothing was prepared for costs itself and not the job; the machine's faults are told."""

import contextlib
import errno
import gzip
import json
import random
import subprocess
import sys
from encodings.aliases import aliases
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tuti.systems.spark import markup, rows
from tuti.systems.spark.clean import Cleaning
from tuti.systems.spark.rules import Measures, genre_of
from tuti.systems.spark.tally import Tally
from tuti.systems.spark.tests.corpus import rows as rows_in
from tuti.systems.spark.tests.corpus import run_of, told, write_corpus
from tuti.systems.spark.walk import walk


def read_rows(folder: Path) -> tuple[list[rows.Row], Tally]:
    tally = Tally()
    found = [
        row
        for source in walk([folder])[0]
        for row in rows.rows_of(source, 4000, Cleaning(genre="any"), tally)
    ]
    return found, tally


def stumbling(really, error: BaseException):
    """A function that raises over whatever speaks of a pebble."""

    def clean(raw, *rest):
        if "pebble" in raw:
            raise error
        return really(raw, *rest)

    return clean


@pytest.mark.parametrize("error", [ValueError("half \ud83d a pair")])
def test_a_document_that_cannot_be_cleaned_is_set_aside(tmp_path, monkeypatch, error):
    """In executors, which are forked: the rest has the bytes that it has without that document."""
    corpus = write_corpus(tmp_path / "in")
    wanted = rows_in(run_of(tmp_path / "whole", corpus), "train-00.jsonl")
    chat = {"role": "assistant", "content": "a pebble"}
    (corpus / "a.chat.jsonl").write_text(json.dumps({"messages": [chat | {"role": "user"}, chat]}))
    (corpus / "row.jsonl").write_text('{"text": "before it"}\n{"text": "one pebble"}\n')
    monkeypatch.setattr(rows, "clean", stumbling(rows.clean, error))
    run = run_of(tmp_path / "run", corpus)
    skipped = told(run, "drops")["skipped"]
    name = type(error).__name__
    assert skipped["reasons"] == {f"{name} in cleaning": 2}
    assert [skip["source"] for skip in skipped["listed"]] == ["a.chat.jsonl#1", "row.jsonl#2"]
    assert all(skip["reason"].startswith(f"{name} in cleaning: ") for skip in skipped["listed"])
    found = rows_in(run, "train-00.jsonl") + rows_in(run, "valid-00.jsonl")
    assert "before it" in [row["text"] for row in found]
    assert {row["id"] for row in wanted} <= {row["id"] for row in found}


@pytest.mark.parametrize(
    ("error", "caught"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
        (OSError(errno.EIO, "Input/output error"), OSError),
        (MemoryError(), MemoryError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ImportError("no module"), ImportError),
    ],
)
def test_the_faults_of_the_machine_are_no_fault_of_a_document(tmp_path, monkeypatch, error, caught):
    (tmp_path / "a.txt").write_text("a pebble")
    monkeypatch.setattr(rows, "clean", stumbling(rows.clean, error))
    with pytest.raises(caught):
        read_rows(tmp_path)


@pytest.mark.parametrize("error", [RuntimeError("bad tree"), MemoryError()])
def test_a_file_that_cannot_be_read_is_set_aside(tmp_path, monkeypatch, error):
    (tmp_path / "a.html").write_text("<p>one pebble")
    (tmp_path / "b.html").write_text("<p>good")
    monkeypatch.setattr(markup, "LexborHTMLParser", stumbling(markup.LexborHTMLParser, error))
    with pytest.raises(MemoryError) if isinstance(error, MemoryError) else contextlib.nullcontext():
        found, tally = read_rows(tmp_path)
        assert [row.body for row in found] == ["good"]
        assert tally.skipped == [("a.html", 0, "RuntimeError in reading: bad tree")]


CODECS = sorted({*aliases.values(), "idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined"})


def test_a_page_may_name_any_codec(tmp_path):
    """Among Python's are some that raise at bytes, or make half surrogate pairs of ASCII."""
    for name in CODECS:
        page = b'<meta charset="%s"><p>word \\ud83d and +2AA- \xff\x80\xe9 words' % name.encode()
        (tmp_path / f"{name}.html").write_bytes(page)
    found, tally = read_rows(tmp_path)
    assert not tally.skipped
    kept = {row.name for row in found}
    assert {"latin_1.html", "cp1256.html", "koi8_r.html"} <= kept
    assert len(found) + tally.rules["broken encoding"].count == len(CODECS)
    json.dumps([row.body for row in found], ensure_ascii=False).encode()  # text that can be written


def test_messages_of_any_shape(tmp_path):
    odd = [[], {}, None, 7, [[]], {"role": []}, {"role": {}, "content": "x"}, {"role": "user", "content": []}]
    lines = [{"messages": one} for one in odd] + [{"messages": [one]} for one in odd]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found, tally = read_rows(tmp_path)
    assert not found and sum(tally.reasons.values()) == len(lines)
    assert set(tally.reasons) == {"row without valid messages", "row without text"}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["x(", "00 1(", "a@", "AB12 "])
def test_no_text_takes_the_square_of_its_length(tmp_path, text):
    """The longest document that can be asked for, of what makes patterns try again and again."""
    (tmp_path / "a.txt").write_text(text * (1_000_000 // len(text)))
    (source,), _ = walk([tmp_path])
    assert list(rows.rows_of(source, 1_000_000, Cleaning(), tally := Tally())) or tally.rules
    assert not tally.skipped


def test_code_is_told_by_calls_as_before():
    assert genre_of(Measures("print(a)\nrun(b, c);\nf(g((x))\n")) == "code"


def test_empty_rows_are_counted_and_not_listed_without_end(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n' * 20_000 + '{"text": "last"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": ""}\n{"text": "second"}\n')
    found, tally = read_rows(tmp_path)
    assert [row.body for row in found] == ["last", "second"]
    assert tally.reasons == {"row with an empty text": 20_001}
    assert len(tally.skipped) <= 800 and len(tally.line()) < 100_000


# -- archives damaged in the middle


def sentences(count: int) -> list[str]:
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghij", k=8)) for _ in range(5000)]
    return [f"row {n} " + " ".join(chance.choices(words, k=12)) for n in range(count)]


@pytest.mark.parametrize("fault", ["bytes changed", "bytes lost", "zeros"])
@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_an_archive_damaged_in_its_middle_keeps_what_came_before(tmp_path, kind, fault):
    """gzip has one checksum, at its end: what is unpacked after the damage may be rows that were none."""
    texts = sentences(6000)
    plain = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    packed = bytearray(gzip.compress(plain, 6) if kind == "gz" else zstandard.compress(plain))
    middle = len(packed) // 2
    match fault:
        case "bytes changed":
            packed[middle : middle + 64] = random.Random(1).randbytes(64)
        case "bytes lost":
            del packed[middle : middle + 1000]
        case "zeros":
            packed[middle:] = bytes(len(packed) - middle)
    (tmp_path / f"a.jsonl.{kind}").write_bytes(packed)
    (tmp_path / "b.txt").write_text("what stands beside it")
    found, tally = read_rows(tmp_path)
    kept = [row.body for row in found if row.name != "b.txt"]
    assert found[-1].body == "what stands beside it"
    assert kept[:2500] == texts[:2500]
    assert any(skip.name != "b.txt" and skip.line == 0 for skip in tally.skipped), tally.reasons


@pytest.mark.parametrize("fault", ["cut", "bytes changed", "zeros"])
def test_a_damaged_parquet_is_listed_and_what_is_whole_is_kept(tmp_path, fault):
    texts = sentences(6000)
    pq.write_table(pa.table({"text": texts}), path := tmp_path / "a.parquet", row_group_size=1000)
    (tmp_path / "b.txt").write_text("what stands beside it")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    if fault == "cut":
        del data[middle:]
    else:
        data[middle : middle + 5000] = random.Random(1).randbytes(5000) if "ch" in fault else bytes(5000)
    path.write_bytes(data)
    found, tally = read_rows(tmp_path)
    kept = [row.body for row in found if row.name == "a.parquet"]
    assert kept == texts[: len(kept)] and found[-1].body == "what stands beside it"
    assert len(kept) >= (0 if fault == "cut" else 2000)  # cut: its directory, which stands last, is gone
    assert [skip.line for skip in tally.skipped] == [0]
    assert list(tally.reasons)[0] in ("damaged parquet", "unreadable")


# -- documents of any length


BOUNDED = """
import resource, sys
from pathlib import Path
from tuti.systems.spark.tests.test_quarantine import read_rows
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found, tally = read_rows(Path(sys.argv[1]))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(found), (after - before) // 1024, *tally.reasons)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KB on Linux")
@pytest.mark.parametrize("kind", ["row too long", "lists of lists"])
def test_a_row_of_any_length_is_read_in_bounded_memory(tmp_path, kind):
    """What is held at most while it is read: 40 MB of a row, and the worst row that is read."""
    with open(tmp_path / "a.jsonl", "w") as file:
        if kind == "row too long":
            file.write('{"text": "')
            file.writelines("words and words " * 1000 for _ in range(2500))
            file.write('"}\n{"text": "the next"}\n')
        else:
            file.write('{"text": "kept", "x": [' + "[]," * 2_600_000 + "0]}\n")
    done = subprocess.run([sys.executable, "-c", BOUNDED, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    count, megabytes, *reasons = done.stdout.split()
    assert int(count) == 1 and int(megabytes) < (60 if kind == "row too long" else 300), done.stdout
    assert " ".join(reasons) == ("row too long" if kind == "row too long" else "")


def test_a_long_page_of_an_archive_is_parsed_in_pieces(tmp_path, monkeypatch):
    """Of 7 MB in short elements, the tree of all took 700 MB."""
    body = b"".join(b"<p>%d %s</p>" % (n, b"words " * 8000) for n in range(100))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    named = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:a>\r\nWARC-Target-URI: http://a\r\n"
    named += b"Content-Type: application/http; msgtype=response\r\n"
    named += b"Content-Length: %d\r\n\r\n" % len(head + body)
    (tmp_path / "a.warc").write_bytes(named + head + body + b"\r\n\r\n")
    really, sizes = markup.html_text, []

    def parsed(html, **how):
        sizes.append(len(html))
        return really(html, **how)

    monkeypatch.setattr(markup, "html_text", parsed)
    found, tally = read_rows(tmp_path)
    assert sum(row.body.count("words") for row in found) == 800_000 and not tally.reasons
    assert sum(sizes) == len(body) > 4_000_000 and max(sizes) <= markup.PIECE
