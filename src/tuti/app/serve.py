"""`tuti serve RUN…`: the OpenAI-compatible API and Studio on one address."""

import asyncio
import contextlib
import dataclasses
import ipaddress
import logging
import os
import secrets
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import tyro
from annotated_types import Ge, Gt, Le

from tuti.run import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tuti.app.api import Api
    from tuti.app.studio.place import Messages, Voices
    from tuti.infer import LoadedModel

TOKEN = "TUTI_TOKEN"
Made = TypeVar("Made")


@dataclass(frozen=True)
class Serve:
    """Serves models over an OpenAI-compatible API, with Studio's pages beside it."""

    models: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Runs, model folders or GGUF files; a run's name is its model's name"""
    port: Annotated[int, Ge(0), Le(65535)] = 8000
    """Port (0: any that is free)"""
    host: str = "127.0.0.1"
    """Address to bind; any but this machine's own asks for a token ($TUTI_TOKEN, or one made now)"""
    names: tuple[str, ...] = ()
    """Other names by which this server may be called"""
    slots: Annotated[int, Ge(1), Le(256)] = 16
    """Answers made at the same time"""
    waiting: Annotated[int, Ge(1)] = 64
    """Requests that may wait; further ones get 429"""
    bits: Literal[32, 16, 8, 4] = 32
    """Bits of a weight: 8 and 4 need less memory and answer sooner (a GGUF file has its own)"""
    length: Annotated[int, Ge(0)] = 0
    """Tokens of prompt and answer together (0: the model's context, or what `memory` holds)"""
    memory: Annotated[float, Gt(0)] = 1.0
    """GB of keys and values: of texts under way, and in a quarter of it of those that may go on"""
    expert_memory: Annotated[float, Ge(0)] | None = None
    """GB for a model's experts; the others stay on disk (default: all in memory)"""
    draft: str = ""
    """Guesses ahead while few answer, which changes the time alone: "lookup" (what was said before) or a
    smaller model"""
    runs: Path = Path("runs")
    """The folder of runs that Studio shows"""
    folders: tuple[Path, ...] = ()
    """Other folders that Studio's forms may read"""


def serve(config: Serve) -> None:
    """Loads the models, prints the address, serves until interrupted."""
    with contextlib.closing(listen(config.host, config.port)) as listening:
        local = _is_local(config.host)
        token = os.environ.get(TOKEN, "") or ("" if local else secrets.token_urlsafe(24))
        app = apart(lambda: make_app(config, _load(config), token))
        shown = config.host if ":" not in config.host else f"[{config.host}]"
        path = f"/?token={token}" if token else "/"
        run(app, listening, f"http://{shown}:{listening.getsockname()[1]}{path}")


def make_app(config: Serve, loaded: "Sequence[LoadedModel]", token: str) -> "FastAPI":
    """The API with Studio's pages on it."""
    from tuti.app.api import create_app
    from tuti.app.studio import mount_studio
    from tuti.app.studio.voices import RunVoices
    from tuti.infer import load_model
    from tuti.infer.speculative import open_draft

    names = (*config.names, *_own_names(config.host))
    app = create_app(
        loaded, slots=config.slots, length=config.length, waiting=config.waiting, names=names, token=token,
        memory=int(1e9 * config.memory),
        drafts=[open_draft(config.draft, one, load_model, config.slots, config.length) for one in loaded],
    )
    voices = EngineVoices(app.state.api, RunVoices(config.runs))
    mount_studio(app, config.runs, config.folders, voices=voices)
    return app


def run(
    app: "FastAPI", listening: socket.socket, address: str, then: Callable[[], object] = lambda: None
) -> None:
    """Serves until interrupted; prints the address when it answers, and only then calls `then`."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_serving(app, listening, address, then))
    finally:
        app.state.place.jobs.end()


async def _serving(
    app: "FastAPI", listening: socket.socket, address: str, then: Callable[[], object]
) -> None:
    import uvicorn

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if server.started:
        print(address, flush=True)
        print("Ctrl-C stops the server", file=sys.stderr, flush=True)
        then()
    await serving


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address; a port in use is refused with a remedy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise UserError(
            f"port {port} on {host} cannot be had: {error.strerror}",
            hint=f"--port {port % 65535 + 1}, or --port 0 for any that is free",
        ) from error
    return listening


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _own_names(host: str) -> list[str]:
    """The names of this machine that a bind to `host` may be called by."""
    if _is_local(host):
        return [f"[{host}]" if ":" in host else host]
    import psutil

    found = [host, f"[{host}]", socket.gethostname(), socket.getfqdn()]
    if host in ("0.0.0.0", "::"):
        for addresses in psutil.net_if_addrs().values():
            for one in addresses:
                if one.family in (socket.AF_INET, socket.AF_INET6):
                    found += [one.address, f"[{one.address.partition('%')[0]}]"]
    return found


def apart(work: Callable[[], Made]) -> Made:
    """In a thread of its own, whose helpers end with it.

    OpenMP counts the helpers of every thread that ever computed. Where there are more than cores, none
    looks for its next piece of work before it sleeps (docs/decisions/0005-waiting-threads.md), and a
    step of 8 answers takes 44 ms in place of 36.
    """
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(work).result()


def _load(config: Serve) -> "list[LoadedModel]":
    from tuti.infer import load_model

    bits, memory = config.bits, config.expert_memory
    loaded = [load_model(path, bits=bits, expert_memory=memory) for path in config.models]
    names = [one.name for one in loaded]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two models are called {name}", hint="rename the folder of one of their runs")
    return loaded


class EngineVoices:
    """Studio's voices: the served models through their engines, other runs as Studio loads them."""

    def __init__(self, api: "Api", others: "Voices") -> None:
        self.api, self.others = api, others

    def names(self) -> list[str]:
        """The served models first."""
        return list(dict.fromkeys([*self.api.served, *self.others.names()]))

    async def prepare(self, name: str) -> bool:
        """Whether the model has learnt to answer."""
        if name in self.api.served:
            return self.api.served[name].loaded.template is not None
        return await self.others.prepare(name)

    def speak(
        self, name: str, messages: "Messages", temperature: float, max_tokens: int
    ) -> AsyncGenerator[str]:
        """The answer's pieces as they come; closing the generator frees the slot at once."""
        from tuti.app.studio.voices import answered

        if name not in self.api.served:
            return self.others.speak(name, messages, temperature, max_tokens)
        one = self.api.served[name]
        model = dataclasses.replace(one.loaded, context=one.engine.length)
        return answered(one.engine, model, messages, temperature, max_tokens)
