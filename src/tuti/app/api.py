"""The OpenAI-compatible server: models behind engines, on a FastAPI app that Studio may share."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from tuti.app.api_format import ChatStyle, Envelope, Json, Style, TextStyle, usage
from tuti.app.api_guard import Guard, failure
from tuti.app.api_schema import ChatRequest, Common, TextRequest
from tuti.app.api_tools import told
from tuti.infer import Busy, Engine, Finish, Grammar, Inbox, LoadedModel, Ticket, Token, compiled
from tuti.infer import Request as Asked
from tuti.infer.speculative import Draft
from tuti.run import UserError

LEVELS = ("running", "waiting")  # of `Counters`; the others are totals


@dataclass(frozen=True)
class Served:
    """A model and the engine that runs it."""

    loaded: LoadedModel
    engine: Engine


@dataclass(frozen=True)
class Job:
    """One answer of a response: what the engine is asked, and how its pieces look."""

    asked: Asked
    style: Style
    echo: str = ""


class Unknown(Exception):
    """No such model here."""


def create_app(
    models: Sequence[LoadedModel], *, slots: int = 16, length: int = 0, waiting: int = 64,
    memory: int = 2**30, names: Sequence[str] = (), token: str = "", drafts: Sequence[Draft | None] = (),
) -> FastAPI:
    """The app; its engines run until it shuts down. `app.state.api` gives Studio the engines.

    memory: bytes of each model's keys and values. names: hosts it answers to beside localhost. token: asked
    of everyone, if not empty. drafts: who guesses ahead for each model, if anyone does.
    """
    engine = partial(Engine, slots=slots, length=length, waiting=waiting, memory=memory)
    pairs = zip(models, drafts or [None] * len(models), strict=True)
    served = {one.name: Served(one, engine(one.model, one.tokenizer, draft=draft)) for one, draft in pairs}
    api = Api(served)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await asyncio.to_thread(api.close)

    # No /docs: its page would fetch scripts from other people's servers.
    app = FastAPI(title="Tuti", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.api = api
    app.add_middleware(Guard, hosts=names, token=token)  # pyright: ignore[reportArgumentType]
    app.add_api_route("/v1/models", api.models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", api.model, methods=["GET"])
    app.add_api_route("/v1/chat/completions", api.chat, methods=["POST"], response_model=None)
    app.add_api_route("/v1/completions", api.complete, methods=["POST"], response_model=None)
    app.add_api_route("/health", api.health, methods=["GET"], response_model=None)
    app.add_api_route("/metrics", api.metrics, methods=["GET"], response_model=None)
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    return app


class Api:
    """The routes."""

    def __init__(self, served: dict[str, Served]) -> None:
        self.served = served

    def close(self) -> None:
        """Ends the engines."""
        for one in self.served.values():
            one.engine.close()

    def find(self, name: str) -> Served:
        """The model of this name."""
        if name not in self.served:
            raise Unknown(name, list(self.served))
        return self.served[name]

    async def models(self) -> Json:
        """GET /v1/models."""
        return {"object": "list", "data": [self._card(name) for name in self.served]}

    async def model(self, name: str) -> Json:
        """GET /v1/models/NAME."""
        self.find(name)
        return self._card(name)

    def _card(self, name: str) -> Json:
        one = self.served[name]
        created = int(one.loaded.folder.stat().st_mtime)
        facts = {"context": one.engine.length, "chat": one.loaded.template is not None}
        return {"id": name, "object": "model", "created": created, "owned_by": "tuti"} | facts

    async def health(self) -> JSONResponse:
        """GET /health: 503 when an engine has died."""
        dead = [name for name, one in self.served.items() if not one.engine.alive]
        status = {"status": "failed" if dead else "ok", "models": list(self.served)}
        return JSONResponse(status, 503 if dead else 200)

    async def metrics(self) -> PlainTextResponse:
        """GET /metrics, in Prometheus' text format."""
        lines: list[str] = []
        models = self.served.items()
        tallies = {name: one.loaded.experts.tally for name, one in models if one.loaded.experts is not None}
        for counters in ({name: one.engine.counters for name, one in models}, tallies):
            for field in fields(next(iter(counters.values()))) if counters else ():
                level = field.name in LEVELS
                name = f"tuti_{field.name}" + ("" if level else "_total")
                lines.append(f"# TYPE {name} {'gauge' if level else 'counter'}")
                for model, values in counters.items():
                    label = json.dumps(model, ensure_ascii=False)  # quotes and backslashes as wanted
                    lines.append(f"{name}{{model={label}}} {getattr(values, field.name)}")
        return PlainTextResponse("\n".join(lines) + "\n")

    async def chat(self, request: Request, body: ChatRequest) -> Response:
        """POST /v1/chat/completions."""
        one = self.find(body.model)
        template = one.loaded.template
        if template is None:
            raise UserError(
                f"{body.model} was pretrained only and does not converse",
                hint="use /v1/completions, or teach it to answer: tuti finetune sft",
            )
        grammar, ends = await _grammar(body, one), one.loaded.ends
        messages = told([message.plain() for message in body.messages], body.usable, template)
        rendered = await asyncio.to_thread(
            template.render, messages, tools=body.usable, add_generation_prompt=True
        )
        most, alternatives = body.most(one.engine.length), body.alternatives
        jobs: list[Job] = []
        for i in range(body.choices):
            asked = Asked(rendered.ids, body.sampling(i, most, alternatives, grammar), ends)
            style = ChatStyle(one.loaded.tokenizer, alternatives is not None, ends, bool(body.usable))
            jobs.append(Job(asked, style))
        return await self._respond(request, body, one, jobs, len(rendered.ids))

    async def complete(self, request: Request, body: TextRequest) -> Response:
        """POST /v1/completions."""
        one = self.find(body.model)
        tokenizer, logprobs, echo = one.loaded.tokenizer, body.logprobs, bool(body.echo)
        grammar = await _grammar(body, one)
        jobs: list[Job] = []
        read = 0
        for prompt in body.prompts:
            if isinstance(prompt, str):
                ids = await asyncio.to_thread(tokenizer.encode, prompt)
                ids = ids or [tokenizer.end]  # nothing said: a document begins
            else:
                ids = prompt
            read += len(ids)
            for i in range(body.choices):
                rule = body.sampling(i, body.most, logprobs, grammar)
                asked = Asked(ids, rule, one.loaded.ends, score=echo and logprobs is not None)
                jobs.append(Job(asked, TextStyle(tokenizer, logprobs is not None)))
            if echo:
                text = prompt if isinstance(prompt, str) else tokenizer.decode(ids)
                whole = text.encode("utf-8", "replace").decode()
                jobs[-body.choices :] = [replace(j, echo=whole) for j in jobs[-body.choices :]]
        return await self._respond(request, body, one, jobs, read)

    async def _respond(
        self, request: Request, body: Common, one: Served, jobs: Sequence[Job], read: int
    ) -> Response:
        if len(jobs) > (most := one.engine.most_waiting):  # else it would be told to wait for ever
            raise UserError(f"{len(jobs)} answers at once, {most} at most", hint="ask for fewer")
        inbox: Inbox = asyncio.Queue()
        tickets: list[Ticket] = []
        try:
            for job in jobs:
                tickets.append(one.engine.submit(job.asked, inbox))
        except BaseException:
            _cancel(tickets)
            raise
        envelope = Envelope(jobs[0].style, body.model)
        if body.stream:
            counted = body.stream_options is not None and body.stream_options.include_usage
            chunks = _stream(jobs, tickets, inbox, envelope, read if counted else None)
            return StreamingResponse(chunks, media_type="text/event-stream")
        return await _unless_gone(request, _whole(jobs, tickets, inbox, envelope, read))


