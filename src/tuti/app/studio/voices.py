"""The models of a Studio: those named at start and those of the runs beside it, loaded when asked."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from tuti.app.studio.place import Messages
from tuti.app.studio.stream import list_runs, model_of
from tuti.infer import Sampling, generate
from tuti.infer.loading import LoadedModel, load_model
from tuti.run import UserError

KEPT = 3
"""Models held in memory at once."""


class RunVoices:
    """Loads models from runs and folders; the one unused for longest gives way to a new one."""

    def __init__(self, runs: Path, named: Sequence[Path] = ()) -> None:
        self.runs = runs
        self.named = {path.resolve().name: path for path in named}
        self.loaded: dict[str, LoadedModel] = {}
        self.loading = asyncio.Lock()

    def names(self) -> list[str]:
        """The models named at start, then those of the runs, the newest first."""
        found = [run.name for run in list_runs(self.runs) if model_of(run.folder) is not None]
        return list(dict.fromkeys([*self.named, *found]))

    async def prepare(self, name: str) -> bool:
        """Loads a model; whether it has learnt to answer."""
        return (await self._load(name)).template is not None

    async def _load(self, name: str) -> LoadedModel:
        async with self.loading:
            if name not in self.loaded:
                path = self._path(name)
                while len(self.loaded) >= KEPT:
                    del self.loaded[next(iter(self.loaded))]
                self.loaded[name] = await asyncio.to_thread(load_model, path)
            self.loaded[name] = model = self.loaded.pop(name)
            return model

    def _path(self, name: str) -> Path:
        if name in self.named:
            return self.named[name]
        if name not in self.names():
            raise UserError(f"no model is called {name!r}", hint="choose one in the list")
        return self.runs / name

    async def speak(
        self, name: str, messages: Messages, temperature: float, max_tokens: int
    ) -> AsyncGenerator[str]:
        """The answer's pieces; a generator that is closed stops the model before its next token."""
        model = await self._load(name)
        prompt = await asyncio.to_thread(prompt_ids, model, messages, max_tokens)
        sampling = Sampling(temperature=temperature, top_p=0.95, max_tokens=max_tokens)
        pieces: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        loop, stopped = asyncio.get_running_loop(), threading.Event()

        def tell(piece: str | BaseException | None) -> None:
            if not stopped.is_set():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def work() -> None:
            try:
                for token in generate(model.model, model.tokenizer, prompt, sampling, model.ends):
                    if stopped.is_set():
                        return
                    tell(token.text)
                tell(None)
            except Exception as error:  # handed to the page that asked, whatever it is
                tell(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            while (piece := await pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                if piece:
                    yield piece
        finally:
            stopped.set()


def prompt_ids(model: LoadedModel, messages: Messages, max_tokens: int) -> list[int]:
    """The conversation as ids; the oldest turns give way so that an answer has room in the context."""
    room = max(1, model.context - min(max_tokens, model.context // 2))
    if model.template is None:
        text = messages[-1]["content"]
        return [model.tokenizer.end, *model.tokenizer.encode(text)][-room:]
    kept = list(messages)
    while True:
        ids = model.template.render(kept, add_generation_prompt=True).ids
        if len(ids) <= room or len(kept) <= 1:
            break
        kept = kept[2:] if kept[0]["role"] == "user" else kept[1:]
    if len(ids) > room:
        raise UserError(
            f"the message has {len(ids):,} tokens, this model has room for {room:,}",
            hint="write a shorter message",
        )
    return ids
