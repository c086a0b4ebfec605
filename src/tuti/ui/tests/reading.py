"""Reads HTML strictly enough to see that a page is well formed and refers to nothing outside itself."""

from html.parser import HTMLParser

VOID = frozenset("meta link br hr img input".split())
SVG_EMPTY = frozenset("line polyline circle path rect".split())


class Reader(HTMLParser):
    """Tags with their attributes, the text, and every tag closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(markup)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in <{tag}>"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_EMPTY | VOID, f"<{tag}/>"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every tag of this name."""
        return [attrs for name, attrs in self.tags if name == tag]

    def check_alone(self) -> None:
        """No script, no handler, no address outside the page; every id once, every reference found."""
        ids = [attrs["id"] for _, attrs in self.tags if "id" in attrs]
        assert len(ids) == len(set(ids)), "an id twice"
        for tag, attrs in self.tags:
            assert tag not in {
                "script",
                "iframe",
                "object",
                "embed",
                "link",
                "img",
                "base",
                "form",
            }, tag
            for name, value in attrs.items():
                assert not name.startswith("on"), f"{tag} {name}"
                if name in {"src", "href", "xlink:href", "action", "srcset", "data"}:
                    assert value.startswith("#") and value[1:] in ids, f"{tag} {name}={value}"
                if name in {"aria-labelledby", "aria-describedby", "for"}:
                    assert set(value.split()) <= set(ids), value
                assert "url(" not in value
