"""Tuti (طوطی, the parrot): teach a language model from your own text, and run the landmark systems around it."""

from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuti.pipelines.teach import Teach as Teach
    from tuti.pipelines.teach import teach as teach

__version__ = metadata.version("tuti")
__all__ = ["__version__", "teach"]


def __getattr__(name: str) -> Any:
    """`from tuti import teach` imports torch only when it is asked for."""
    if name == "teach":
        from tuti.pipelines.teach import teach

        return teach
    raise AttributeError(f"module 'tuti' has no attribute {name!r}")
