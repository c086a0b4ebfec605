"""What a person at the keyboard is told: the one exception that is meant for them, and text that is safe."""

import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO


class UserError(ValueError):
    """What was found and the rule it breaks, with the remedy on a `hint:` line.

    The command line prints it without a traceback; anything else that escapes is a bug of ours.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        self.what = what
        self.hint = hint
        super().__init__(f"{what}\nhint: {hint}" if hint else what)


@contextmanager
def damaged(what: object, hint: str, *more: type[Exception]) -> Generator[None]:
    """Turns an error in reading (one of `more`, too) into one that tells what is damaged, and the remedy."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, *more) as error:
        raise UserError(f"{what} damaged: {error}", hint) from error


def has_colours(stream: TextIO) -> bool:
    """Whether a person reads the stream, who has not asked for plain text."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def red(text: str) -> str:
    """The text in red where stderr has colours."""
    return f"\x1b[31m{text}\x1b[0m" if has_colours(sys.stderr) else text


def printable(text: str) -> str:
    """With escapes for what could steer a terminal or disturb a page: controls, lone surrogates, and marks
    that turn what stands around them. Joiners and marks of one place (ZWNJ, LRM, RLM) stay.
    """
    marks = "[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
    return re.sub(marks, lambda found: repr(found[0])[1:-1], text)
