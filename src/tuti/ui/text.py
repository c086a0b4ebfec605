"""Text of corpora and models as HTML: escaped, in its own direction, unable to disturb its surroundings."""

import html
import re

# Embeddings, overrides and isolates turn the order of what stands around them; and U+2028, U+2029,
# control characters and lone surrogates have no place in a page. Joiners and marks (ZWNJ, LRM, RLM) stay.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """The text with every character that could disturb a page written as its escape."""
    return _HARMFUL.sub(_spelled, text)


def _spelled(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def escape(text: object) -> str:
    """The value as HTML text or as the inside of a quoted attribute."""
    return html.escape(visible(str(text)), quote=True)


def inline(text: object) -> str:
    """A phrase in its own direction inside a line of another."""
    return f'<bdi dir="auto">{escape(text)}</bdi>'


def paragraph(text: object, kind: str = "") -> str:
    """A paragraph in its own direction."""
    return f'<p dir="auto"{_class(kind)}>{escape(text)}</p>'


def block(text: object, kind: str = "sample") -> str:
    """Lines as they are, each in its own direction, wrapped to the page's width."""
    return f'<pre dir="auto"{_class(kind)}>{escape(text)}</pre>'


def folded(summary: object, inside: str) -> str:
    """Markup that opens when its summary is chosen, by pointer or keyboard."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def _class(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""
