"""What is asked of the engine, what it says, and the ticket between the two."""

import asyncio
import queue
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tuti.infer.generate import Token
from tuti.infer.grammar import Constraint
from tuti.infer.sampling import Sampling
from tuti.infer.stops import StopText
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
class Finish:
    """The end of an answer, with the last of its text; `stop` names the stop string that was met."""

    reason: Literal["stop", "length", "error"]
    text: str = ""
    stop: str | None = None
    tokens: int = 0


Event = Token | Finish


class Busy(Exception):
    """The queue is full; worth trying again after so many seconds."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"the queue is full; try again in {seconds} s")
        self.seconds = seconds


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
    busy_seconds: float = 0.0


Inbox = asyncio.Queue[tuple["Ticket", Event]]


class Ticket:
    """A request in the engine. Its events come by `events` (asyncio) or by `wait` (a thread)."""

    def __init__(self, request: Request, tokenizer: Tokenizer, inbox: Inbox | None) -> None:
        self.request = request
        self.ids = list(request.prompt)
        self.read = 0  # ids whose keys and values are in the cache
        self.made = 0
        self.guessed: Sequence[int] = []  # how it may go on, for the next pass to judge
        self.place = WHOLE  # inside which character the answer stands
        self.turn = 0  # the step at which its prompt was last read on
        self.number = 0  # in the order of arrival
        self.cancelled = self.done = False
        self.source = request.sampling.random()
        grammar = request.sampling.grammar
        self.constraint = None if grammar is None else Constraint(grammar, tokenizer, request.ends)
        self.stream = tokenizer.stream(skip_specials=True)
        self.stops = StopText(request.sampling.stop)
        try:
            self.loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self.loop = None
        self.inbox: Inbox = asyncio.Queue() if inbox is None else inbox
        self.outbox: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def goes_on(self, token_id: int) -> Literal["", "stop", "error"]:
        """Tells the grammar, if there is one; why the answer is over, if it is."""
        if self.constraint is None:
            return ""
        self.constraint.push(token_id)
        return self.constraint.over

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
