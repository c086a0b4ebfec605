"""Continuous batching (Yu et al. 2022, "Orca"): answers join and leave the batch at every step.

One thread owns the model. A step makes one token for every answer under way and, in the same pass
over the weights, reads a chunk of waiting prompts (of one that is long, or some that are short), so
that a long prompt delays the others by that and no more. Prompts take turns, the least recently
served first.

Memory is limited (slots.py). A request enters when there is room for what it says; when answers have grown
beyond the limit, the youngest goes back into the queue and is later read again. A prompt is read from where
it departs from what was read before.

What one request gets does not depend on its company, nor on what was read before: its draws come from
its own source, and on a CPU a token gets the same bits in any batch, after any beginning and behind any
guesses (nn/step.py). On a GPU they may be rounded otherwise: there texts are equal unless two tokens are as
good as equal. Guesses (speculative.py) are judged while few answers are under way: a pass over 16 rows takes
hardly longer than one over a single row, one over 64 does.
"""

import asyncio
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate

import torch

from tuti.infer.generate import Model, draw
from tuti.infer.requests import Busy, Counters, Event, Finish, Inbox, Request, Ticket, Token, judged
from tuti.infer.sampling import Sampling, unspellable
from tuti.infer.slots import PAGE, Slots
from tuti.infer.speculative import Draft, Text
from tuti.run import UserError
from tuti.text import Tokenizer

CHUNK = 128  # prompt tokens a step: enough rows to compute at full speed on a CPU
CACHE_BYTES = 2**30
JUDGED = 16  # rows of a pass over answers: so many may be guesses
IDLE_SECONDS = 0.5  # how soon an idle engine notices that it is closed


