"""OpenAI's two APIs as JSON: what is accepted, and answers whole and in pieces for a stream; calls of tools.

A call is written as Hermes and Qwen do, one or several at the answer's end:

    <tool_call>
    {"name": "weather", "arguments": {"city": "تهران"}}
    </tool_call>
"""
# ruff: noqa: UP013  # a shape of JSON is one line

import json
import uuid
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal, NotRequired, cast

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from tuti.infer import Finish, Grammar, Sampling, StopText, Token
from tuti.infer.grammar import schema_rule
from tuti.run import UserError
from tuti.run.lineage import Json
from tuti.text import ChatTemplate, Tokenizer

# Given to the engine as they are.
SAMPLED = {
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
}  # fmt: skip

Tokens = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(0), Le(20)]
Ids = Annotated[list[Annotated[int, Ge(0)]], Len(1)]
Stop = Annotated[str, Len(0, 256)]
Name = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]
Schema = TypedDict("Schema", {"schema": Json})  # `strict` makes no difference: it is kept to
Kind = Literal["text", "json_object", "json_schema"]
Format = TypedDict("Format", {"type": Kind, "json_schema": NotRequired[Schema]})
Forms = TypedDict("Forms", {"regex": str})
Forms.__pydantic_config__ = ConfigDict(extra="forbid")  # pyright: ignore[reportAttributeAccessIssue]
Function = TypedDict(
    "Function",
    {"name": Name, "description": NotRequired[str | None], "parameters": NotRequired[Json | None]},
)
Tool = TypedDict("Tool", {"type": Literal["function"], "function": Function})
Only = TypedDict("Only", {"name": Name})
Named = TypedDict("Named", {"type": Literal["function"], "function": Only})
Called = TypedDict("Called", {"name": str, "arguments": str})
Call = TypedDict("Call", {"id": str, "type": Literal["function"], "function": Called})
StreamOptions = TypedDict("StreamOptions", {"include_usage": bool}, total=False)
Part = TypedDict("Part", {"type": Literal["text"], "text": str})  # of a message: only text is understood


class Common(BaseModel):
    """What both styles of request share."""

    model_config = ConfigDict(extra="allow", strict=False)

    model: str
    temperature: Annotated[float, Ge(0), Le(2)] | None = None
    top_p: Annotated[float, Ge(0), Le(1)] | None = None
    top_k: Annotated[int, Ge(0)] = 0
    n: Annotated[int, Ge(1), Le(16)] | None = None
    stop: Stop | Annotated[list[Stop], Len(0, 4)] | None = None
    seed: int | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    min_p: Annotated[float, Ge(0), Le(1)] = 0
    repetition_penalty: Annotated[float, Ge(0.01), Le(100)] = 1
    frequency_penalty: Annotated[float, Ge(-2), Le(2)] | None = None
    presence_penalty: Annotated[float, Ge(-2), Le(2)] | None = None
    response_format: Format | None = None
    structured_outputs: Forms | None = None  # vLLM's
    # What would change the answer and is not done here: refused, unless it asks for nothing.
    logit_bias: Annotated[Json, Len(0, 0)] | None = None
    functions: Annotated[list[Any], Len(0, 0)] | None = None
    suffix: Literal[""] | None = None
    best_of: Literal[1] | None = None
    guided_json: None = None  # vLLM's, once
    guided_regex: None = None
    guided_choice: None = None
    guided_grammar: None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings, empty ones left out."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)

    def grammars(self) -> list[Grammar]:
        """What the answers must be."""
        form = self.response_format or Format(type="text")
        found = [] if (asked := self.structured_outputs) is None else [Grammar.regex(asked["regex"])]
        if form["type"] == "json_schema" and "json_schema" not in form:
            raise UserError("response_format has no json_schema", hint='give {"schema": …}')
        if form["type"] != "text":
            found.append(Grammar.json(form.get("json_schema", {"schema": {"type": "object"}})["schema"]))
        return found

    def sampling(
        self, choice: int, max_tokens: int, logprobs: int | None, grammar: Grammar | None
    ) -> Sampling:
        """The rule of one of the n answers; with a seed, each has its own, made from it."""
        asked = self.model_dump(include=SAMPLED, exclude_none=True)
        seed = None if self.seed is None else self.seed + choice
        return Sampling(
            max_tokens=max_tokens, stop=self.stops, seed=seed, logprobs=logprobs, grammar=grammar, **asked
        )


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[Part] | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None

    def plain(self) -> Json:
        """Role, text and calls (their arguments as objects), as chat templates take them."""
        role = "system" if self.role == "developer" else self.role
        parts = self.content or ""
        text = parts if isinstance(parts, str) else "".join(part["text"] for part in parts)
        plain: Json = {"role": role, "content": text}
        if self.tool_call_id is not None:
            plain["tool_call_id"] = self.tool_call_id
        for call in self.tool_calls or []:
            function = call["function"] | {"arguments": _object(call["function"]["arguments"])}
            plain.setdefault("tool_calls", []).append({**call, "function": function})
        return plain


def _object(text: str) -> Json:
    try:
        return {**json.loads(text)}
    except (ValueError, TypeError, RecursionError) as error:
        hint = "give a JSON object as a string"
        raise UserError(f"a call's arguments are {text[:40]!r}", hint=hint) from error


class ChatRequest(Common):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Len(1)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = False
    top_logprobs: Count | None = None
    tools: Annotated[list[Tool], Len(0, 128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | Named | None = None
    parallel_tool_calls: bool | None = True

    @property
    def usable(self) -> list[Tool]:
        """The tools that the model is told of: none when none may be called."""
        return [] if self.tool_choice == "none" else self.tools or []

    def calls(self) -> list[Grammar]:
        functions, must = [tool["function"] for tool in self.usable], self.tool_choice == "required"
        several = self.parallel_tool_calls is not False
        if self.tool_choice is not None and not isinstance(self.tool_choice, str):
            name = self.tool_choice["function"]["name"]
            functions = [function for function in functions if function["name"] == name]
            must, several = True, False
        if must and not functions:
            raise UserError("tool_choice asks for a tool that is not given", hint="list it in tools")
        return [call_grammar(functions, must=must, several=several)] if functions else []


class TextRequest(Common):
    """POST /v1/completions; prompts are text or token ids, one or several."""

    prompt: str | list[str] | Ids | list[Ids] = Field(default="", union_mode="left_to_right")
    max_tokens: Tokens | None = None
    logprobs: Count | None = None
    echo: bool | None = False

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        given = cast(Any, self.prompt)
        one = isinstance(given, str) or (given and isinstance(given[0], int))
        found = cast(list[str | list[int]], [given] if one else given)
        if not 0 < len(found) <= 64:
            raise UserError(f"{len(found)} prompts in one request", hint="give 1, at most 64")
        return found


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
