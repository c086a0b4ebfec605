"""Tuti (طوطی, the parrot): teaches language models, and runs the landmark systems around them."""

import os
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuti.pipelines.teach import from_python as teach

# Threads that wait for one another look some microseconds for news, then sleep. Spinning on made training ten
# times slower beside other work, sleeping at once costs a small model a third of its speed alone
# (docs/decisions/0005-waiting-threads.md). Both are read when torch is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "1500")

__version__ = metadata.version("tuti")
__all__ = ["__version__", "teach"]


def __getattr__(name: str) -> Any:
    """`from tuti import teach` imports torch only when it is asked for."""
    if name == "teach":
        from tuti.pipelines.teach import from_python as teach

        return teach
    raise AttributeError(f"module 'tuti' has no attribute {name!r}")
