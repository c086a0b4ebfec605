"""Text to token ids and back, over the `tokenizers` library: our own, SmolLM2's, Llama's."""

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from tuti.run import UserError, atomic_write, hash_text, read_json
from tuti.text.backend import END, SPECIALS, Json, byte_alphabet, json_from_gguf, json_from_merges, opened
from tuti.text.bpe import BYTES, Merge, train_bpe
from tuti.text.utf8 import Utf8

FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
CONFIG_KEYS = ("bos_token", "eos_token", "pad_token", "unk_token")
BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")
DECODERS = ("ByteLevel", "ByteFallback", "Metaspace")


class Tokenizer:
    """One vocabulary: `encode`, `decode`, `stream`, exact bytes of each token, `save`.

    `encode` is for text by people: what looks like a special token in it is text, never the token's id.
    Chat templates alone write special tokens (`encode_with_specials`). Safe to use from several threads.
    """

    def __init__(self, content: Json, config: Mapping[str, Any], source: str = FILE) -> None:
        content = {**content, "truncation": None, "padding": None}  # never cut a text silently
        self._content, self._config = content, dict(config)
        self._plain = opened(content, source)
        self._plain.encode_special_tokens = True
        self._control = opened(content, source)
        added = self._plain.get_added_tokens_decoder()
        self.specials: dict[str, int] = {t.content: i for i, t in added.items() if t.special}
        self.added: dict[str, int] = {t.content: i for i, t in added.items()}
        self.byte_level, self._strips = _decoding(content, source)
        self._bytes = self._token_table()
        self.vocab_size = len(self._bytes)
        self.hash = hash_text(json.dumps(content, sort_keys=True, ensure_ascii=True))
        self.end = self._end()

    @classmethod
    def from_merges(cls, merges: Sequence[Merge]) -> "Tokenizer":
        """Our byte-level tokenizer: 256 bytes, one token a merge, then the special tokens."""
        special = {"bos_token": END, "eos_token": END, "pad_token": END}
        return cls(json_from_merges(merges), special)

    @classmethod
    def train(cls, counts: Mapping[str, int], vocab_size: int) -> "Tokenizer":
        """BPE on a word-count table; `vocab_size` has the bytes and special tokens in it."""
        least = BYTES + len(SPECIALS)
        if vocab_size < least:
            what = f"a vocabulary of {vocab_size} cannot hold {BYTES} bytes, {len(SPECIALS)} special tokens"
            raise UserError(what, hint=f"ask for at least {least}")
        return cls.from_merges(train_bpe(counts, vocab_size - len(SPECIALS)))

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, object]) -> "Tokenizer":
        """The tokenizer in a GGUF file's metadata."""
        content = json_from_gguf(metadata)
        names = {token["id"]: token["content"] for token in content["added_tokens"]}
        keys = zip(CONFIG_KEYS, ("bos", "eos", "padding", "unknown"), strict=True)
        ids = {key: metadata.get(f"tokenizer.ggml.{name}_token_id") for key, name in keys}
        config = {key: names[i] for key, i in ids.items() if isinstance(i, int) and i in names}
        return cls(content, config, "the GGUF file's tokenizer")

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """From a folder with `tokenizer.json` and, where there is one, `tokenizer_config.json`."""
        path = Path(folder)
        content = read_json(path / FILE)
        config = read_json(path / CONFIG_FILE) if (path / CONFIG_FILE).exists() else {}
        return cls(content, config, str(path / FILE))

    def save(self, folder: str | Path) -> None:
        """Writes `tokenizer.json` and `tokenizer_config.json`, as `transformers` reads them."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        config: Json = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        config |= {key: text for key in CONFIG_KEYS if (text := self.special_text(key))}
        atomic_write(path / FILE, json.dumps(self._content, ensure_ascii=False) + "\n")
        atomic_write(path / CONFIG_FILE, json.dumps(config, ensure_ascii=False, indent=2) + "\n")

    def encode(self, text: str) -> list[int]:
        """The ids of a text, nothing added, special tokens' names read as text."""
        return self._plain.encode(_utf8(text), add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on several threads."""
        found = self._plain.encode_batch_fast([_utf8(text) for text in texts], add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def encode_with_specials(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The ids and, for each, the [start, end) of its characters; several tokens may share one.

        Names of special tokens become the tokens: for templates only.
        """
        found = self._control.encode(_utf8(text), add_special_tokens=False)
        return found.ids, found.offsets

    def decode(self, ids: Sequence[int], *, skip_specials: bool = False) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD; special tokens as their names."""
        stream = self.stream(skip_specials=skip_specials)
        return stream.push(*ids) + stream.flush()

    def stream(self, *, skip_specials: bool = False) -> "Stream":
        """An incremental decoder for one answer."""
        skipped = frozenset(self.specials.values()) if skip_specials else frozenset[int]()
        return Stream(self, skipped, self._strips)

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes that a token stands for (a special token: its name)."""
        if not 0 <= token_id < len(self._bytes):
            what = f"token id {token_id} is outside this vocabulary of {self.vocab_size:,}"
            raise UserError(what, hint="is this the model's own tokenizer?")
        return self._bytes[token_id]

    @cached_property
    def utf8(self) -> Utf8:
        """Which tokens keep an answer valid UTF-8."""
        return Utf8(self._bytes, frozenset(self.specials.values()))

    def special(self, name: str) -> int:
        """The id of a special token."""
        if name not in self.added:
            what = f"the tokenizer has no special token {name!r}"
            raise UserError(what, hint=f"it has {', '.join(list(self.added)[:12]) or 'none'}")
        return self.added[name]

    def special_text(self, key: str) -> str | None:
        """The text of `bos_token`, `eos_token`, `pad_token` or `unk_token`, where it has one."""
        found: object = self._config.get(key)
        if isinstance(found, dict):  # older files keep the whole added token
            found = cast(dict[str, object], found).get("content")
        return found if isinstance(found, str) else None

    def _end(self) -> int:
        vocab = self._plain.get_vocab(with_added_tokens=True)
        for name in (END, self.special_text("eos_token"), "</s>", "<|end_of_text|>"):
            if name is not None and name in vocab:
                return vocab[name]
        what = f"the tokenizer has no {END}, eos_token or </s> to end a text with"
        raise UserError(what, hint=f"name its eos_token in {CONFIG_FILE}")

    def _token_table(self) -> list[bytes]:
        vocab = self._plain.get_vocab(with_added_tokens=True)
        table = [b""] * (max(vocab.values()) + 1)
        of_char = {char: byte for byte, char in enumerate(byte_alphabet())}
        for token, i in vocab.items():
            if token in self.added:
                table[i] = token.encode()
            elif self.byte_level:
                known = all(char in of_char for char in token)
                table[i] = bytes(of_char[char] for char in token) if known else token.encode()
            elif BYTE_TOKEN.fullmatch(token):
                table[i] = bytes([int(token[3:5], 16)])
            else:
                table[i] = token.replace("▁", " ").encode()
        return table


class Stream:
    """Incremental decoding: text leaves as soon as its last byte is there, never half a character."""

    def __init__(self, tokenizer: Tokenizer, skipped: frozenset[int], strips: bool) -> None:
        self._tokenizer, self._skipped, self._strips = tokenizer, skipped, strips
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, *ids: int) -> str:
        """The text that these tokens complete; may be empty."""
        table = self._tokenizer.token_bytes
        return self._begin(self._decoder.decode(b"".join(table(i) for i in ids if i not in self._skipped)))

    def flush(self) -> str:
        """What an unfinished character leaves: U+FFFD or nothing. The stream may be used again."""
        rest = self._begin(self._decoder.decode(b"", final=True))
        self._decoder.reset()
        return rest

    def _begin(self, text: str) -> str:
        if self._strips and text:  # SentencePiece puts one space before the first word
            self._strips = False
            return text.removeprefix(" ")
        return text


def _utf8(text: str) -> str:
    # A lone surrogate has no UTF-8; from JSON it gets into texts all the same.
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _decoding(content: Json, source: str) -> tuple[bool, bool]:
    """Whether tokens spell bytes as GPT-2 does, and whether a leading space is dropped when decoding."""
    decoder: Json = content.get("decoder") or {}
    steps: list[Json] = decoder["decoders"] if decoder.get("type") == "Sequence" else [decoder]
    types = [step["type"] for step in steps if step]
    if not any(kind in types for kind in DECODERS):
        what = f"{source} has the decoder {types or 'none'}; known are {', '.join(DECODERS)}"
        hint = "use a byte-level or SentencePiece tokenizer (GPT-2, Llama, SmolLM2, Qwen)"
        raise UserError(what, hint)
    strips = any(
        (step["type"] == "Strip" and step.get("content") == " " and step.get("start") == 1)
        or (step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never")
        for step in steps
    )
    return "ByteLevel" in types, strips
