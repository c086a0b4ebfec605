import gzip
import json
import os
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import UserError
from tuti.systems.spark import readers
from tuti.systems.spark.markup import html_pieces, html_text
from tuti.systems.spark.readers import Item, characters, encoding_of, lines, passages
from tuti.systems.spark.walk import Skip, walk

PERSIAN = "می‌روم به باغ. گل‌ها باز شده‌اند.\n"
CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def read_all(folder: Path, limit: int = 4000) -> tuple[list, list[Skip]]:
    sources, skips = walk([folder])
    items = [(source.name, item) for source in sources for item in readers.read(source, limit)]
    found = [(name, item) for name, item in items if not isinstance(item, Skip)]
    return found, skips + [item for _, item in items if isinstance(item, Skip)]


def texts(folder: Path, limit: int = 4000) -> list[str]:
    return [item.content for _, item in read_all(folder, limit)[0] if isinstance(item.content, str)]


# -- passages


@given(
    st.text(alphabet="ab .\n؟!\u200cیé\u0301", max_size=400), st.integers(8, 60), st.integers(1, 9)
)
@settings(max_examples=300, deadline=None)
def test_passages_lose_nothing_and_do_not_depend_on_the_reads(text, limit, block):
    data = text.encode()
    whole = list(passages(characters(BytesIO(data), "utf-8", 1 << 20), limit))
    assert "".join(whole) == text
    assert all(0 < len(part) <= limit for part in whole)
    assert list(passages(characters(BytesIO(data), "utf-8", block), limit)) == whole


@given(st.binary(max_size=200), st.integers(1, 7))
@settings(max_examples=300, deadline=None)
def test_decoding_any_bytes_does_not_depend_on_the_reads(data, block):
    whole = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    assert "".join(characters(BytesIO(data), "utf-8", block)) == whole


def test_a_passage_ends_at_the_best_place_in_reach():
    first = lambda text: next(passages([text], 40))  # noqa: E731
    assert first("a" * 20 + "\n\n" + "b\n" * 30) == "a" * 20 + "\n\n"
    assert first("a" * 20 + "\n" + "b. " * 30) == "a" * 20 + "\n"
    assert first("a" * 20 + ". " + "b " * 30) == "a" * 20 + ". "
    assert first("a" * 20 + " " + "b" * 50) == "a" * 20 + " "
    assert first("a" * 100) == "a" * 40
    assert first("\n\n" + "a" * 100) == "\n\n" + "a" * 38  # a blank line too early does not count
    assert first("a" * 39 + "e\u0301" + "a" * 50) == "a" * 39  # an accent stays with its letter


@given(st.lists(st.text(alphabet="ab\n", max_size=9), max_size=20))
def test_lines_are_those_of_split(pieces):
    wanted = "".join(pieces).split("\n")
    wanted = wanted[:-1] if not wanted[-1] else wanted
    assert list(lines(pieces, 10_000)) == wanted


def test_a_line_too_long_is_marked_and_the_next_is_read():
    assert list(lines(["a" * 5, "a" * 8 + "\nbb", "\n", "c" * 11], 10)) == [None, "bb", None]


# -- formats


def test_every_format_is_read(tmp_path):
    (tmp_path / "a.txt").write_text("plain text")
    (tmp_path / "b.md").write_text("# title")
    (tmp_path / "c.py").write_text("print('code')")
    (tmp_path / "d.html").write_text(
        "<title>no</title><p>one<p>two &amp; three<script>bad()</script>"
    )
    rows = json.dumps({"text": "row one"}) + "\n" + json.dumps({"content": "row two"}) + "\n"
    (tmp_path / "e.jsonl").write_text(rows)
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "g.jsonl.zst").write_bytes(zstandard.compress(rows.encode()) * 2)
    pq.write_table(
        pa.table({"n": [1, 2], "text": ["cell one", "cell two"]}), tmp_path / "h.parquet"
    )
    (tmp_path / "i.chat.jsonl").write_text(json.dumps(CHAT))
    (tmp_path / "j.json").write_text('[{"text": "in a list"}]')
    found, skips = read_all(tmp_path)
    assert not skips
    by_name: dict[str, list[str]] = {}
    for name, item in found:
        by_name.setdefault(name, []).append(item.content if isinstance(item.content, str) else "chat")
    two_rows = ["row one", "row two"]
    assert by_name == {
        "a.txt": ["plain text"],
        "b.md": ["# title"],
        "c.py": ["print('code')"],
        "d.html": ["one\n\ntwo & three"],
        "e.jsonl": two_rows,
        "f.jsonl.gz": two_rows,
        "g.jsonl.zst": two_rows * 2,
        "h.parquet": ["cell one", "cell two"],
        "i.chat.jsonl": ["chat"],
        "j.json": ['[{"text": "in a list"}]'],  # as it stands
    }


