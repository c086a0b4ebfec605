"""An answer that is a sentence of a grammar: a JSON schema, a regular expression, Lark.

`llguidance` walks the vocabulary's bytes with the grammar and says which tokens may come next. A draw
is then one from the model's own distribution, given that the token is possible: not the distribution
of the whole answers that the grammar allows, which would need to look ahead.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper, regex_to_lark
from torch import Tensor

from tuti.run import UserError
from tuti.text import Tokenizer

LARGEST = 64 * 1024  # characters of a grammar: a second or two to compile at the worst
# A model without conviction would go on with white space for ever where any is allowed.
JSON_OPTIONS: Any = {"whitespace_flexible": True, "whitespace_pattern": "[ \\n\\t]{0,16}"}


@dataclass(frozen=True)
class Grammar:
    """A grammar as `llguidance` reads it; whether it makes sense is found when it meets a tokenizer."""

    source: str

    @classmethod
    def json(cls, schema: Mapping[str, Any]) -> Grammar:
        """JSON that meets a schema, with at most 16 characters of white space where any may be."""
        return cls.lark(f"start: {schema_rule(schema)}")

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """The whole answer matches; Rust's syntax, without looking around."""
        whole = pattern.encode("utf-8", "replace").decode()  # half a surrogate pair is no character
        return cls.lark(f"start: /{regex_to_lark(whole, '')}/")

    @classmethod
    def lark(cls, text: str) -> Grammar:
        """A context-free grammar in llguidance's dialect of Lark; its rule `start` is the answer."""
        # Without this, bytes that the grammar forces would come in one spelling, whatever the model thinks.
        return cls('%llguidance {"no_forcing": true}\n' + text)


class Constraint:
    """One answer's way through a grammar; UserError when that is no grammar, too large, or allows no text."""

    def __init__(self, grammar: Grammar, tokenizer: Tokenizer, ends: Sequence[int]) -> None:
        """`ends`: ids that end an answer; they may come where the grammar may stop."""
        self._matcher = compiled(grammar, tokenizer).deep_copy()
        self._ends, self._end, self._vocab = list(ends), tokenizer.end, tokenizer.vocab_size
        self._bits = np.zeros((self._vocab + 31) // 32, np.int32)
        self._look()
        if self.over:
            raise _unusable(f"it allows no text, or the empty one alone. {self._matcher.get_error()}")

    def push(self, token_id: int) -> None:
        """The token that was drawn, unless it ended the answer."""
        self._matcher.consume_token(token_id)
        self._look()
        if self.over == "error":
            print(f"an answer's grammar cannot go on: {self._matcher.get_error()}", file=sys.stderr)

    def _look(self) -> None:
        """Finds what may follow; `over` says why nothing may."""
        matcher = self._matcher
        if not matcher.is_stopped():
            matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._vocab]
        allowed[[self._end, *self._ends]] = 0
        self.over: Literal["", "stop", "error"] = ""
        if matcher.is_stopped() or not allowed.any():
            self.over = "stop" if matcher.is_accepting() else "error"
        allowed[self._ends] = matcher.is_accepting()
        self.banned = torch.from_numpy(allowed == 0)


def constrain(logits: Float[Tensor, "batch vocab"], rules: Sequence[Constraint | None]) -> None:
    """−∞, in place, for what a row's grammar does not allow next."""
    for row, rule in zip(logits, rules, strict=True):
        if rule is not None:
            row[: len(rule.banned)].masked_fill_(rule.banned[: len(row)], -torch.inf)


@lru_cache(maxsize=64)
def compiled(grammar: Grammar, tokenizer: Tokenizer) -> LLMatcher:
    """A matcher at the grammar's start, to be copied for each answer; up to seconds for the worst."""
    if len(grammar.source) > LARGEST:
        raise _unusable(f"it has {len(grammar.source):,} characters; {LARGEST:,} are the most")
    limits = LLParserLimits(verbose_errors=False)  # all else as llguidance bounds it
    matcher = LLMatcher(_bridge(tokenizer), grammar.source, log_level=0, limits=limits)
    if matcher.is_error():
        raise _unusable(matcher.get_error())
    return matcher


def schema_rule(schema: Mapping[str, Any]) -> str:
    """A JSON schema as a Lark expression."""
    try:
        return f"%json {json.dumps({**schema, 'x-guidance': JSON_OPTIONS})}"
    except RecursionError as error:
        raise _unusable("it is nested too deeply") from error


class _Vocabulary:
    """What llguidance asks of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.bos_token_id, self.eos_token_id, self._encode = None, tokenizer.end, tokenizer.encode
        self.tokens = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted({tokenizer.end, *tokenizer.specials.values()})

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


@lru_cache(maxsize=8)
def _bridge(tokenizer: Tokenizer) -> LLTokenizer:
    """A trie of the tokens; a second for 150,000."""
    return LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer)))


def _unusable(why: str) -> UserError:
    hint = "llguidance's documentation says what its JSON schemas, regular expressions and grammars may hold"
    why = why.replace("<non-verbose/>", "").strip()[:500]
    return UserError(f"this grammar cannot be used: {why}", hint=hint)
