import json
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from tuti.run import UserError
from tuti.text import Tokenizer
from tuti.text.backend import SPECIALS, byte_alphabet, json_from_gguf, opened
from tuti.text.bpe import train_bpe
from tuti.text.tests.sample import TEXTS, count_words, tokenizer

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    st.sampled_from("<|end> می\u200c1 🙂\n")
)
FAST = settings(max_examples=150, deadline=None)


def llama(folder: Path) -> Tokenizer:
    """A SentencePiece-style tokenizer.json as Llama 2 has it."""
    letters = ["▁", "a", "b", "s", "o", "l", "e", "n", "<", "/", ">", "سل"[0], "ل"]
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{i:02X}>": 3 + i for i in range(256)}
    vocab |= {piece: 259 + i for i, piece in enumerate([*letters, "▁a", "so", "so" + "l"])}
    flags: dict[str, Any] = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
    }
    names = ("<unk>", "<s>", "</s>")
    added = [{"id": i, "content": name, "special": True, **flags} for i, name in enumerate(names)]
    replace = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    prepend = {"type": "Prepend", "prepend": "▁"}
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": {
            "max_length": 4,
            "stride": 0,
            "strategy": "LongestFirst",
            "direction": "Right",
        },
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [prepend, spaces]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [replace, {"type": "ByteFallback"}, {"type": "Fuse"}, strip],
        },
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "byte_fallback": True,
            "fuse_unk": True,
            "vocab": vocab,
            "merges": [["▁", "a"], ["s", "o"], ["so", "l"]],
        },
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>", "special": True}})
    )
    return Tokenizer.load(folder)


def test_ids_are_bytes_then_merges_then_specials() -> None:
    ours = tokenizer()
    assert ours.vocab_size == 600
    assert [ours.token_bytes(i) for i in range(256)] == [bytes([i]) for i in range(256)]
    merges = train_bpe(count_words(TEXTS), 600 - len(SPECIALS))
    joined = dict.fromkeys(left + right for left, right in merges)
    assert [ours.token_bytes(256 + i) for i in range(len(joined))] == list(joined)
    assert [ours.special(name) for name in SPECIALS] == list(range(600 - len(SPECIALS), 600))
    assert ours.end == ours.special("<|endoftext|>")
    assert len(set(byte_alphabet())) == 256


@FAST
@given(ANY_TEXT)
def test_there_and_back(text: str) -> None:
    for ours in (tokenizer(),):
        ids = ours.encode(text)
        assert ours.decode(ids) == text
        assert b"".join(map(ours.token_bytes, ids)) == text.encode()
        assert ours.encode_batch([text, ""]) == [ids, []]


@FAST
@given(st.lists(st.sampled_from(SPECIALS) | ANY_TEXT).map("".join))
def test_text_never_becomes_a_special_token(text: str) -> None:
    ids = tokenizer().encode(text)
    assert not set(ids) & set(tokenizer().specials.values())
    assert tokenizer().decode(ids) == text


@FAST
@given(st.lists(st.integers(0, 599)))
def test_stream_equals_decode(ids: list[int]) -> None:
    ours = tokenizer()
    for skip in (False, True):
        stream = ours.stream(skip_specials=skip)
        parts = [stream.push(i) for i in ids]
        whole = "".join(parts) + stream.flush()
        assert whole == ours.decode(ids, skip_specials=skip)
        kept = [i for i in ids if not skip or i < 600 - len(SPECIALS)]
        assert whole == b"".join(map(ours.token_bytes, kept)).decode("utf-8", "replace")


def test_stream_waits_for_the_whole_character() -> None:
    stream = tokenizer().stream()
    assert [stream.push(byte) for byte in "🙂".encode()] == ["", "", "", "🙂"]
    assert stream.push(0xF0) == "" and stream.flush() == "\ufffd"
    assert stream.push(ord("a")) == "a" and stream.flush() == ""


def test_offsets_and_lone_surrogates() -> None:
    text = "سلام the 🙂"
    ids, offsets = tokenizer().encode_with_specials(text)
    assert len(ids) == len(offsets) and offsets[0][0] == 0 and offsets[-1][1] == len(text)
    assert tokenizer().decode(tokenizer().encode("a\ud800b")) == "a?b"


def test_save_load_and_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer().save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.hash == tokenizer().hash and again.end == tokenizer().end
    assert Tokenizer.train(count_words(TEXTS), 590).hash != again.hash
    peer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(peer) == 600 and peer.eos_token == "<|endoftext|>"
    for text in (*TEXTS, "  a  1\n\n b", "می‌شود"):
        assert peer.encode(text, add_special_tokens=False) == again.encode(text)
        assert peer.decode(again.encode(text)) == again.decode(again.encode(text)) == text
    with_special = peer.encode("<|user|>\nhi<|end|>\n", add_special_tokens=False)
    assert with_special == again.encode_with_specials("<|user|>\nhi<|end|>\n")[0]
    assert again.decode(with_special, skip_specials=True) == "\nhi\n"


