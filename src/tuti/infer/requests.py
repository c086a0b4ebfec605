"""What is asked of a model, what it says, and the answer between the two."""

import asyncio
import queue
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import regex
from torch import Tensor

from tuti.infer.grammar import Constraint
from tuti.infer.sampling import Sampling
from tuti.text import Tokenizer
from tuti.text.utf8 import WHOLE


@dataclass(frozen=True)
class Request:
    """One answer to make; `score` also reports the prompt's own log-probabilities."""

    prompt: Sequence[int]
    sampling: Sampling
    ends: Sequence[int] = ()
    score: bool = False


@dataclass(frozen=True)
class Token:
    """A step of an answer: the id, the text it completes (may be empty), what the model thought of it."""

    id: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Finish:
    """The end of an answer, with the last of its text; `stop` names the stop string that was met."""

    reason: Literal["stop", "length", "error"]
    text: str = ""
    stop: str | None = None
    tokens: int = 0


Event = Token | Finish


def judged(token_id: int, text: str, logprobs: Tensor, alternatives: int) -> Token:
    """The token with what the model thought of it and of so many others, the best first."""
    values, ids = logprobs.topk(min(alternatives, len(logprobs)))
    top = tuple((int(i), float(v)) for i, v in zip(ids, values, strict=True))
    return Token(token_id, text, float(logprobs[token_id]), top)


class Busy(Exception):
    """The queue is full; worth trying again in a second."""


@dataclass
class Counters:
    """What /metrics reports; the first two are levels, the others only grow.

    `prompt_tokens` were read, `cached_tokens` of prompts were found and not read; `preempted` answers
    went back into the queue for want of memory. Of `guessed_tokens`, `right_guesses` were drawn.
    """

    running: int = 0
    waiting: int = 0
    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    rejected: int = 0
    failed: int = 0
    preempted: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    guessed_tokens: int = 0
    right_guesses: int = 0
    steps: int = 0


Inbox = asyncio.Queue[tuple["Ticket", Event]]


class StopText:
    """Text pushed in pieces comes out up to the first stop string; `found` says which it was.

    Held back is only the longest end of the text so far that could begin a stop string: no part of one is
    ever given out.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.found: str | None = None
        self._stops = regex.compile("|".join(map(regex.escape, sorted(stops))) or "(?!)")
        self._held = ""

    def push(self, text: str) -> str:
        """What may be given out now."""
        if self.found is not None:
            return ""
        text = self._held + text
        met = self._stops.search(text, partial=True)  # a whole one, else an end that may become one
        place = len(text) if met is None else met.start()
        if met is not None and not met.partial:
            self.found, text = met[0], text[:place]
        self._held = text[place:]
        return text[:place]

    def flush(self) -> str:
        """What was held back, at the end of a text that met no stop string."""
        held, self._held = self._held, ""
        return held


class Ticket:
    """An answer under way. In an engine its events come by `events` (asyncio) or by `wait` (a thread)."""

    def __init__(self, request: Request, tokenizer: Tokenizer, most: int, inbox: Inbox | None = None) -> None:
        """`most`: tokens that it may have."""
        self.request, self.most = request, most
        self.ids = list(request.prompt)
        self.read = 0  # ids whose keys and values are in the cache
        self.made = 0
        self.finish: Finish | None = None
        self.guessed: Sequence[int] = []  # how it may go on, for the next pass to judge
        self.place = WHOLE  # inside which character the answer stands
        self.turn = 0  # the step at which its prompt was last read on
        self.number = 0  # in the order of arrival
        self.cancelled = False
        self.source = request.sampling.random()
        grammar = request.sampling.grammar
        self.constraint = None if grammar is None else Constraint(grammar, tokenizer, request.ends)
        self.stream, self._after = tokenizer.stream(skip_specials=True), tokenizer.utf8.after
        self.stops = StopText(request.sampling.stop)
        try:
            self.loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self.loop = None
        self.inbox: Inbox = asyncio.Queue() if inbox is None else inbox
        self.outbox: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def say(self, token_id: int, logits: Tensor) -> Token:
        """Adds a token that was drawn of these logits; `finish` tells why the answer is over, if it is."""
        ended, over = token_id in self.request.ends, ""
        text = "" if ended else self.stops.push(self.stream.push(token_id))
        self.ids.append(token_id)
        self.made += 1
        self.place = int(self._after[self.place, token_id])
        if self.constraint is not None and not ended:
            self.constraint.push(token_id)
            over = self.constraint.over
        if self.stops.found is not None:
            self.finish = Finish("stop", stop=self.stops.found, tokens=self.made)
        elif ended or over or self.made >= self.most:
            self.finish = Finish(over or ("stop" if ended else "length"), self.stops.flush(), None, self.made)
        if (count := self.request.sampling.logprobs) is None:
            return Token(token_id, text)
        return judged(token_id, text, logits.log_softmax(-1), count)

    async def events(self) -> AsyncGenerator[Event]:
        """Tokens, then a `Finish`; leaving early cancels."""
        try:
            while True:
                _, event = await self.inbox.get()
                yield event
                if isinstance(event, Finish):
                    return
        finally:
            self.cancel()

    def wait(self) -> Iterator[Event]:
        """The same for a thread without an event loop."""
        while True:
            event = self.outbox.get()
            yield event
            if isinstance(event, Finish):
                return

    def cancel(self) -> None:
        """Gives the slot back at the next step."""
        self.cancelled = True
