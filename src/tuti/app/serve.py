"""`tuti serve RUN…`: the OpenAI-compatible API and Studio on one address; `tuti demo`, watched there."""

import asyncio
import contextlib
import ipaddress
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import tyro
from annotated_types import Ge, Gt, Le

from tuti.app.house import all_cards
from tuti.run import Run, RunOptions, UserError, assets

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tuti.infer import LoadedModel

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
    """Other names or addresses by which this server may be called (with --host 0.0.0.0: what others use)"""
    slots: Annotated[int, Ge(1), Le(256)] = 16
    """Answers made at the same time"""
    waiting: Annotated[int, Ge(1)] = 64
    """Requests that may wait; further ones get 429"""
    bits: Literal[32, 16, 8, 4] = 32
    """Bits of a weight: 8 and 4 need less memory and answer sooner (a GGUF file has its own)"""
    length: Annotated[int, Ge(0)] = 0
    """Tokens of prompt and answer together (0: the model's context, or what 1 GiB holds)"""
    expert_memory: Annotated[float, Ge(0)] | None = None
    """GB for a model's experts; the others stay on disk (default: all in memory)"""
    draft: str = ""
    """Guesses ahead while few answer, which changes the time alone: "lookup" (what was said before) or a
    smaller model"""
    runs: Path = Path("runs")
    """The folder of runs that Studio shows"""
    folders: tuple[Path, ...] = ()
    """Other folders that Studio's forms may read"""


def serve(config: Serve, page: str = "/") -> None:
    """Loads the models, prints the address of a page, serves until interrupted."""
    with contextlib.closing(listen(config.host, config.port)) as listening:
        made = "" if _is_local(config.host) else secrets.token_urlsafe(24)
        token = os.environ.get("TUTI_TOKEN") or made
        app = apart(lambda: make_app(config, token))
        shown = config.host if ":" not in config.host else f"[{config.host}]"
        path = f"{page}?token={token}" if token else page
        run(app, listening, f"http://{shown}:{listening.getsockname()[1]}{path}")


def play(config: Serve) -> None:
    """The same, with the address of the page `/play`, a board, of whichever room has one."""
    serve(config, next(f"/{name}/play" for name, card in all_cards().items() if "/play" in card.pages))


def make_app(config: Serve, token: str) -> "FastAPI":
    """The API of the loaded models, with Studio's pages on it."""
    from tuti.app.api import create_app
    from tuti.app.studio.mount import mount_studio
    from tuti.infer import load_model
    from tuti.infer.speculative import open_draft

    names, loaded = (*config.names, *_own_names(config.host)), _load(config)
    sizes = {"slots": config.slots, "length": config.length, "waiting": config.waiting}
    drafts = [open_draft(config.draft, one, load_model, config.slots, config.length) for one in loaded]
    app = create_app(loaded, **sizes, drafts=drafts, names=names, token=token)
    mount_studio(app, config.runs, config.folders)
    return app


@dataclass(frozen=True)
class Demo:
    """Teaches a model on Hafez and Shakespeare while you watch, then lets you chat with it."""

    minutes: Annotated[float, Gt(0)] = 10.0
    """Minutes for the whole job"""
    port: Annotated[int, Ge(0), Le(65535)] = 8000
    """Port on 127.0.0.1 (0: any that is free)"""
    offline: Path | None = None
    """Read the corpus's packages from this folder instead of the network"""
    out: Path = Path("runs/demo")
    """The run; one that is unfinished is gone on with, a finished one is opened"""


def demo(config: Demo) -> None:
    """Fetches the corpus, serves `/demo` on 127.0.0.1 and, once its address is printed, teaches behind it.

    Where there is a run already, it is gone on with, as by `tuti … --resume --out RUN`.
    """
    from tuti.app.api import create_app
    from tuti.app.studio.mount import mount_studio
    from tuti.pipelines.teach import Teach

    if not (config.out / "config.json").exists():
        source = tuple(assets.fetch(name, offline=config.offline) for name in ("hafez", "shakespeare"))
        job = Teach(source=source, minutes=config.minutes)
        Run.create("teach", "teach", job, RunOptions(out=config.out))
    print("open this address in a browser:", file=sys.stderr)
    with contextlib.closing(listen("127.0.0.1", config.port)) as listening:
        app = create_app([])
        jobs = mount_studio(app, config.out.parent, demo=config.out).jobs
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/demo"
        run(app, listening, address, lambda: jobs.resume(config.out))


def run(
    app: "FastAPI", listening: socket.socket, address: str, then: Callable[[], object] = lambda: None
) -> None:
    """Serves until interrupted; prints the address when it answers, and only then calls `then`."""
    import uvicorn

    async def serving() -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not running.done():
            await asyncio.sleep(0.02)
        if server.started:
            print(address, flush=True)
            print("Ctrl-C stops the server", file=sys.stderr, flush=True)
            then()
        await running

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serving())
    finally:
        app.state.place.jobs.end()


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address; a port in use is refused with a remedy."""
    family, both = (socket.AF_INET6, socket.has_dualstack_ipv6()) if ":" in host else (socket.AF_INET, False)
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=both)
    except OSError as error:
        what = f"port {port} on {host} cannot be had: {str(error.strerror).partition(' (while')[0]}"
        raise UserError(what, hint=f"--port {port % 65535 + 1}, or --port 0 for any that is free") from error


def _is_local(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _own_names(host: str) -> list[str]:
    """The names of this machine that a bind to `host` may be called by."""
    if _is_local(host):
        return [f"[{host}]" if ":" in host else host]
    return [host, f"[{host}]", socket.gethostname(), socket.getfqdn()]


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
