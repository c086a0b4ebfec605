"""The one contract between a conversation and the ids a model sees: for SFT, DPO, RL and serving."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tuti.run import UserError, atomic_write, hash_text, read_json
from tuti.text.sandbox import LARGEST_TEMPLATE, render_template
from tuti.text.tokenizer import CONFIG_FILE, CONFIG_KEYS, Tokenizer

FILE = "chat_template.jinja"
ROLES = ("system", "user", "assistant", "tool")
TEMPLATES = {
    name: Path(__file__).with_name(f"{name}.jinja").read_text("utf-8") for name in ("default", "mixtral")
}
"""Our own, `<|role|>`, newline, content, `<|end|>`, newline for each message; Mixtral's Instruct format"""
DEFAULT = TEMPLATES["default"]
# Put inside what looks like a special token in a message, so that it is none: shown as nothing.
NEUTRALISER = "\u200b"

DEEPEST = 64  # how far the JSON of tools and calls may be nested

Message = Mapping[str, Any]
"""role and content; perhaps tool_calls, tool_call_id and name, as in OpenAI's API"""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, as ids, and which ids the assistant said (its stop tokens included)."""

    text: str
    ids: list[int]
    mask: list[bool]


class ChatTemplate:
    """A Jinja chat template bound to its tokenizer: conversation → text, ids, loss mask.

    A message cannot forge a turn: in its content each special token's text gets a U+200B after
    its first character, and is then ordinary text that reads the same.
    """

    def __init__(self, tokenizer: Tokenizer, source: str) -> None:
        self.tokenizer, self.source = tokenizer, source
        self.hash = hash_text(f"{source}\n{tokenizer.hash}")
        self._special = _any_of(tokenizer.specials)
        # An added token is a control token too when the template writes it (Qwen's <tool_call>).
        forgeable = [name for name in tokenizer.added if name in source or name in tokenizer.specials]
        self._forgeable = _any_of(forgeable)
        self._names = {key: tokenizer.special_text(key) for key in CONFIG_KEYS}
        probe = self.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
        last = max(i for i, said in enumerate(probe.mask) if said)
        self.stops: tuple[int, ...] = tuple(dict.fromkeys((probe.ids[last], tokenizer.end)))

    @classmethod
    def default(cls, tokenizer: Tokenizer, name: str = "default") -> "ChatTemplate":
        """One of `TEMPLATES`."""
        tokenizer.special("<|end|>")
        return cls(tokenizer, TEMPLATES[name])

    @classmethod
    def load(cls, folder: str | Path) -> "ChatTemplate":
        """From `chat_template.jinja`, else the template in `tokenizer_config.json`; with its tokenizer."""
        tokenizer, source = Tokenizer.load(folder), template_in(Path(folder))
        if source is None:
            what = f"{folder} has no chat template ({FILE}, or chat_template in {CONFIG_FILE})"
            raise UserError(what, hint="a base model has none: teach it with sft first")
        return cls(tokenizer, source)

    def save(self, folder: str | Path) -> None:
        """Writes `chat_template.jinja` and the tokenizer's files."""
        self.tokenizer.save(folder)
        atomic_write(Path(folder) / FILE, self.source)

    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Any] = (), add_generation_prompt: bool = False
    ) -> Rendered:
        """The conversation as the model sees it; `tools` are JSON, as OpenAI's API lists them.

        The mask holds on an assistant's content and the special token that ends its turn. A turn is found by
        rendering what comes before it, with the generation prompt; byte-level ids are made turn by
        turn, so that the ids a server feeds before an answer begin the ids trained on, whatever the answer.
        """
        chat = [self._checked(i, message) for i, message in enumerate(messages)]
        if not chat or chat[0]["role"] == "assistant":
            what = "a conversation must begin with a message by the system or the user"
            raise UserError(what, hint="put what the assistant answers in front of its answer")
        told = [self._plain(tool) for tool in tools]
        text = self._text(chat, told, add_generation_prompt)
        pieces: list[tuple[str, bool]] = []
        at = 0
        for i, message in enumerate(chat):
            if message["role"] == "assistant":
                start, stop = self._turn(chat, told, i, text)
                pieces += [(text[at:start], False), (text[start:stop], True)]
                at = stop
        pieces.append((text[at:], False))
        ids, mask = self._encode(pieces)
        return Rendered(text, ids, mask)

    def _text(self, chat: Sequence[Message], tools: Sequence[Any], add_generation_prompt: bool) -> str:
        context = {key: name for key, name in self._names.items() if name is not None}
        context |= {"messages": [dict(message) for message in chat], "documents": None}
        context |= {"tools": tools or None, "add_generation_prompt": add_generation_prompt}
        return render_template(self.source, context)

    def _turn(self, chat: Sequence[Message], tools: Sequence[Any], i: int, text: str) -> tuple[int, int]:
        """Where the assistant's message i starts and stops in the rendered text."""
        before, after = self._text(chat[:i], tools, True), self._text(chat[: i + 1], tools, False)
        if not (after.startswith(before) and text.startswith(after)):
            raise UserError(
                f"the chat template writes the start of a conversation anew when message {i} follows, so the"
                " model would be trained on what it never sees when it answers",
                hint="use a template that only appends (the default one does)",
            )
        ends = [found.end() for found in self._special.finditer(after, len(before))]
        if not ends:
            raise UserError(
                "the chat template ends an assistant's message without a special token: a model could never"
                " learn to stop",
                hint="end each assistant message with a special token of the tokenizer",
            )
        return len(before), ends[-1]

    def _encode(self, pieces: list[tuple[str, bool]]) -> tuple[list[int], list[bool]]:
        if self.tokenizer.byte_level:
            parts = [(self.tokenizer.encode_with_specials(piece)[0], said) for piece, said in pieces]
            return [i for ids, _ in parts for i in ids], [said for ids, said in parts for _ in ids]
        # SentencePiece puts a space before each text it is given: one call, and turns by offsets.
        said_at = [said for piece, said in pieces for _ in piece]
        ids, offsets = self.tokenizer.encode_with_specials("".join(piece for piece, _ in pieces))
        return ids, [said_at[min(start, len(said_at) - 1)] for start, _ in offsets]

    def _checked(self, i: int, message: Message) -> dict[str, Any]:
        found = cast(object, message)
        fields = cast(dict[str, object], dict(message)) if isinstance(found, Mapping) else {}
        role, content = fields.get("role"), fields.get("content")
        if role not in ROLES:
            what = f"message {i} has the role {role!r}; a role is one of {', '.join(ROLES)}"
            raise UserError(what, hint='write messages as {"role": "user", "content": "…"}')
        if not isinstance(content, str):
            what = f"message {i} has content of type {type(content).__name__}, not a string"
            raise UserError(what, hint="give text only")
        more = {key: fields[key] for key in ("tool_calls", "tool_call_id", "name") if key in fields}
        return {"role": str(role), "content": self.neutralise(content), **self._plain(more)}

    def _plain(self, value: Any, depth: int = 0) -> Any:
        """JSON, each string in it as `neutralise` makes it."""
        if depth > DEEPEST:
            raise UserError(f"a tool or a call is nested deeper than {DEEPEST}", hint="make it flatter")
        if isinstance(value, Mapping):
            items = cast(Mapping[str, Any], value).items()
            return {self.neutralise(key): self._plain(inner, depth + 1) for key, inner in items}
        if isinstance(value, list):
            return [self._plain(inner, depth + 1) for inner in cast(list[Any], value)]
        return self.neutralise(value) if isinstance(value, str) else value

    def neutralise(self, content: str) -> str:
        """The content with U+200B inside every special token's text."""
        content = content if content.isascii() else content.encode("utf-8", "replace").decode()
        for _ in range(8):
            if not self._forgeable.search(content):
                return content
            content = self._forgeable.sub(lambda found: found[0][:1] + NEUTRALISER + found[0][1:], content)
        what = "the tokenizer has special tokens that cannot be told from text"
        raise UserError(what, hint="use the default chat template and a tokenizer made here")


def _any_of(names: Sequence[str] | Mapping[str, int]) -> re.Pattern[str]:
    # A token of one character cannot be broken inside; no tokenizer's template is written with such.
    longest_first = sorted((name for name in names if len(name) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def template_in(folder: Path) -> str | None:
    """The source of a folder's chat template, if it has one."""
    path = folder / FILE
    if path.exists():
        try:
            with open(path, encoding="utf-8") as file:
                return file.read(LARGEST_TEMPLATE + 1)  # one that is longer is refused by its length
        except (UnicodeDecodeError, OSError) as error:
            raise UserError(f"{path} is not readable text: {error}", hint="make it again") from error
    path = folder / CONFIG_FILE
    found: object = read_json(path).get("chat_template") if path.exists() else None
    if isinstance(found, list):  # several, by name
        named = [cast(dict[str, Any], one) for one in cast(list[Any], found) if isinstance(one, dict)]
        found = next((one.get("template") for one in named if one.get("name") == "default"), None)
    return found if isinstance(found, str) else None
