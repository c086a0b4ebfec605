"""Tuti (طوطی, the parrot): teaches language models, and runs the landmark systems around them."""

import os
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuti.pipelines.teach import from_python as teach

# Threads that wait for one another sleep instead of spinning: with any other work on the machine, spinning
# made training up to ten times slower (docs/decisions/0005-waiting-threads.md). Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = metadata.version("tuti")
__all__ = ["__version__", "teach"]


def __getattr__(name: str) -> Any:
    """`from tuti import teach` imports torch only when it is asked for."""
    if name == "teach":
        from tuti.pipelines.teach import from_python as teach

        return teach
    raise AttributeError(f"module 'tuti' has no attribute {name!r}")
