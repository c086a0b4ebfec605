"""Answers in the shapes of OpenAI's two APIs: whole, and in pieces for a stream."""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tuti.app.api_tools import OPEN, read_calls
from tuti.infer import Finish, StopText, Token
from tuti.text import Tokenizer

Json = dict[str, Any]


class ChatStyle:
    """/v1/chat/completions; one for each answer, since it waits for calls of tools."""

    prefix, whole, piece = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, tokenizer: Tokenizer, logprobs: bool, ends: Sequence[int], tools: bool) -> None:
        self.tokenizer, self.logprobs, self.ends, self.tools = tokenizer, logprobs, frozenset(ends), tools
        self._said, self._shown = "", ""
        self._held = StopText((OPEN,) if tools else ())  # what may be a call is not shown as text

    def choice(self, text: str, tokens: Sequence[Token], reason: str) -> Json:
        """The assistant's message."""
        content, calls = read_calls(text) if self.tools else (text, [])
        message: Json = {"role": "assistant", "content": content, "refusal": None}
        if calls:
            message |= {"content": content or None, "tool_calls": calls}
        judged = {"message": message, "logprobs": self._judged(tokens)}
        return judged | {"finish_reason": "tool_calls" if calls and reason == "stop" else reason}

    def begin(self) -> Json:
        """The role comes first."""
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def delta(self, text: str, tokens: Sequence[Token]) -> Json:
        """Text that is new."""
        self._said += text
        shown = self._held.push(text)
        self._shown += shown
        return {"delta": {"content": shown} if shown else {}, "logprobs": self._judged(tokens)}

    def last(self, text: str, reason: str) -> Json:
        """The end: what is left of the text, the calls in one piece."""
        self._said += text
        content, calls = read_calls(self._said) if self.tools else (self._said, [])
        delta: Json = {"content": content[len(self._shown) :]} if content != self._shown else {}
        if calls:
            delta["tool_calls"] = [{"index": i, **call} for i, call in enumerate(calls)]
        reason = "tool_calls" if calls and reason == "stop" else reason
        return {"delta": delta, "logprobs": None, "finish_reason": reason}

    def _judged(self, tokens: Sequence[Token]) -> Json | None:
        said = [token for token in tokens if token.id not in self.ends]
        if not self.logprobs or not said:
            return None
        content: list[Json] = []
        for token in said:
            top = [self._one(i, value) for i, value in token.top]
            content.append(self._one(token.id, token.logprob) | {"top_logprobs": top})
        return {"content": content, "refusal": None}

    def _one(self, token_id: int, logprob: float | None) -> Json:
        spelt = self.tokenizer.token_bytes(token_id)
        text = spelt.decode("utf-8", "replace")
        return {"token": text, "logprob": logprob, "bytes": list(spelt)}


class TextStyle:
    """/v1/completions; one for each answer, since it counts characters."""

    prefix, whole, piece = "cmpl", "text_completion", "text_completion"

    def __init__(self, tokenizer: Tokenizer, logprobs: bool) -> None:
        self.tokenizer, self.logprobs = tokenizer, logprobs
        self._offset = 0

    def choice(self, text: str, tokens: Sequence[Token], reason: str | None) -> Json:
        """The text, the prompt in front of it if it was to be echoed."""
        return {"text": text, "logprobs": self._judged(tokens), "finish_reason": reason}

    def begin(self) -> None:
        """Nothing comes before the text."""

    def delta(self, text: str, tokens: Sequence[Token]) -> Json:
        """Text that is new."""
        return self.choice(text, tokens, None)

    def last(self, text: str, reason: str) -> Json:
        """The end, with what is left of the text."""
        return self.choice(text, [], reason)

    def _judged(self, tokens: Sequence[Token]) -> Json | None:
        if not self.logprobs or not tokens:
            return None
        texts: list[str] = []
        tops: list[dict[str, float] | None] = []
        offsets: list[int] = []
        for token in tokens:
            texts.append(self._spelt(token.id))
            offsets.append(self._offset)
            self._offset += len(texts[-1])
            if token.logprob is None:
                tops.append(None)
                continue
            top = {self._spelt(i): value for i, value in reversed(token.top)}
            tops.append(top | {texts[-1]: token.logprob})
        return {
            "tokens": texts,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": tops,
            "text_offset": offsets,
        }

    def _spelt(self, token_id: int) -> str:
        """The token's text; half a character is spelt as its bytes."""
        spelt = self.tokenizer.token_bytes(token_id)
        try:
            return spelt.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelt)


Style = ChatStyle | TextStyle
"""One API's shapes: `choice` of a whole response; `begin` (before any text), `delta`, `last` of a stream"""


class Envelope:
    """What surrounds all pieces of one response."""

    def __init__(self, style: Style, model: str) -> None:
        self.style = style
        self._head = {
            "id": f"{style.prefix}-{uuid.uuid4().hex[:24]}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, choices: Sequence[Json], usage: Json) -> Json:
        """A response that does not stream."""
        return self._head | {"object": self.style.whole, "choices": choices, "usage": usage}

    def piece(self, index: int, fields: Mapping[str, Any]) -> Json:
        """A chunk of a stream."""
        choice = {"index": index, "finish_reason": None, **fields}
        return self._head | {"object": self.style.piece, "choices": [choice]}

    def last(self, usage: Json) -> Json:
        """The chunk with the usage, after all choices."""
        return self._head | {"object": self.style.piece, "choices": [], "usage": usage}


def usage(prompt_tokens: int, finishes: Sequence[Finish]) -> Json:
    """Tokens read and made."""
    made = sum(finish.tokens for finish in finishes)
    return {"prompt_tokens": prompt_tokens, "completion_tokens": made, "total_tokens": prompt_tokens + made}