def test_messages_keep_role_and_content_only(tmp_path):
    extra = {"messages": [m | {"name": "x"} for m in CHAT["messages"]], "score": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(extra))
    assert read_all(tmp_path)[0] == [("a.jsonl", Item(1, CHAT["messages"]))]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "utf-16-be", "utf-16-le"])
def test_byte_order_marks_are_understood_and_removed(tmp_path, encoding):
    mark = "\ufeff" if encoding[-3:] in ("-be", "-le") else ""
    (tmp_path / "a.txt").write_bytes((mark + PERSIAN).encode(encoding))
    (tmp_path / "b.dat").write_bytes((mark + PERSIAN).encode(encoding))
    assert [text.lstrip("\ufeff") for text in texts(tmp_path)] == [PERSIAN, PERSIAN]


def test_a_page_in_a_named_encoding(tmp_path):
    page = '<html><head><meta charset="windows-1256"></head><body>سلام</body></html>'
    (tmp_path / "a.html").write_bytes(page.encode("windows-1256"))
    assert texts(tmp_path) == ["سلام"]
    assert encoding_of(b"<meta charset=nonsense>", markup=True) == "utf-8"
    assert encoding_of(b"<meta charset=hex>", markup=True) == "utf-8"


def test_html_layout():
    assert html_text("<p>a <b>b</b>\n c</p><ul><li>x<li>y</ul>z<br>w") == "a b c\n\nx\n\ny\n\nz\nw"
    assert html_text("<pre>a\n  b</pre><!-- c --><style>d</style>") == "a\n  b"
    assert html_text("گل‌ها") == "گل‌ها" and html_text("") == ""
    assert html_text("<div>" * 3000 + "deep") == "deep"


def test_a_long_page_is_parsed_in_pieces_without_reading_its_scripts():
    body = "".join(
        f"<p>paragraph {n}</p><script>var bad{n} = '<p>bad</p>'</script>" for n in range(400)
    )
    whole = "".join(html_pieces([body])).split()
    assert "".join(html_pieces([body], 3000)).split() == whole
    assert "".join(html_pieces(iter(body), 3000)).split() == whole
    assert len(whole) == 800


# -- bad input: each is a counted, listed skip, and the rest is read


def reasons(folder: Path) -> list[tuple[str, int, str]]:
    return [tuple(skip) for skip in sorted(read_all(folder)[1])]


def test_missing_source():
    with pytest.raises(UserError, match="does not exist"):
        walk([Path("no/such/folder")])


def test_zero_byte_and_binary_files(tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)))
    (tmp_path / "latin.dat").write_bytes("caf\xe9".encode("latin-1") * 9)
    (tmp_path / "good.txt").write_text("good")
    assert reasons(tmp_path) == [
        ("empty.txt", 0, "0 bytes"),
        ("image.png", 0, "binary"),
        ("latin.dat", 0, "binary"),
    ]
    assert texts(tmp_path) == ["good"]


def test_a_character_cut_by_the_first_64_kb_is_no_fault(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"a" * 65535 + "گ".encode() * 10)
    assert not reasons(tmp_path)


def test_json_lines_half_written_or_without_text(tmp_path):
    deep = "[" * 100_000
    rows = [
        '{"text": "good"}',
        '{"text": "torn',
        '{"title": "none"}',
        "[1]",
        "",
        deep,
        '{"text": 7}',
    ]
    (tmp_path / "a.jsonl").write_text("\n".join([*rows, '{"text": "\\ud83d last"}']))
    (tmp_path / "b.chat.jsonl").write_text('{"messages": [{"role": "user"}]}\n{"text": "x"}\n')
    assert reasons(tmp_path) == [
        ("a.jsonl", 2, "row is not JSON"),
        ("a.jsonl", 3, "row without text"),
        ("a.jsonl", 4, "row is not an object"),
        ("a.jsonl", 6, "row is not JSON"),
        ("a.jsonl", 7, "row without text"),
        ("b.chat.jsonl", 1, "row without valid messages"),
        ("b.chat.jsonl", 2, "row without valid messages"),
    ]
    assert texts(tmp_path) == ["good", "\ufffd last"]


