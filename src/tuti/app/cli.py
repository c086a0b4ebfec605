"""The command line, made from the cards: `tuti VERB …`, `tuti ROOM STAGE …`.

Help needs no room's code: cards name functions by string. The chosen verb's frozen dataclass is the
schema from which tyro makes the options.
"""

import os
import sys
from collections.abc import Sequence

from tuti import systems
from tuti.app.house import HOUSE, VERBS, all_cards
from tuti.run import Card, Entry, UserError, red

USAGE = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command; exit code 0 done, 1 failed, 2 usage, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _dispatch(words)
    except UserError as error:
        print(f"{red('error:')} {error}", file=sys.stderr)
        code = USAGE if isinstance(error, UsageError) else 1
    except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
        hint = "hint: name another place, or change its permissions"
        print(f"{red('error:')} {error}\n{hint}", file=sys.stderr)
        code = 1
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
        from tuti import __version__

        print(f"tuti {__version__}")
        return 0
    room, verb, entry, card, rest = _find(words)
    if entry is None:
        print(room_help(room, card))
        return 0
    from tuti.app.invoke import invoke

    invoke(room, verb, entry, rest, card)
    return 0


def _find(words: list[str]) -> tuple[str, str, Entry | None, Card, list[str]]:
    """Which room, verb and function the words name, and what is left of them."""
    first = words[0]
    if first in VERBS:
        return "tuti", first, VERBS[first], HOUSE, words[1:]
    groups = all_cards()
    for name, card in groups.items():
        if first in card.verbs:
            return name, first, card.verbs[first], card, words[1:]
    if first not in groups:
        known = sorted({*VERBS, *groups, *(v for c in groups.values() for v in c.verbs)})
        raise UsageError(f"no command {first!r}", known, first)
    card = groups[first]
    entries = {**card.stages, **card.views}
    if len(words) > 1 and words[1] in entries:
        return first, words[1], entries[words[1]], card, words[2:]
    if len(words) > 1 and words[1] not in ("--help", "-h"):
        raise UsageError(f"room {first} has no {words[1]!r}", sorted(entries), words[1])
    return first, "", None, card, words[1:]


class UsageError(UserError):
    """A word that names nothing; the hint shows the nearest that do."""

    def __init__(self, what: str, known: list[str], word: str) -> None:
        import difflib

        near = difflib.get_close_matches(word, known, n=3) or known
        super().__init__(what, hint=f"one of: {', '.join(near)} (tuti --help lists all)")


def overview() -> str:
    """What `tuti --help` prints."""
    from tuti import __version__

    lines = [f"tuti {__version__} — teach a language model from your own text", "", "commands:"]
    verbs = dict(VERBS)
    for card in all_cards().values():
        verbs |= card.verbs
    lines += [f"  {name:<12} {entry.help}" for name, entry in sorted(verbs.items())]
    lines += ["", "rooms:"]
    for name, card in systems.cards().items():
        lines += [f"  {name:<12} {card.title}", f"  {'':<12} {', '.join([*card.stages, *card.views])}"]
    lines += ["", "tuti COMMAND --help and tuti ROOM STAGE --help list the options."]
    return "\n".join(lines)


def room_help(name: str, card: Card) -> str:
    """What `tuti ROOM --help` prints."""
    lines = [f"{card.title}", card.paper, ""]
    for kind, entries in (("stages", card.stages), ("views", card.views)):
        if entries:
            lines += [f"{kind}:"]
            lines += [f"  tuti {name} {verb:<12} {entry.help}" for verb, entry in entries.items()]
    return "\n".join(lines)
