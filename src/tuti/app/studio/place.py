"""What a Studio has to do with: its folder of runs, the folders it may read, its jobs and its voices."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuti.app.studio.jobs import Jobs

Messages = Sequence[Mapping[str, str]]


class Voices(Protocol):
    """The models that can be talked with."""

    def names(self) -> list[str]:
        """Names of the models that can be asked, loaded or not."""
        ...

    async def prepare(self, name: str) -> bool:
        """Loads a model if need be; whether it has learnt to answer (else it continues)."""
        ...

    def speak(
        self, name: str, messages: Messages, temperature: float, max_tokens: int
    ) -> AsyncGenerator[str]:
        """The answer's pieces as they come; closing the generator frees the model at once."""
        ...


@dataclass(frozen=True)
class Place:
    """One Studio."""

    runs: Path
    folders: tuple[Path, ...]
    jobs: Jobs
    voices: Voices

    @property
    def allowed(self) -> tuple[Path, ...]:
        """Where forms may read."""
        return (self.runs, *self.folders)
