"""The models of a Studio: those of the runs beside it, loaded when asked."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from tuti.app.studio.place import Messages
from tuti.app.studio.stream import list_runs, model_of
from tuti.infer import Busy, Engine, Finish, LoadedModel, Request, Sampling, load_model
from tuti.run import UserError, find_artifact

KEPT = 3
"""Models held in memory at once."""
SLOTS = 4
"""Answers of one model at once."""


@dataclass(eq=False)
class Spoken:
    """A model in memory, its engine, and how many answers are under way."""

    model: LoadedModel
    engine: Engine
    identity: tuple[Path, int]
    """Where the model's folder really lies, and when it was written"""
    users: int = 0


class RunVoices:
    """Loads models from runs; the one unused for longest gives way to a new one."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.loaded: dict[str, Spoken] = {}
        self.loading = asyncio.Lock()

    def names(self) -> list[str]:
        """The models of the runs, the newest first."""
        return [run.name for run in list_runs(self.runs) if model_of(run.folder) is not None]

    async def prepare(self, name: str) -> bool:
        return (await self._load(name)).model.template is not None

    async def _load(self, name: str) -> Spoken:
        async with self.loading:
            if name not in self.names():
                raise UserError(f"no model is called {name!r}", hint="choose one in the list")
            path = self.runs / name
            real = find_artifact(path, "LanguageModel").resolve()
            identity = real, real.stat().st_mtime_ns
            held = self.loaded.get(name)
            if held is None or held.identity != identity:  # a pipeline promotes a better one later on
                spoken = await asyncio.to_thread(_open, path, identity)
                self.loaded.pop(name, None)
                await self._make_room()
            else:
                spoken = self.loaded.pop(name)
            self.loaded[name] = spoken  # the last one used stands last
            await self._leave(held)
            return spoken

    async def _leave(self, spoken: Spoken | None) -> None:
        """Ends the engine of a model that nobody can ask any more, after its last answer."""
        if spoken is not None and not spoken.users and spoken not in self.loaded.values():
            await asyncio.to_thread(spoken.engine.close)

    async def _make_room(self) -> None:
        idle = [name for name, spoken in self.loaded.items() if not spoken.users]
        for name in idle[: max(0, len(self.loaded) - KEPT + 1)]:
            await self._leave(self.loaded.pop(name))

    async def speak(
        self, name: str, messages: Messages, temperature: float, max_tokens: int
    ) -> AsyncGenerator[str]:
        spoken = await self._load(name)
        spoken.users += 1
        try:
            made = answered(spoken.engine, spoken.model, messages, temperature, max_tokens)
            async with aclosing(made) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            spoken.users -= 1
            await self._leave(spoken)


async def answered(
    engine: Engine, model: LoadedModel, messages: Messages, temperature: float, max_tokens: int
) -> AsyncGenerator[str]:
    """An engine's answer to a conversation, in pieces; closing the generator frees the slot at once."""
    ids = await asyncio.to_thread(model.prompt, list(messages), max_tokens)
    rule = Sampling(temperature, top_p=0.95, max_tokens=max_tokens)
    try:
        ticket = engine.submit(Request(ids, rule, model.ends))
    except Busy as error:
        raise UserError(str(error), hint=f"try again in {error.seconds} s") from error
    async with aclosing(ticket.events()) as events:
        async for event in events:
            if isinstance(event, Finish) and event.reason == "error":
                raise UserError("the engine failed", hint="look at what the server printed")
            if event.text:
                yield event.text


def _open(path: Path, identity: tuple[Path, int]) -> Spoken:
    model = load_model(path)
    return Spoken(model, Engine(model.model, model.tokenizer, slots=SLOTS), identity)
