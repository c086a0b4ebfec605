"""`tuti chat RUN`: a conversation in the terminal, or one message a line from a pipe."""

import contextlib
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Ge, Le

from tuti.run import UserError, printable

if TYPE_CHECKING:
    from tuti.infer import LoadedModel

HELP = "Ctrl-C stops an answer, /reset forgets the conversation, Ctrl-D leaves"
CONTINUES = "this model was pretrained only: it goes on with your text, it does not answer"


@dataclass(frozen=True)
class Chat:
    """Talk with a model in the terminal; from a pipe, one message a line."""

    model: tyro.conf.Positional[Path]
    """A run, a model's folder, a Hugging Face folder or a GGUF file"""
    temperature: Annotated[float, Ge(0)] = 0.7
    """0 always takes the most probable token"""
    top_p: Annotated[float, Ge(0), Le(1)] = 0.95
    """Draw from the fewest tokens whose probabilities sum to this"""
    max_tokens: Annotated[int, Ge(1)] = 256
    """Tokens an answer may have"""
    system: str = ""
    """What the model is told before the conversation"""
    seed: int | None = None
    """Seed of the draws (default: another one each time)"""
    bits: Literal[32, 16, 8, 4] = 32
    """Bits of a weight: 8 and 4 need less memory and answer sooner (a GGUF file has its own)"""
    expert_memory: Annotated[float, Ge(0)] | None = None
    """GB for the model's experts; the others stay on disk (default: all in memory)"""


def chat(config: Chat) -> None:
    """Reads messages, prints answers as they are made."""
    from tuti.infer import load_model

    loaded = load_model(config.model, bits=config.bits, expert_memory=config.expert_memory)
    conversation = Conversation(config, loaded)
    if not sys.stdin.isatty():
        for line in sys.stdin:
            if line.strip():
                _speak(conversation.answer(line.rstrip("\n")))
        return
    note(f"{loaded.name}: {loaded.model.config.parameters:,} parameters, {loaded.context:,} tokens")
    note(HELP if loaded.template is not None else f"{CONTINUES}\n{HELP}")
    for line in _typed():
        if line == "/reset":
            conversation.reset()
            note("forgotten")
        elif line:
            try:
                _speak(conversation.answer(line))
            except UserError as error:
                note(str(error))


class Conversation:
    """The messages so far, and the answers; a pretrained model continues each text by itself."""

    def __init__(self, config: Chat, loaded: "LoadedModel") -> None:
        self.config, self.loaded = config, loaded
        self.turn = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but the system message."""
        system = self.config.system
        self.messages: list[Mapping[str, str]] = [{"role": "system", "content": system}] if system else []

    def answer(self, text: str) -> Generator[str]:
        """The answer in pieces; when it is stopped early, what was said so far is remembered."""
        from tuti.infer import Sampling, generate

        c, loaded, messages = self.config, self.loaded, [*self.messages, {"role": "user", "content": text}]
        prompt, said = loaded.prompt(messages, c.max_tokens), list[str]()
        seed = None if c.seed is None else c.seed + self.turn
        self.turn += 1
        rule = Sampling(c.temperature, c.top_p, max_tokens=c.max_tokens, seed=seed)
        if loaded.template is not None:
            self.messages = messages
        try:
            for token in generate(loaded.model, loaded.tokenizer, prompt, rule, loaded.ends):
                said.append(token.text)
                yield token.text
        finally:
            if loaded.template is not None:
                self.messages.append({"role": "assistant", "content": "".join(said)})


def _speak(pieces: Generator[str]) -> None:
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(pieces):
        for piece in pieces:
            sys.stdout.write(printable(piece))
            sys.stdout.flush()
    print(flush=True)


def _typed() -> Iterator[str]:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # pyright: ignore[reportUnusedImport]  # edits lines of input()
    while True:
        try:
            yield input("\n> ").strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            note(f"\n{HELP}")


def note(text: str) -> None:
    """A line for the person, beside the answers."""
    print(text, file=sys.stderr, flush=True)
