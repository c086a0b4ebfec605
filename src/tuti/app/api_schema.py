"""What the OpenAI-compatible routes accept, and what of it reaches the engine."""
# ruff: noqa: UP013  # a shape of JSON is one line

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, cast

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from tuti.app.api_format import call_grammar
from tuti.infer import Grammar, Sampling
from tuti.run import UserError
from tuti.run.lineage import Json

MOST_PROMPTS = 64
MOST_STOPS = 4
CHARACTERS_A_STOP = 256

# Given to the engine as they are.
SAMPLED = {
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
}  # fmt: skip
# What would change the answer and is not done here: refused, unless it asks for nothing.
WITHOUT: dict[str, tuple[object, ...]] = {
    "logit_bias": ({},),
    "functions": ([],),
    **dict.fromkeys(("guided_json", "guided_regex", "guided_choice", "guided_grammar"), ()),  # vLLM's, once
    "suffix": ("",),
    "best_of": (1,),
}

Tokens = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(0), Le(20)]
Ids = Annotated[list[Annotated[int, Ge(0)]], Len(1)]
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
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    min_p: Annotated[float, Ge(0), Le(1)] = 0
    repetition_penalty: Annotated[float, Ge(0.01), Le(100)] = 1
    frequency_penalty: Annotated[float, Ge(-2), Le(2)] | None = None
    presence_penalty: Annotated[float, Ge(-2), Le(2)] | None = None
    response_format: Format | None = None
    structured_outputs: Forms | None = None  # vLLM's

    @model_validator(mode="after")
    def check_extras(self) -> "Common":
        """Refuses what is asked for and would not be done."""
        for name, value in (self.model_extra or {}).items():
            if value is not None and value not in WITHOUT.get(name, (value,)):
                raise ValueError(f"{name} is not supported by this server; leave it out")
        if len(self.stops) > MOST_STOPS:
            raise ValueError(f"stop has {len(self.stops)} strings; {MOST_STOPS} are the most")
        if any(len(text) > CHARACTERS_A_STOP for text in self.stops):
            raise ValueError(f"a stop string has more than {CHARACTERS_A_STOP} characters")
        return self

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
        """How tools are called."""
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

    prompt: str | Annotated[list[str], Len(1)] | Ids | Annotated[list[Ids], Len(1)] = Field(
        default="", union_mode="left_to_right"
    )
    max_tokens: Tokens | None = None
    logprobs: Count | None = None
    echo: bool | None = False

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        """The prompts, one each."""
        given = cast(Any, self.prompt)
        many = isinstance(given, list) and not isinstance(self.prompt[0], int)
        prompts = cast(list[str | list[int]], given if many else [given])
        if not 0 < len(prompts) <= MOST_PROMPTS:
            raise UserError(f"{len(prompts)} prompts in one request", hint=f"send 1 to {MOST_PROMPTS}")
        return prompts
