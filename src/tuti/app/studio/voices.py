"""The models of a Studio: those that are served, and those of the runs beside it, loaded when asked."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from tuti.app.api import Served
from tuti.app.studio.stream import list_runs, model_of
from tuti.infer import Busy, Engine, Finish, Request, Sampling, load_model
from tuti.run import UserError, find_artifact

KEPT = 3
"""Models held in memory at once."""
SLOTS = 4
"""Answers of one model at once."""


class Voices:
    """Models that can be talked with: served ones, and of those from runs the last used ones are kept."""

    def __init__(self, runs: Path, served: Mapping[str, Served]) -> None:
        """`served`: their engines are used, and never ended."""
        self.runs, self.served = runs, served
        self.loaded: dict[str, Served] = {}
        self.loading = asyncio.Lock()

    def names(self) -> list[str]:
        """Models that can be asked, loaded or not: served ones, then those of the runs, the newest first."""
        found = [run.folder.name for run in list_runs(self.runs) if model_of(run.folder) is not None]
        return list(dict.fromkeys([*self.served, *found]))

    async def prepare(self, name: str) -> bool:
        """Loads a model if need be; whether it has learnt to answer (else it continues)."""
        return (await self._load(name)).loaded.template is not None

    async def _load(self, name: str) -> Served:
        if name in self.served:
            return self.served[name]
        async with self.loading:
            if name not in self.names():
                raise UserError(f"no model is called {name!r}", hint="choose one in the list")
            path = self.runs / name
            real = find_artifact(path, "LanguageModel").resolve()
            identity = real, real.stat().st_mtime_ns
            spoken = held = self.loaded.get(name)
            if spoken is None or spoken.identity != identity:  # a pipeline promotes a better one later on
                spoken = await asyncio.to_thread(_open, path, identity)
            self.loaded.pop(name, None)
            idle = [other for other, one in self.loaded.items() if not one.users]
            for other in idle[: max(0, len(self.loaded) - KEPT + 1)]:
                await self._leave(self.loaded.pop(other))
            self.loaded[name] = spoken  # the last one used stands last
            await self._leave(held)
            return spoken

    async def _leave(self, spoken: Served | None) -> None:
        """Ends the engine of a model that nobody can ask any more, after its last answer."""
        if spoken is not None and not spoken.users and spoken not in self.loaded.values():
            await asyncio.to_thread(spoken.engine.close)

    async def speak(
        self, name: str, messages: Sequence[Mapping[str, str]], temperature: float, max_tokens: int
    ) -> AsyncGenerator[str]:
        """The answer's pieces as they come; closing the generator frees the slot at once."""
        spoken = await self._load(name)
        model = spoken.loaded
        spoken.users += 1
        try:
            ids = await asyncio.to_thread(model.prompt, list(messages), max_tokens)
            rule = Sampling(temperature, top_p=0.95, max_tokens=max_tokens)
            ticket = spoken.engine.submit(Request(ids, rule, model.ends))
            async with aclosing(ticket.events()) as events:
                async for event in events:
                    if isinstance(event, Finish) and event.reason == "error":
                        raise UserError("the engine failed", hint="look at what the server printed")
                    if event.text:
                        yield event.text
        except Busy as error:
            raise UserError(str(error), hint=f"try again in {error.seconds} s") from error
        finally:
            spoken.users -= 1
            await self._leave(spoken)


def _open(path: Path, identity: tuple[Path, int]) -> Served:
    model = load_model(path)
    return Served(model, Engine(model.model, model.tokenizer, slots=SLOTS), users=0, identity=identity)
