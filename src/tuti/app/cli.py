"""The command line, made from the cards: `tuti VERB …`, `tuti ROOM STAGE …`.

Help needs no room's code: cards name functions by string. The chosen verb's frozen dataclass is the
schema from which tyro makes the options.
"""

import os
import sys
from collections.abc import Sequence

from tuti import __version__, systems
from tuti.app.house import HOUSE, all_cards, described
from tuti.run import Card, Entry, UserError, red

USAGE = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command; exit code 0 done, 1 failed, 2 usage, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(words)
    except (UserError, PermissionError, NotADirectoryError, IsADirectoryError) as error:
        hint = "" if isinstance(error, UserError) else "\nhint: name another place, or change its permissions"
        print(f"{red('error:')} {error}{hint}", file=sys.stderr)
        code = USAGE if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command with --resume goes on", file=sys.stderr)
        code = 130
    sys.exit(code)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h", "help"):
        print(overview(), file=sys.stdout if words else sys.stderr)
        return 0 if words else USAGE
    if words[0] == "--version":
        print(f"tuti {__version__}")
        return 0
    room, verb, entry, card, rest = _find(words)
    if entry is None:
        print(described(room, card))
        return 0
    from tuti.app.invoke import invoke

    invoke(room, verb, entry, rest, card)
    return 0


def _find(words: list[str]) -> tuple[str, str, Entry | None, Card, list[str]]:
    """Which room, verb and function the words name, and what is left of them."""
    first, *rest = words
    verbs, groups = _verbs(), all_cards()
    if first in verbs:
        room, card = verbs[first]
        return room, first, card.verbs[first], card, rest
    if first not in groups:
        raise UsageError(f"no command {first!r}", sorted({*verbs, *groups}))
    card = groups[first]
    entries = {**card.stages, **card.views}
    if not rest or rest[0] in ("--help", "-h"):
        return first, "", None, card, rest
    if rest[0] not in entries:
        raise UsageError(f"room {first} has no {rest[0]!r}", sorted(entries))
    return first, rest[0], entries[rest[0]], card, rest[1:]


def _verbs() -> dict[str, tuple[str, Card]]:
    """What stands at the top of the command line, with its room and card."""
    groups = {"tuti": HOUSE} | all_cards()
    return {verb: (name, card) for name, card in groups.items() for verb in card.verbs}


class UsageError(UserError):
    """A word that names nothing; the hint shows those that do."""

    def __init__(self, what: str, known: list[str]) -> None:
        super().__init__(what, hint=f"one of: {', '.join(known)}")


def overview() -> str:
    """What `tuti --help` prints."""
    lines = [f"tuti {__version__} — teach a language model from your own text", "", "commands:"]
    lines += [f"  {verb:<12} {card.verbs[verb].help}" for verb, (_, card) in sorted(_verbs().items())]
    lines += ["", "rooms:"]
    for name, card in systems.cards().items():
        lines += [f"  {name:<12} {card.title}", f"  {'':<12} {', '.join([*card.stages, *card.views])}"]
    lines += ["", "tuti COMMAND --help and tuti ROOM STAGE --help list the options."]
    return "\n".join(lines)
