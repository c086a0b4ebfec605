"""HTML → plain text, by selectolax, piece by piece so that a page of any length fits in memory."""

import re
from collections.abc import Iterable, Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from tuti.run import read_toml

PIECE = 2_000_000
"""Characters parsed at a time."""

_TABLE = read_toml(__file__, "markup.toml")
_HIDDEN = frozenset(_TABLE["hidden"].split())
_BREAKS = {"br": "\n", "td": " ", "th": " "}
_BREAKS.update(dict.fromkeys(_TABLE["blocks"].split(), "\n\n") | dict.fromkeys(_TABLE["lines"].split(), "\n"))
"""What stands before an element and behind it"""
_AROUND, _NAMED = (", ".join(_TABLE[name]) for name in ("around", "named"))
_OPEN = re.compile(r"<(script|style|template|noscript)\b", re.IGNORECASE)
LINKED = 0.6
"""A block with a larger share of its characters in links is navigation"""
_SPACES = re.compile(r"\s+")


def html_text(html: str, *, main: bool = False) -> str:
    """The text of a page's body: scripts and styles left out, blocks on lines of their own.

    `main`: without what stands around the text (`without_furniture`).
    """
    body = LexborHTMLParser(html).body
    if main and body is not None:
        without_furniture(body)
    out: list[str] = ["\n"]
    verbatim = 0
    stack: list[LexborNode | str] = [] if body is None else [body]
    while stack:
        item = stack.pop()
        if isinstance(item, str):  # the end of an element
            verbatim -= item == "pre"
            out.append(_BREAKS.get(item, ""))
            continue
        tag = str(item.tag)
        if tag == "-text":
            text = item.text_content or ""
            text = text if verbatim else _SPACES.sub(" ", text)
            out.append(text if verbatim or not out[-1].endswith("\n") else text.removeprefix(" "))
        elif not tag.startswith(("-", "!")) and tag not in _HIDDEN:
            verbatim += tag == "pre"
            out.append(_BREAKS.get(tag, ""))
            stack.append("" if tag == "br" else tag)
            stack.extend(reversed(list(item.iter(include_text=True))))
    joined = re.sub(r"[ \t]+\n", "\n", "".join(out))
    return re.sub(r"\n{3,}", "\n\n", joined).strip("\n")


def without_furniture(body: LexborNode) -> None:
    """Takes out of a page what is around its text: navigation, footers, asides, forms, lists of links.

    By what HTML itself says (elements, ARIA roles), by the names that sites give to such parts, and by how
    much of a block is inside links (Kohlschütter et al. 2010, Boilerplate Detection, section 4). What is
    half of a page or more stays: a page that is nothing else keeps what it has.
    """
    page = len(body.text(strip=True))
    for blocks, linked, links in (
        (_AROUND, 0.0, 0), (_NAMED, LINKED / 2, 0),  # a sidebar can be a box of text in a book
        ("ul, ol, dl, table, div, p, section", LINKED, 3),
    ):
        for node in body.css(blocks):
            size, found = len(node.text(strip=True)), node.css("a")
            inside = sum(len(link.text(strip=True)) for link in found)
            named = node.tag in ("body", "main", "article")
            if not named and size < 0.5 * page and len(found) >= links and inside >= linked * size:
                node.decompose()


def _cut(text: str, limit: int) -> int:
    """A place before a tag, outside scripts and their like."""
    at = text.rfind("\n<", limit // 2, limit) + 1 or text.rfind("<", limit // 2, limit)
    for opened in _OPEN.finditer(text, 0, limit):
        close = text.find(f"</{opened.group(1)}", opened.end(), limit)
        if opened.start() < at and (close < 0 or close >= at) and opened.start() > 0:
            return opened.start()
    return at if at > 0 else limit


def html_pieces(pieces: Iterable[str], limit: int = PIECE) -> Iterator[str]:
    """The main texts of a page's pieces, in order; a page below `limit` characters is one piece."""
    html = ""
    for piece in pieces:
        html += piece
        while len(html) > limit:
            at = _cut(html, limit)
            yield html_text(html[:at], main=True) + "\n"
            html = html[at:]
    yield html_text(html, main=True)
