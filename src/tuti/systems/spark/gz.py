"""Gzip that gives all it can: where a file is damaged, what stands before the damage is read first.

`gzip.GzipFile` raises in the read that meets the damage, and what that read had unpacked is lost: of a small
file, everything.
"""

import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO

PIECE = 4096
"""Packed bytes given to zlib at a time; an error costs the repetition of one piece, byte by byte"""


def unpacked(raw: BinaryIO) -> Iterator[bytes]:
    """The content of a gzip file of any number of members; EOFError or zlib.error where it is damaged."""
    member, begun = zlib.decompressobj(wbits=31), False
    while piece := raw.read(PIECE):
        while piece:
            if not begun and not (piece := piece.lstrip(b"\0")):
                break  # padding
            before, begun = member.copy(), True
            try:
                yield member.decompress(piece)
            except zlib.error:
                for at in range(len(piece)):  # ends by the same error, later
                    yield before.decompress(piece[at : at + 1])
                raise
            piece = member.unused_data
            if member.eof:
                member, begun = zlib.decompressobj(wbits=31), False
    if begun:
        raise EOFError("it ends before its end was marked")


class Gzip(io.RawIOBase):
    """`unpacked` as a file."""

    def __init__(self, raw: BinaryIO) -> None:
        self._parts, self._held = unpacked(raw), b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes, at least one before the end (all: not supported, a file may be any size)."""
        assert size >= 0
        while not self._held:
            part = next(self._parts, None)
            if part is None:
                break
            self._held = part
        data, self._held = self._held[:size], self._held[size:]
        return data