def test_a_row_too_long_to_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "LONGEST_ROW", 1000)
    rows = [{"text": "x" * 2000}, {"text": "short"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert reasons(tmp_path) == [("a.jsonl", 1, "row too long")]
    assert texts(tmp_path) == ["short"]


def test_parquet_without_text_or_damaged(tmp_path):
    table = pa.table({"title": ["a"], "n": [1]})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    pq.write_table(pa.table({"text": [None, "x"]}), tmp_path / "c.parquet")
    found = reasons(tmp_path)
    assert found[0] == ("a.parquet", 0, "parquet without a text column (it has: title, n)")
    assert found[1][2].startswith("damaged parquet")
    assert found[2] == ("c.parquet", 1, "row without text")


def test_a_damaged_archive_keeps_what_came_before(tmp_path):
    rows = "".join(
        json.dumps({"text": f"row {n} {os.urandom(30).hex()}"}) + "\n" for n in range(9000)
    )
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows.encode())[:-5000])
    (tmp_path / "b.jsonl.zst").write_bytes(b"not zstandard at all")
    found, skips = read_all(tmp_path)
    assert len(found) > 5000
    assert any(skip.reason.startswith("damaged archive") for skip in skips)
    assert any(
        skip.name == "b.jsonl.zst" and skip.reason.startswith("unreadable") for skip in skips
    )


def test_links_that_loop_or_lead_nowhere(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("once")
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    found, skips = read_all(tmp_path)
    assert [name for name, _ in found] == ["sub/a.txt"]
    told = {skip.name: skip.reason for skip in skips}
    assert told["sub/up/"].startswith("folder reached before")
    assert told["self"].startswith("unreadable: Too many levels")
    assert told["gone.txt"] == "unreadable: No such file or directory"


def test_unreadable_files_folders_and_pipes(tmp_path, monkeypatch):
    (tmp_path / "x.txt").mkdir()  # a folder with a file's name is walked
    (tmp_path / "x.txt" / "in.txt").write_text("inside")
    (tmp_path / "locked.txt").write_text("secret")
    (tmp_path / "shut").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    really, scan = open, os.scandir

    def refuse(path, *rest, **more):
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied")
        return really(path, *rest, **more)

    def refuse_folder(path):
        if "shut" in str(path):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(os, "scandir", refuse_folder)
    found, skips = read_all(tmp_path)
    assert [item.content for _, item in found] == ["inside"]
    assert sorted((skip.name, skip.reason) for skip in skips) == [
        ("locked.txt", "unreadable: Permission denied"),
        ("pipe.txt", "not a regular file"),
        ("shut/", "unreadable: Permission denied"),
    ]


def test_hidden_files_and_our_own_runs_are_not_read(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("no")
    run = tmp_path / "runs" / "teach-1"
    run.mkdir(parents=True)
    for name in ("config.json", "events.jsonl", "report.txt"):
        (run / name).write_text("{}")
    (tmp_path / "a.txt").write_text("yes")
    assert texts(tmp_path) == ["yes"]
    assert [skip.reason for skip in read_all(tmp_path)[1]] == ["hidden", "a run of Tuti"]


def test_names_that_are_not_utf8(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "w") as file:
        file.write("found")
    assert [name for name, _ in read_all(tmp_path)[0]] == ["\ufffd.txt"]


def test_several_sources_keep_their_names_apart(tmp_path):
    for parent in ("one", "two"):
        (tmp_path / parent / "texts").mkdir(parents=True)
        (tmp_path / parent / "texts" / "a.txt").write_text(parent)
    roots = [
        tmp_path / "one" / "texts",
        tmp_path / "two" / "texts",
        tmp_path / "one" / "texts" / "a.txt",
    ]
    assert [source.name for source in walk(roots)[0]] == ["texts/a.txt", "texts~2/a.txt", "a.txt"]