class Engine:
    """Answers many requests at once with one model; close it when done.

    An answer's events are its tokens, the one that ended it included (without text), and a `Finish`.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer, *, slots: int = 16, length: int = 0, waiting: int = 64,
        chunk: int = CHUNK, memory: int = CACHE_BYTES, draft: Draft | None = None,
    ) -> None:
        """`length`: tokens of one prompt and its answer together (0: the context, or what `memory` holds).

        `memory`: bytes of keys and values of all texts together, though one of `length` always fits. (A GPU
        gives out no memory piecemeal: there the slots take it at the start, and a quarter more for the rest.)
        `draft`: guesses how answers go on; it knows as many texts as there are slots.
        """
        self.model, self.tokenizer, self.chunk, self._draft = model, tokenizer, chunk, draft
        self._slots = Slots(model, slots, length, memory)
        self.length = self._slots.length
        self.counters = Counters()
        self._banned = unspellable(tokenizer, model.config.vocab)
        self.most_waiting = waiting
        self._queue: deque[Ticket] = deque()
        self._turn = 0  # chunks read
        self._out: list[tuple[Ticket, Event]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="tuti-engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, inbox: Inbox | None = None) -> Ticket:
        """Queues a request; UserError when it or its grammar can never be served, Busy when not now.

        Several requests may share an inbox, which then holds the tickets with their events.
        """
        n = len(request.prompt)
        if not 0 < n <= self.length:
            what = f"the prompt has {n:,} tokens; this server takes 1 to {self.length:,}"
            raise UserError(what, hint="shorten the prompt" if n else "give at least one token")
        bad = next((i for i in request.prompt if not 0 <= i < self.model.config.vocab), None)
        if bad is not None:
            what = f"token id {bad} is outside the vocabulary of {self.model.config.vocab:,}"
            raise UserError(what, hint="is this the model's own tokenizer?")
        most = min(request.sampling.max_tokens, self.length - n + 1)  # the last needs no place in the cache
        ticket = Ticket(request, self.tokenizer, most, inbox)
        with self._changed:
            assert not self._closed, "the engine is closed"
            if sum(not one.cancelled for one in self._queue) >= self.most_waiting:
                self.counters.rejected += 1
                raise Busy
            self.counters.requests += 1
            ticket.number = self.counters.requests
            self._queue.append(ticket)
            self._changed.notify()
        return ticket

    def complete(self, request: Request) -> list[Event]:
        """All events of one request, for a thread without an event loop."""
        return list(self.submit(request).wait())

    def complete_all(self, requests: Sequence[Request]) -> list[list[Event]]:
        """All events of each request. They enter together, so equal calls give equal bits."""
        with self._changed:
            tickets = [self.submit(request) for request in requests]
        return [list(ticket.wait()) for ticket in tickets]

    def score(self, ids: Sequence[int]) -> list[float]:
        """The log-probability in nats of every id but the first, given those before it."""
        rule = Sampling(max_tokens=0, logprobs=0)
        tokens = self.complete(Request(ids, rule, score=True))
        return [t.logprob for t in tokens if isinstance(t, Token) and t.logprob is not None]

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Ends the thread; answers under way finish with the reason "error"."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    @torch.no_grad()
    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                if not (self._queue or self._slots.live):
                    self._changed.wait(IDLE_SECONDS)
            try:
                self._step()
            except Exception:  # a bug or exhausted memory: fail these answers, serve the next
                traceback.print_exc(file=sys.stderr)
                self._fail()
            self._deliver()
        with self._changed:
            waiting = [*self._queue]
            self._queue.clear()
        self._fail(waiting)
        self._deliver()

    def _fail(self, waiting: Sequence[Ticket] = ()) -> None:
        for ticket in [*self._slots.live, *waiting]:
            self.counters.failed += 1
            ticket.finish = Finish("error")
            self._out.append((ticket, ticket.finish))
        self._slots.clear()

    def _step(self) -> None:
        self._leave()
        with self._changed:
            staying = [ticket for ticket in self._queue if not ticket.cancelled]
            self.counters.cancelled += len(self._queue) - len(staying)
            self._queue = deque(staying)
            self._make_room()
            self.counters.running = len(self._slots.live)
            self.counters.waiting = len(self._queue)
        if not self._slots.live:
            return
        self.counters.steps += 1
        reading: list[Ticket] = []
        rows = 0
        for ticket in sorted(self._slots.reading, key=lambda ticket: ticket.turn):
            if rows >= self.chunk:
                break
            if not (ticket.request.score or ticket.read % PAGE):  # a score needs every logit
                found = self._slots.recall(ticket)
                self.counters.cached_tokens += 0 if ticket.made else found
            reading.append(ticket)
            rows += len(self._part(ticket))
        self._guess(self._slots.answering)
        self._pass([*self._slots.answering, *reading])
        self._leave()
        self.counters.running = len(self._slots.live)

    def _make_room(self) -> None:
        """Admits who waits while memory lasts; where answers outgrew it, the youngest waits again."""
        while (ticket := self._slots.evict()) is not None:
            self._queue.appendleft(ticket)
            self.counters.preempted += 1
        while self._queue and self._slots.admit(self._queue[0]):
            self._queue.popleft()
        self._slots.fit()

    def _part(self, ticket: Ticket) -> list[int]:
        """What of it the next pass reads: up to a multiple of the chunk, wherever it begins, and guesses."""
        end = (ticket.read // self.chunk + 1) * self.chunk
        return [*ticket.ids[ticket.read : end], *ticket.guessed]

    def _guess(self, tickets: Sequence[Ticket]) -> None:
        """How answers go on, as far as a pass has rows for it."""
        each = JUDGED // len(tickets) - 1 if tickets else 0
        if self._draft is None or each < 1:
            return
        texts = [
            Text(t.ids, min(each, t.most - t.made - 1), t.request.sampling, t.source, t.number)
            for t in tickets
        ]
        for ticket, guessed in zip(tickets, self._draft.propose(texts), strict=True):
            ticket.guessed = guessed
            self.counters.guessed_tokens += len(guessed)

    def _pass(self, tickets: Sequence[Ticket]) -> None:
        """A chunk of each prompt and the last token of each answer go in; who can answers."""
        slots = list(map(self._slots.live.index, tickets))
        hidden = self._slots.cache.read(self.model, slots, list(map(self._part, tickets)))
        answering: list[Ticket] = []
        last: list[torch.Tensor] = []
        for ticket, states in zip(tickets, hidden, strict=True):
            if self._read(ticket, states):
                answering.append(ticket)
                last.append(states[-1 - len(ticket.guessed) :])
        if answering:
            self._answer(answering, list(map(len, last)), self.model.logits(torch.cat(last)).float().cpu())

    def _answer(self, tickets: Sequence[Ticket], counts: Sequence[int], logits: torch.Tensor) -> None:
        """Each draws its next token, and while that is what was guessed the one after, of its own logits."""
        turn, ends = 0, accumulate(counts)
        going = [(ticket, end - count) for ticket, end, count in zip(tickets, ends, counts, strict=True)]
        while going:
            rows = logits[[first + turn for _, first in going]]
            chosen = self._choose([ticket for ticket, _ in going], rows)
            pairs = zip(going, chosen, strict=True)
            going = [one for one, i in pairs if one[0].guessed[turn : turn + 1] == [i] and not one[0].finish]
            self.counters.right_guesses += len(going)
            turn += 1
        for ticket in tickets:
            ticket.guessed = []
            ticket.read = len(ticket.ids) - 1
            self._slots.cache.truncate(self._slots.live.index(ticket), ticket.read)

    def _read(self, ticket: Ticket, hidden: torch.Tensor) -> bool:
        """These tokens are in the cache; whether the answer's next one can be drawn now."""
        first, ticket.read = ticket.read == 0, ticket.read + len(hidden)
        slot = self._slots.live.index(ticket)
        if slot < self._slots.ready:
            return True
        self._slots.keep(slot)
        self._turn += 1
        ticket.turn = self._turn
        self.counters.prompt_tokens += len(hidden)
        if ticket.request.score:
            self._score(ticket, self.model.logits(hidden).float(), first)
        if ticket.read < len(ticket.ids):
            return False
        if ticket.request.sampling.max_tokens == 0:
            self._finish(ticket, Finish("length"))
            return False
        self._slots.answer(slot)
        return True

    def _choose(self, tickets: Sequence[Ticket], logits: torch.Tensor) -> list[int]:
        """Draws a token for each row and says it."""
        tokens = draw(tickets, logits, self._banned)
        self.counters.generated_tokens += len(tokens)
        for ticket, token in zip(tickets, tokens, strict=True):
            self._out.append((ticket, token))
            if ticket.finish is not None:
                self._finish(ticket, ticket.finish)
        return [token.id for token in tokens]

    def _score(self, ticket: Ticket, logits: torch.Tensor, first: bool) -> None:
        """The prompt's tokens that this chunk's logits foretell (the very first has no forecast)."""
        count = ticket.request.sampling.logprobs or 0
        if first:
            self._out.append((ticket, Token(ticket.ids[0], "")))
        logprobs = logits.log_softmax(-1).cpu()
        start = ticket.read - len(logits) + 1
        for row, token_id in enumerate(ticket.ids[start : ticket.read + 1]):
            self._out.append((ticket, judged(token_id, "", logprobs[row], count)))

    def _finish(self, ticket: Ticket, finish: Finish) -> None:
        self.counters.finished += 1
        ticket.finish = finish
        self._out.append((ticket, finish))

    def _leave(self) -> None:
        """Frees the slots of who is done or has gone."""
        for slot in reversed(range(len(self._slots.live))):
            ticket = self._slots.live[slot]
            if ticket.finish or ticket.cancelled:
                self.counters.cancelled += not ticket.finish
                self._slots.remove(slot)

    def _deliver(self) -> None:
        """Hands out the step's events, with one call to each event loop."""
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Event]]] = {}
        for ticket, event in self._out:
            if ticket.loop is None:
                ticket.outbox.put(event)
            elif not ticket.cancelled:
                by_loop.setdefault(ticket.loop, []).append((ticket, event))
        self._out = []
        for loop, events in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_put_all, events)


def _put_all(events: Iterable[tuple[Ticket, Event]]) -> None:
    for ticket, event in events:
        ticket.inbox.put_nowait((ticket, event))