async def _grammar(body: Common, one: Served) -> Grammar | None:
    """What the answers must be, compiled beside the event loop: a large one takes a second."""
    found = [*body.grammars(), *(body.calls() if isinstance(body, ChatRequest) else [])]
    if len(found) > 1:
        hint = "give one rule in response_format, structured_outputs or tools"
        raise UserError("the answer's form is given more than once", hint=hint)
    for grammar in found:
        await asyncio.to_thread(compiled, grammar, one.loaded.tokenizer)
        return grammar


def _cancel(tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        ticket.cancel()


async def _whole(
    jobs: Sequence[Job], tickets: list[Ticket], inbox: Inbox, envelope: Envelope, read: int
) -> Response:
    """All answers, when the last is done."""
    texts = [[job.echo] for job in jobs]
    tokens: list[list[Token]] = [[] for _ in jobs]
    ends: dict[int, Finish] = {}
    index_of = {id(ticket): i for i, ticket in enumerate(tickets)}
    try:
        while len(ends) < len(jobs):
            ticket, event = await inbox.get()
            index = index_of[id(ticket)]
            texts[index].append(event.text)
            if isinstance(event, Finish):
                ends[index] = event
            else:
                tokens[index].append(event)
    finally:
        _cancel(tickets)
    if any(end.reason == "error" for end in ends.values()):
        return failure(500, "the engine failed", "look at what the server printed")
    choices = [
        {"index": i, **job.style.choice("".join(texts[i]), tokens[i], ends[i].reason)}
        for i, job in enumerate(jobs)
    ]
    return JSONResponse(envelope.whole(choices, usage(read, [*ends.values()])))


async def _stream(
    jobs: Sequence[Job], tickets: list[Ticket], inbox: Inbox, envelope: Envelope, read: int | None
) -> AsyncGenerator[str]:
    """Server-sent events as the tokens come; `read` is given where usage is to be told."""
    index_of = {id(ticket): i for i, ticket in enumerate(tickets)}
    ends: list[Finish] = []
    try:
        for i, job in enumerate(jobs):
            if (first := job.style.begin()) is not None:
                yield _event(envelope.piece(i, first))
            if job.echo:
                yield _event(envelope.piece(i, job.style.delta(job.echo, [])))
        while len(ends) < len(jobs):
            ticket, event = await inbox.get()
            index = index_of[id(ticket)]
            style, rule = jobs[index].style, ticket.request.sampling
            if isinstance(event, Token):
                if event.text or rule.logprobs is not None:
                    yield _event(envelope.piece(index, style.delta(event.text, [event])))
                continue
            ends.append(event)
            if event.reason == "error":
                yield _event({"error": {"message": "the engine failed", "type": "server_error"}})
                return
            yield _event(envelope.piece(index, style.last(event.text, event.reason)))
        if read is not None:
            yield _event(envelope.last(usage(read, ends)))
        yield "data: [DONE]\n\n"
    finally:
        _cancel(tickets)


def _event(content: Json) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _unless_gone(request: Request, work: Awaitable[Response]) -> Response:
    """The response, or an empty one as soon as the client has hung up."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer, left = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else Response(status_code=499)
    finally:
        for task in (answer, left):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, UserError)
    return failure(400, error.what, error.hint)


async def _busy(request: Request, error: Exception) -> Response:
    assert isinstance(error, Busy)
    headers = {"Retry-After": str(error.seconds)}
    what = "the server is busy and its queue is full"
    return failure(429, what, f"try again in {error.seconds} s", headers=headers)


async def _unknown(request: Request, error: Exception) -> Response:
    name, known = error.args
    hint = f"served here: {', '.join(known)}"
    return failure(404, f"no model {name!r}", hint, code="model_not_found", param="model")


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0]
    place = ".".join(str(part) for part in first.get("loc", ())[1:])
    if first.get("type") == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return failure(400, f"the body is not JSON: {reason}", "send a JSON object")
    if not place and request.method == "POST":
        hint = "send a JSON object with the header Content-Type: application/json"
        return failure(400, "the body is not a JSON object", hint)
    what = str(first.get("msg", "invalid")).removeprefix("Value error, ")
    message = f"{place}: {what}" if place else what
    return failure(400, message, "see /openapi.json for what each field may be", param=place or None)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if not request.url.path.startswith("/v1"):
        return await http_exception_handler(request, error)  # Studio's pages
    hint = "the API is at /v1/models, /v1/chat/completions and /v1/completions"
    return failure(error.status_code, str(error.detail), hint, headers=error.headers)


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    UserError: _refused,
    Busy: _busy,
    Unknown: _unknown,
    RequestValidationError: _invalid,
    HTTPException: _http,
}
