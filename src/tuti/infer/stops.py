"""Stop strings in a stream: no part of one is ever given out, nothing else is held back for long."""

from collections.abc import Sequence


class StopText:
    """Text pushed in pieces comes out up to the first stop string; `found` says which it was.

    Held back is only the longest end of the text so far that could begin a stop string.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.found: str | None = None
        self._stops = [stop for stop in stops if stop]
        self._held: str = ""

    def push(self, text: str) -> str:
        """What may be given out now."""
        if self.found is not None:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        places = [(text.find(stop), stop) for stop in self._stops if stop in text]
        if places:
            place, self.found = min(places)
            self._held: str = ""
            return text[:place]
        ends = range(min(len(text), max(map(len, self._stops)) - 1), 0, -1)  # the longest first
        keep = next((n for n in ends if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, at the end of a text that met no stop string."""
        held, self._held = self._held, ""
        return held
