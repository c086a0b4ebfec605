"""`tuti claims`: the ledger of what the sources say and what became of it here, made from the cards."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tuti import systems
from tuti.run import atomic_write
from tuti.run.card import Claim, Status, load_claims

HEAD = """\
# Claims

Every figure and statement of the sources about the rooms that exist, one row each, and what became of it
here. Made from the rooms' cards by `tuti claims --write docs/claims.md`; a test fails when it is stale.
Rooms that are not built yet have no rows.

- **computed exactly**: a test or command here computes it, without a tolerance that matters
- **reproduced in small**: seen here, at a size that two processor cores carry
- **reported by its authors, not tested here**: it may well be so; nothing here shows it
- **source errs**: the source slips; what is right stands in the last column
"""


@dataclass(frozen=True)
class Claims:
    """Shows the ledger of claims as Markdown."""

    write: Path | None = None
    """Write it to this file instead of showing it"""


def claims(config: Claims) -> None:
    """Prints or writes the ledger."""
    if config.write is None:
        print(ledger(), end="")
        return
    atomic_write(config.write, ledger())
    print(f"wrote {config.write}", file=sys.stderr)


def ledger() -> str:
    """The Markdown of all rooms' rows, with a count by status in front."""
    rooms = {name: (card, load_claims(card.claims)) for name, card in systems.cards().items()}
    every = [claim for _, rows in rooms.values() for claim in rows]
    counts = [f"{sum(c.status == status for c in every)} {status}" for status in get_args(Status)]
    parts = [HEAD, f"{len(every)} rows: {' · '.join(counts)}.\n"]
    for name, (card, rows) in rooms.items():
        if rows:
            parts.append(f"## {name}\n\n{card.title}\n\n" + _table(rows))
    return "\n".join(parts)


def _table(rows: tuple[Claim, ...]) -> str:
    lines = ["| claim | source | status | command | ours |", "|---|---|---|---|---|"]
    for row in rows:
        command = f"`{row.command}`" if row.command else ""
        cells = (row.claim, row.source, row.status, command, row.ours)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
