"""Which tokens may come next, so that what a model writes is UTF-8.

A byte-level vocabulary can spell half a character, and a model that is unsure of its next word does.
UTF-8 is a regular language: seven places inside a character, and the bytes that lead on from each
(RFC 3629, section 4). Walked over a token's bytes, that gives the token's own move from place to place.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

WHOLE, ONE, TWO, THREE, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4, BROKEN = range(9)
"""Between characters; one, two, three bytes to come; where the next byte is bounded further; nowhere"""
MOVES = (  # from, first byte, last byte, to
    (WHOLE, 0x00, 0x7F, WHOLE),
    (WHOLE, 0xC2, 0xDF, ONE),
    (WHOLE, 0xE0, 0xE0, AFTER_E0),
    (WHOLE, 0xE1, 0xEF, TWO),
    (WHOLE, 0xED, 0xED, AFTER_ED),  # no surrogates
    (WHOLE, 0xF0, 0xF0, AFTER_F0),
    (WHOLE, 0xF1, 0xF3, THREE),
    (WHOLE, 0xF4, 0xF4, AFTER_F4),  # nothing above U+10FFFF
    (ONE, 0x80, 0xBF, WHOLE),
    (TWO, 0x80, 0xBF, ONE),
    (THREE, 0x80, 0xBF, TWO),
    (AFTER_E0, 0xA0, 0xBF, ONE),
    (AFTER_ED, 0x80, 0x9F, ONE),
    (AFTER_F0, 0x90, 0xBF, TWO),
    (AFTER_F4, 0x80, 0x8F, TWO),
)


class Utf8:
    """For each place inside a character and each token: may it follow, and where does it lead?"""

    allowed: NDArray[np.bool_]
    """[places, vocabulary]"""
    after: NDArray[np.uint8]
    """[places, vocabulary] the place after the token; `WHOLE` after one that is not allowed"""

    def __init__(self, tokens: Sequence[bytes], specials: AbstractSet[int]) -> None:
        """`tokens`: the bytes of each id; special tokens have none, and stand between characters."""
        step = np.full((BROKEN + 1, 256), BROKEN, np.uint8)
        for place, first, last, to in MOVES:
            step[place, first : last + 1] = to
        sizes = np.fromiter(map(len, tokens), np.int64, len(tokens))
        starts = np.cumsum(sizes) - sizes
        joined = np.frombuffer(b"".join(tokens), np.uint8)
        after = np.repeat(np.arange(BROKEN, dtype=np.uint8)[:, None], len(tokens), axis=1)
        for at in range(int(sizes.max(initial=0))):  # all tokens a byte at a time
            longer = np.flatnonzero(sizes > at)
            after[:, longer] = step[after[:, longer], joined[starts[longer] + at]]
        special = sorted(specials)
        after[:, special] = BROKEN
        after[WHOLE, special] = WHOLE
        self.allowed = after != BROKEN
        # A vocabulary that begins characters which it cannot finish: better half of one than no token.
        self.allowed[~self.allowed.any(axis=1)] = True
        self.after = np.where(after == BROKEN, np.uint8(WHOLE), after)
