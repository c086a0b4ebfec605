"""What the OpenAI-compatible routes accept, and what of it reaches the engine."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tuti.infer import Sampling
from tuti.run import UserError

MOST_CHOICES = 16
MOST_PROMPTS = 64
MOST_STOPS = 4
CHARACTERS_A_STOP = 256

# What would change the answer and is not done here: refused, unless it asks for nothing.
WITHOUT: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "best_of": (1,),
}

Choices = Annotated[int, Ge(1), Le(MOST_CHOICES)]
Tokens = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(0), Le(20)]
Ids = Annotated[list[Annotated[int, Ge(0)]], Len(1)]


class StreamOptions(BaseModel):
    """Extras of a stream."""

    include_usage: bool = False


class Common(BaseModel):
    """What both styles of request share."""

    model_config = ConfigDict(extra="allow", strict=False)

    model: str
    temperature: Annotated[float, Ge(0), Le(2)] | None = None
    top_p: Annotated[float, Ge(0), Le(1)] | None = None
    top_k: Annotated[int, Ge(0)] = 0
    n: Choices | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def check_extras(self) -> "Common":
        """Refuses what is asked for and would not be done."""
        for name, neutral in WITHOUT.items():
            value = (self.model_extra or {}).get(name)
            if value is not None and value not in neutral:
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

    @property
    def choices(self) -> int:
        """How many answers to each prompt."""
        return self.n or 1

    def sampling(self, choice: int, max_tokens: int, logprobs: int | None) -> Sampling:
        """The rule of one of the n answers; with a seed, each has its own, made from it."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k,
            max_tokens=max_tokens,
            stop=self.stops,
            seed=None if self.seed is None else self.seed + choice,
            logprobs=logprobs,
        )


class Part(BaseModel):
    """A piece of a message; only text is understood."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[Part] | None = None

    def plain(self) -> dict[str, str]:
        """Role and text, as the chat template takes them."""
        role = "system" if self.role == "developer" else self.role
        parts = self.content or ""
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        return {"role": role, "content": text}


class ChatRequest(Common):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Len(1)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = False
    top_logprobs: Count | None = None

    @property
    def alternatives(self) -> int | None:
        """How many alternatives to report beside each token; None: no log-probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def most(self, room: int) -> int:
        """Tokens of an answer: by default all that the context has room for."""
        given = self.max_completion_tokens
        given = self.max_tokens if given is None else given
        return room if given is None else given


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

    @property
    def most(self) -> int:
        """Tokens of an answer; OpenAI's default is 16."""
        return 16 if self.max_tokens is None else self.max_tokens
