"""Tuti (طوطی, the parrot): teaches language models, and runs the landmark systems around them."""

from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuti.pipelines.teach import from_python as teach

__version__ = metadata.version("tuti")
__all__ = ["__version__", "teach"]


def __getattr__(name: str) -> Any:
    """`from tuti import teach` imports torch only when it is asked for."""
    if name == "teach":
        from tuti.pipelines.teach import from_python as teach

        return teach
    raise AttributeError(f"module 'tuti' has no attribute {name!r}")