def test_llama_style(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Peer

    ours = llama(tmp_path)
    peer = Peer.from_file(str(tmp_path / "tokenizer.json"))
    peer.no_truncation()
    assert ours.end == 2 and not ours.byte_level
    for text in ("a sol", "sol a b", " a", "سلام 🙂 sole", "", "aaaa bbbb aaaa"):
        ids = ours.encode(text)
        assert ids == peer.encode(text, add_special_tokens=False).ids
        assert ours.decode(ids) == peer.decode(ids) == text
        stream = ours.stream()
        assert "".join(stream.push(i) for i in ids) + stream.flush() == text
    assert 2 not in ours.encode("a</s>") and 2 in ours.encode_with_specials("a</s>")[0]
    ours.save(tmp_path / "copy")
    copy = Tokenizer.load(tmp_path / "copy")
    assert copy.hash == ours.hash and copy.end == 2 and copy.special_text("bos_token") == "<s>"


def gguf_metadata() -> dict[str, object]:
    alphabet = byte_alphabet()
    tokens = ["<|endoftext|>", "<|im_end|>", *alphabet, "Ġt", "he", "Ġthe", "12", "<tool>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": ["Ġ t", "h e", "Ġt he", "1 2"],
        "tokenizer.ggml.token_type": [3, 3, *[1] * (len(tokens) - 3), 4],
        "tokenizer.ggml.eos_token_id": 1,
    }


def test_gguf_splits_digits() -> None:
    ours = Tokenizer.from_gguf(gguf_metadata())
    assert [ours.token_bytes(i) for i in ours.encode("the the 12")] == [
        b"t",
        b"he",
        b" the",
        b" ",
        b"1",
        b"2",
    ]
    assert ours.end == 0 and ours.special("<tool>") == ours.vocab_size - 1
    for odd in (99_999, [1], None, "1"):  # an id of no token names none
        assert Tokenizer.from_gguf(gguf_metadata() | {"tokenizer.ggml.eos_token_id": odd}).end == 0
    assert set(ours.specials) == {"<|endoftext|>", "<|im_end|>"}
    gpt2 = Tokenizer.from_gguf(gguf_metadata() | {"tokenizer.ggml.pre": "gpt-2"})
    assert gpt2.token_bytes(gpt2.encode("12")[0]) == b"12"
    qwen = Tokenizer.from_gguf(gguf_metadata() | {"tokenizer.ggml.pre": "qwen2"})
    assert [qwen.token_bytes(i) for i in qwen.encode("12")] == [b"1", b"2"]
    for text in TEXTS:
        assert ours.decode(ours.encode(text)) == text


GPT2 = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


@FAST
@given(st.text(st.sampled_from("ab'sی \t\n12۳½\u200c.,🙂"), max_size=30))
def test_smollm_splits_as_its_two_rules_say(text: str) -> None:
    """First each digit apart, then GPT-2's words in what lies between."""
    splitter = opened(json_from_gguf(gguf_metadata()), "test").pre_tokenizer
    assert splitter is not None
    of_char = {char: byte for byte, char in enumerate(byte_alphabet())}
    pieces = [bytes(of_char[c] for c in piece) for piece, _ in splitter.pre_tokenize_str(text)]
    parts = [part for part in regex.split(r"(\p{N})", text) if part]
    assert pieces == [word.encode() for part in parts for word in GPT2.findall(part)]


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.model": "bert"},
        {"tokenizer.ggml.pre": "unheard-of"},
        {"tokenizer.ggml.tokens": None},
        {"tokenizer.ggml.tokens": [1, 2]},
        {"tokenizer.ggml.tokens": ["a", "b"]},
        {"tokenizer.ggml.merges": ["abc"]},
        {"tokenizer.ggml.merges": ["zz yy"]},
        {"tokenizer.ggml.token_type": [1]},
        {"tokenizer.ggml.token_type": "3"},
        {"tokenizer.ggml.tokens": "abc"},
    ],
)
def test_bad_gguf(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="hint:"):
        Tokenizer.from_gguf(gguf_metadata() | change)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[1]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"model": {"type": "BPE", "vocab": {"a": 4000000000}, "merges": []}}',
        b'{"version":"1.0","added_tokens":[],"model":{"type":"WordPiece","unk_token":"a","vocab":{"a":0},'
        b'"continuing_subword_prefix":"##","max_input_chars_per_word":9},"decoder":{"type":"WordPiece",'
        b'"prefix":"##","cleanup":true}}',
    ],
)
def test_damaged_files(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(damage)
    with pytest.raises(UserError, match="hint:"):
        Tokenizer.load(tmp_path)


def test_sizes_and_ids_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no"):
        Tokenizer.load(tmp_path)
    with pytest.raises(UserError, match="at least"):
        Tokenizer.train({}, 100)
    for bad in (-1, 600):
        with pytest.raises(UserError, match="outside"):
            tokenizer().token_bytes(bad)
    with pytest.raises(UserError, match="no special token"):
        tokenizer().special("<|nobody|>")
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(UserError, match="at most"):
        Tokenizer.load(tmp_path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_fuzzed_files_load_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    small = Tokenizer.train(count_words(["aa bb"]), 266)
    small.save(folder)
    content = bytearray((folder / "tokenizer.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
    (folder / "tokenizer.json").write_bytes(content)
    try:
        loaded = Tokenizer.load(folder)
        loaded.decode(loaded.encode("aa b é"))
    except UserError as error:
        assert "hint:" in str(error)
