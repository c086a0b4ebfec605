"""Answers in the shapes of OpenAI's two APIs: whole, and in pieces for a stream; and calls of tools in them.

A call is written as Hermes and Qwen do, one or several at the answer's end:

    <tool_call>
    {"name": "weather", "arguments": {"city": "تهران"}}
    </tool_call>
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from tuti.infer import Finish, Grammar, StopText, Token
from tuti.infer.grammar import schema_rule
from tuti.run.lineage import Json
from tuti.text import ChatTemplate, Tokenizer

OPEN, CLOSE = "<tool_call>", "</tool_call>"
TOLD = f"""You may call tools. These are they, one JSON object a line:
%s
To call one, write {OPEN}, a line {{"name": its name, "arguments": an object}}, and {CLOSE}."""


def call_grammar(functions: Sequence[Mapping[str, Any]], *, must: bool, several: bool) -> Grammar:
    """Calls of these functions, their arguments by the functions' schemas; unless they `must`, or any text.

    In a text the opening mark alone begins a call, and from there on the grammar holds.
    """
    more = f'(/\\s{{0,2}}/ "{OPEN}" call)*' if several else ""
    start = f'start: "{OPEN}" call {more}'
    if not must:
        start = f'start: TEXT | lead call {more}\nlead[lazy]: TEXT "{OPEN}"\nTEXT: /(.|\\n)*/'
    rules = [start, 'call: "\\n" (' + " | ".join(f"f{i}" for i in range(len(functions))) + f') "\\n{CLOSE}"']
    for i, function in enumerate(functions):
        schema = schema_rule({"type": "object", **(function.get("parameters") or {})})
        head = json.dumps(f'{{"name": "{function["name"]}", "arguments": ')
        rules.append(f'f{i}: {head} a{i} "}}"\na{i}: {schema}')
    return Grammar.lark("\n".join(rules))


def read_calls(text: str) -> tuple[str, list[Json]]:
    """What was said before the calls, and the calls as OpenAI's API gives them; none if one is cut off."""
    before, _, rest = text.partition(OPEN)
    calls: list[Json] = []
    while rest:
        rest = rest.lstrip()
        try:
            call, end = json.JSONDecoder().raw_decode(rest)
            function = {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)}
        except (ValueError, KeyError, TypeError, RecursionError):
            return text, []
        rest, closed, after = rest[end:].lstrip().partition(CLOSE)
        following, _, rest = (rest + after).lstrip().partition(OPEN)
        if not closed or following:
            return text, []
        calls.append({"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function})
    return (before, calls) if calls else (text, [])


def told(messages: Sequence[Json], tools: Sequence[Any], template: ChatTemplate) -> list[Json]:
    """The messages with all about tools in their text, for a template that knows nothing of tools."""
    found = list(messages)
    if "tools" in template.source:
        return found
    for i, message in enumerate(messages):
        texts = [message["content"]] if message["content"] else []
        for call in message.get("tool_calls", []):
            function = {key: call["function"][key] for key in ("name", "arguments")}
            texts.append(f"{OPEN}\n{json.dumps(function, ensure_ascii=False)}\n{CLOSE}")
        found[i] = {"role": message["role"], "content": "\n".join(texts)}
    if tools:
        before = found.pop(0)["content"] + "\n\n" if found[0]["role"] == "system" else ""
        text = TOLD % "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
        found.insert(0, {"role": "system", "content": before + text})
    return found


class ChatStyle:
    """/v1/chat/completions; one for each answer, since it waits for calls of tools."""

    prefix, name, name_of_piece = "chatcmpl", "chat.completion", "chat.completion.chunk"
    first: Json | None = {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def __init__(self, tokenizer: Tokenizer, logprobs: bool, ends: Sequence[int], tools: bool) -> None:
        self.tokenizer, self.logprobs, self.ends, self.tools = tokenizer, logprobs, frozenset(ends), tools
        self._said, self._shown = "", ""
        self._held = StopText((OPEN,) if tools else ())  # what may be a call is not shown as text

    def whole(self, text: str, tokens: Sequence[Token], reason: str) -> Json:
        """The assistant's message."""
        content, calls = read_calls(text) if self.tools else (text, [])
        message: Json = {"role": "assistant", "content": content, "refusal": None}
        if calls:
            message |= {"content": content or None, "tool_calls": calls}
        judged = {"message": message, "logprobs": self._judged(tokens)}
        return judged | {"finish_reason": "tool_calls" if calls and reason == "stop" else reason}

    def piece(self, text: str, tokens: Sequence[Token], reason: str | None) -> Json:
        """Text that is new; at the end, for some reason, what is left of it, and the calls in one piece."""
        self._said += text
        if reason is None:
            shown = self._held.push(text)
            self._shown += shown
            return {"delta": {"content": shown} if shown else {}, "logprobs": self._judged(tokens)}
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
        content = [
            self._one(token.id, token.logprob) | {"top_logprobs": [self._one(*other) for other in token.top]}
            for token in said
        ]
        return {"content": content, "refusal": None}

    def _one(self, token_id: int, logprob: float | None) -> Json:
        spelt = self.tokenizer.token_bytes(token_id)
        return {"token": spelt.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(spelt)}


class TextStyle:
    """/v1/completions; one for each answer, since it counts characters."""

    prefix, name, name_of_piece = "cmpl", "text_completion", "text_completion"

    def __init__(self, tokenizer: Tokenizer, logprobs: bool, echo: str = "") -> None:
        """`echo`: the prompt, if it is to stand in front of the text."""
        self.tokenizer, self.logprobs, self.echo = tokenizer, logprobs, echo
        self._offset = 0
        self.first = self.piece(echo, [], None) if echo else None

    def whole(self, text: str, tokens: Sequence[Token], reason: str) -> Json:
        return self.piece(self.echo + text, tokens, reason)

    def piece(self, text: str, tokens: Sequence[Token], reason: str | None) -> Json:
        return {"text": text, "logprobs": self._judged(tokens), "finish_reason": reason}

    def _judged(self, tokens: Sequence[Token]) -> Json | None:
        if not self.logprobs or not tokens:
            return None
        texts = [self._spelt(token.id) for token in tokens]
        *offsets, self._offset = accumulate(map(len, texts), initial=self._offset)
        tops = [
            None if token.logprob is None
            else {self._spelt(i): value for i, value in reversed(token.top)} | {text: token.logprob}
            for token, text in zip(tokens, texts, strict=True)
        ]  # fmt: skip
        logprobs = [token.logprob for token in tokens]
        return {"tokens": texts, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets}

    def _spelt(self, token_id: int) -> str:
        """The token's text; half a character is spelt as its bytes."""
        spelt = self.tokenizer.token_bytes(token_id)
        try:
            return spelt.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelt)


Style = ChatStyle | TextStyle
"""One API's shapes: a `whole` response's answer; `first` (before any text) and each `piece` of a stream"""


def usage(prompt_tokens: int, finishes: Sequence[Finish]) -> Json:
    """Tokens read and made."""
    made = sum(finish.tokens for finish in finishes)
    return {"prompt_tokens": prompt_tokens, "completion_tokens": made, "total_tokens": prompt_tokens + made}
