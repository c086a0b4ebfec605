"""The OpenAI-compatible server: models behind engines, on a FastAPI app that Studio may share."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from tuti.app.api_format import ChatRequest, ChatStyle, Common, Style, TextRequest, TextStyle, told, usage
from tuti.app.api_guard import Guard, Refused, failure
from tuti.infer import Busy, Engine, Event, Finish, Grammar, Inbox, LoadedModel, Ticket, Token, compiled
from tuti.infer import Request as Asked
from tuti.infer.speculative import Draft
from tuti.run import UserError
from tuti.run.lineage import Json

LEVELS = ("running", "waiting")  # of `Counters`; the others are totals


@dataclass(eq=False)
class Served:
    """A model, the engine that runs it, and how many use it: the API itself, or answers under way."""

    loaded: LoadedModel
    engine: Engine
    users: int = 1
    identity: tuple[Path, int] | None = None
    """Of one that Studio loaded: where its folder really lies, and when that was written"""


Job = tuple[Asked, Style]
"""One answer of a response: what the engine is asked, and how its pieces look"""


def create_app(
    models: Sequence[LoadedModel], *, names: Sequence[str] = (), token: str = "",
    drafts: Sequence[Draft | None] = (), **sizes: int,
) -> FastAPI:
    """The app; its engines run until it shuts down. `app.state.api` gives Studio the engines.

    names: hosts it answers to beside localhost. token: asked of everyone, if not empty. drafts: who guesses
    ahead for each model, if anyone does. sizes: the engines'.
    """
    served: dict[str, Served] = {}
    for one, draft in zip(models, drafts or [None] * len(models), strict=True):
        engine = Engine(one.model, one.tokenizer, draft=draft, **sizes)
        served[one.name] = Served(replace(one, context=engine.length), engine)
    api = Api(served)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        for one in served.values():
            await asyncio.to_thread(one.engine.close)

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
    for kind in (UserError, Busy, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _failed)
    return app


class Api:
    """The routes."""

    def __init__(self, served: dict[str, Served]) -> None:
        self.served = served

    def find(self, name: str) -> Served:
        """The model of this name."""
        if name not in self.served:
            hint = f"served here: {', '.join(self.served)}"
            raise Refused(failure(404, f"no model {name!r}", hint, code="model_not_found", param="model"))
        return self.served[name]

    async def models(self) -> Json:
        """GET /v1/models."""
        return {"object": "list", "data": [await self.model(name) for name in self.served]}

    async def model(self, name: str) -> Json:
        """GET /v1/models/NAME."""
        one = self.find(name)
        created = int(one.loaded.folder.stat().st_mtime)
        facts = {"context": one.loaded.context, "chat": one.loaded.template is not None}
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
            what = f"{body.model} was pretrained only and does not converse"
            raise UserError(what, hint="use /v1/completions, or teach it to answer: tuti finetune sft")
        grammar, ends = await _grammar(body, one), one.loaded.ends
        messages = told([message.plain() for message in body.messages], body.usable, template)
        rendered = await asyncio.to_thread(
            template.render, messages, tools=body.usable, add_generation_prompt=True
        )
        alternatives = (body.top_logprobs or 0) if body.logprobs else None  # beside each token
        given = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
        most = one.engine.length if given is None else given  # by default all that there is room for
        jobs: list[Job] = []
        for i in range(body.n or 1):
            style = ChatStyle(one.loaded.tokenizer, alternatives is not None, ends, bool(body.usable))
            jobs.append((Asked(rendered.ids, body.sampling(i, most, alternatives, grammar), ends), style))
        return await self._respond(request, body, one, jobs, len(rendered.ids))

    async def complete(self, request: Request, body: TextRequest) -> Response:
        """POST /v1/completions."""
        one = self.find(body.model)
        tokenizer, logprobs, echo = one.loaded.tokenizer, body.logprobs, bool(body.echo)
        grammar = await _grammar(body, one)
        most = 16 if body.max_tokens is None else body.max_tokens  # OpenAI's default
        jobs: list[Job] = []
        read = 0
        for prompt in body.prompts:
            if isinstance(prompt, str):  # where nothing is said, a document begins
                text, ids = prompt, await asyncio.to_thread(tokenizer.encode, prompt) or [tokenizer.end]
            else:
                text, ids = tokenizer.decode(prompt) if echo else "", prompt
            read += len(ids)
            echoed = text.encode("utf-8", "replace").decode() if echo else ""
            for i in range(body.n or 1):
                rule = body.sampling(i, most, logprobs, grammar)
                asked = Asked(ids, rule, one.loaded.ends, score=echo and logprobs is not None)
                jobs.append((asked, TextStyle(tokenizer, logprobs is not None, echoed)))
        return await self._respond(request, body, one, jobs, read)

    async def _respond(
        self, request: Request, body: Common, one: Served, jobs: Sequence[Job], read: int
    ) -> Response:
        if len(jobs) > (most := one.engine.most_waiting):  # else it would be told to wait for ever
            raise UserError(f"{len(jobs)} answers at once, {most} at most", hint="ask for fewer")
        inbox: Inbox = asyncio.Queue()
        tickets: list[Ticket] = []
        try:
            for asked, _ in jobs:
                tickets.append(one.engine.submit(asked, inbox if body.stream else None))
        except BaseException:
            _cancel(tickets)
            raise
        styles = [style for _, style in jobs]
        style, made = styles[0], int(time.time())
        head: Json = {"id": f"{style.prefix}-{uuid.uuid4().hex[:24]}", "created": made, "model": body.model}
        if body.stream:
            counted = (body.stream_options or {}).get("include_usage")
            head["object"] = style.name_of_piece
            chunks = _stream(styles, tickets, inbox, head, read if counted else None)
            return StreamingResponse(chunks, media_type="text/event-stream")
        head["object"] = style.name
        return await _unless_gone(request, _whole(styles, tickets, head, read))


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


async def _whole(styles: Sequence[Style], tickets: Sequence[Ticket], head: Json, read: int) -> Response:
    """All answers, when the last is done."""
    try:
        heard = await asyncio.gather(*map(_all_events, tickets))
    finally:
        _cancel(tickets)
    ends = [event for events in heard for event in events if isinstance(event, Finish)]
    if any(end.reason == "error" for end in ends):
        return failure(500, "the engine failed", "look at what the server printed")
    choices: list[Json] = []
    for i, (style, events, end) in enumerate(zip(styles, heard, ends, strict=True)):
        tokens = [event for event in events if isinstance(event, Token)]
        text = "".join(event.text for event in events)
        choices.append({"index": i, **style.whole(text, tokens, end.reason)})
    return JSONResponse(head | {"choices": choices, "usage": usage(read, ends)})


async def _all_events(ticket: Ticket) -> list[Event]:
    return [event async for event in ticket.events()]


async def _stream(
    styles: Sequence[Style], tickets: list[Ticket], inbox: Inbox, head: Json, read: int | None
) -> AsyncGenerator[str]:
    """Server-sent events as the tokens come; `read` is given where usage is to be told."""
    index_of = {id(ticket): i for i, ticket in enumerate(tickets)}
    ends: list[Finish] = []

    def piece(index: int, given: Json) -> str:
        return _event(head | {"choices": [{"index": index, "finish_reason": None} | given]})

    try:
        for i, style in enumerate(styles):
            if style.first is not None:
                yield piece(i, style.first)
        while len(ends) < len(styles):
            ticket, event = await inbox.get()
            index = index_of[id(ticket)]
            style, rule = styles[index], ticket.request.sampling
            if isinstance(event, Token):
                if event.text or rule.logprobs is not None:
                    yield piece(index, style.piece(event.text, [event], None))
                continue
            ends.append(event)
            if event.reason == "error":
                yield _event({"error": {"message": "the engine failed", "type": "server_error"}})
                return
            yield piece(index, style.piece(event.text, [], event.reason))
        if read is not None:
            yield _event(head | {"choices": [], "usage": usage(read, ends)})
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


async def _failed(request: Request, error: Exception) -> Response:
    """What went wrong, as OpenAI's clients read it; beside the API, Studio's pages tell it their own way."""
    match error:
        case Refused():
            return error.answer
        case UserError():
            return failure(400, error.what, error.hint)
        case Busy():
            what = "the server is busy and its queue is full"
            return failure(429, what, "try again in 1 s", headers={"Retry-After": "1"})
        case RequestValidationError():
            errors = error.errors()  # of a field that may be several things: one for each of them
            too_long = (one for one in errors if str(one["type"]).endswith("too_long"))
            return _invalid(request.method, next(too_long, errors[0]))
        case HTTPException() if request.url.path.startswith("/v1"):
            hint = "the API is at /v1/models, /v1/chat/completions and /v1/completions"
            return failure(error.status_code, str(error.detail), hint, headers=error.headers)
        case HTTPException():
            return await http_exception_handler(request, error)
        case _:
            raise error


def _invalid(method: str, first: dict[str, Any]) -> Response:
    """The first thing that is wrong with a body."""
    place = ".".join(str(part) for part in first.get("loc", ())[1:])
    if first.get("type") == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return failure(400, f"the body is not JSON: {reason}", "send a JSON object")
    if not place and method == "POST":
        hint = "send a JSON object with the header Content-Type: application/json"
        return failure(400, "the body is not a JSON object", hint)
    what = str(first.get("msg", "invalid"))
    message = f"{place}: {what}" if place else what
    return failure(400, message, "see /openapi.json; leave out what is not done here", param=place or None)
