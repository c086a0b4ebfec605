"""The `tokenizer.json` that a `Tokenizer` runs on: made from merges or from GGUF, checked when foreign.

A tokenizer is hostile input: size caps, every number checked, and an error instead of a panic.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

from tokenizers import Tokenizer as Backend

from tuti.run import UserError, read_toml
from tuti.text.bpe import BYTES, Merge
from tuti.text.split import PATTERN

Json = dict[str, Any]
T = TypeVar("T")

END = "<|endoftext|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
SPECIALS = (END, *ROLES, "<|end|>", "<|reserved_0|>", "<|reserved_1|>")

LARGEST_VOCABULARY = 2_000_000
CONTROL, USER_DEFINED = 3, 4  # GGUF's token types

GGUF_SPLITS: dict[str, str] = read_toml(__file__, "gguf_splits.toml")
_BYTE_LEVEL = Path(__file__).with_name("byte_level.json").read_text("utf-8")
"""A `tokenizer.json` without its tokens, merges and pre-tokenizers"""


def byte_alphabet() -> list[str]:
    """GPT-2's printable character for each of the 256 bytes (Radford et al. 2019, released code)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = count(BYTES)
    return [chr(byte if byte in printable else next(others)) for byte in range(BYTES)]


def json_from_merges(merges: Sequence[Merge]) -> Json:
    """Byte-level BPE: ids 0–255 are the bytes, then one id a merge, then `SPECIALS`."""
    alphabet = byte_alphabet()

    def spell(token: bytes) -> str:
        return "".join(alphabet[byte] for byte in token)

    tokens = [spell(bytes([byte])) for byte in range(BYTES)]
    tokens += dict.fromkeys(spell(left + right) for left, right in merges)
    vocab = {token: i for i, token in enumerate([*tokens, *SPECIALS])}
    pairs = [[spell(left), spell(right)] for left, right in merges]
    added = [(vocab[token], token, True) for token in SPECIALS]
    return _byte_level_json(vocab, pairs, added, [_split(PATTERN)])


def json_from_gguf(metadata: Mapping[str, object]) -> Json:
    """The tokenizer that a GGUF file's `tokenizer.ggml.*` metadata describe (byte-level BPE only)."""
    model = str(metadata.get("tokenizer.ggml.model"))[:100]
    pre = str(metadata.get("tokenizer.ggml.pre", "default"))[:100]
    if model != "gpt2" or pre not in GGUF_SPLITS:
        raise UserError(
            f"the GGUF file's tokenizer is {model!r} with pre-tokenizer {pre!r}; read here is 'gpt2' with"
            f" {', '.join(GGUF_SPLITS)}",
            hint="use the model's safetensors folder with its tokenizer.json",
        )
    tokens, kinds = _listed(metadata, "tokens", str), _listed(metadata, "token_type", int)
    merges = [merge.split(" ") for merge in _listed(metadata, "merges", str)]
    if any(len(pair) != 2 for pair in merges) or (kinds and len(kinds) != len(tokens)):
        what = "the GGUF file's merges or token types do not fit its tokens"
        raise UserError(what, hint="fetch the file again")
    told = ((i, kind) for i, kind in enumerate(kinds) if kind in (CONTROL, USER_DEFINED))
    added = [(i, tokens[i], kind == CONTROL) for i, kind in told]
    split = GGUF_SPLITS[pre]
    steps = [_split(split)] if split else []
    if pre == "smollm":
        steps.append({"type": "Digits", "individual_digits": True})
    vocab = {token: i for i, token in enumerate(tokens)}
    return _byte_level_json(vocab, merges, added, steps, use_regex=not split)


def _listed(metadata: Mapping[str, object], key: str, kind: type[T]) -> list[T]:
    found = metadata.get(f"tokenizer.ggml.{key}", [])
    items = cast(list[T], found)
    fine = isinstance(found, list) and len(items) <= LARGEST_VOCABULARY
    if not fine or not all(isinstance(item, kind) for item in items):
        raise UserError(
            f"tokenizer.ggml.{key} must be a list of {kind.__name__}, at most {LARGEST_VOCABULARY:,} of them",
            hint="fetch the GGUF file again",
        )
    return items


def _split(pattern: str) -> Json:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _byte_level_json(
    vocab: dict[str, int], merges: list[list[str]], added: Iterable[tuple[int, str, bool]], steps: list[Json],
    *, use_regex: bool = False,
) -> Json:
    """`added`: the id and text of each added token, and whether it is special; `steps`: before the bytes."""
    content: Json = json.loads(_BYTE_LEVEL)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content["added_tokens"] = [
        {"id": i, "content": token, **flags, "special": special} for i, token, special in added
    ]
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": use_regex}
    content["pre_tokenizer"]["pretokenizers"] = [*steps, to_bytes]
    content["model"] |= {"vocab": vocab, "merges": merges}
    return content


def opened(content: Json, source: str) -> Backend:
    """The library's tokenizer for a `tokenizer.json`; an error naming `source` where it is damaged."""
    try:
        backend = Backend.from_str(json.dumps(content))
        ids = backend.get_vocab(with_added_tokens=True).values()
    except BaseException as error:  # the Rust library's panics are no Exceptions
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            what = f"{source} is damaged or not a tokenizer: {error}"
            raise UserError(what, hint="fetch or make it again") from error
        raise
    if not ids or max(ids) >= LARGEST_VOCABULARY or max(ids) >= 2 * len(ids) + 1024:
        what = f"{source} has {len(ids):,} tokens with ids up to {max(ids, default=0):,}: not a vocabulary"
        raise UserError(what, hint="fetch or make it again")
    return backend
