"""What a model is taught to answer with: the folder's own dialogues, and exercises made from its texts.

What to answer in an exercise stands in the text:
continue · which line follows (four to choose from) · complete the line · who speaks (in plays). All are a
pure function of (documents, count, seed), asked in Persian of Persian documents and in English of others.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from tuti.data.dialogues import Dialogue
from tuti.run import read_documents, read_rows, read_toml
from tuti.text import ChatTemplate, is_persian

LONGEST = 160
"""Characters of a piece: a line, or a stretch of a longer one"""
CHOICES = 4
REPEATS = 4
"""A folder's own dialogues are repeated up to so often an epoch, that exercises do not drown them"""
_SENTENCE = re.compile(r"[.!?؟…;؛]+[\"'»”’)\]]*\s+|[。！？]+")
_SPACE = re.compile(r"\s+")
_SPEAKER = re.compile(
    r"^(?:\*\*(?P<bold>[^*\n]{1,40})\*\*[.:]?|(?P<plain>[^\W\d_][^\n:]{0,30}):)[ \t]*(?P<rest>.*)$",
    re.MULTILINE,
)

PROMPTS: dict[str, dict[str, list[str]]] = read_toml(__file__, "prompts.toml")
"""Language → kind → wordings; and `numbers`, of the lines to choose from"""
Row = Mapping[str, str]
Message = dict[str, str]
Asked = tuple[str, Sequence[str], dict[str, str]]
"""An answer, what to choose from, and what a wording is filled with"""


@dataclass(frozen=True)
class Exercise:
    """A question with its answer; `options` are the answers to choose from when it is scored."""

    kind: str
    messages: tuple[Message, Message]
    options: tuple[str, ...] = ()

    @property
    def right(self) -> int:
        """Which option is the answer."""
        return self.options.index(self.messages[1]["content"])


def make_exercises(documents: Sequence[Row], count: int, seed: int) -> list[Exercise]:
    """Up to `count` exercises, documents and kinds in turn; `continue` where a document gives no other."""
    made: dict[str, Exercise] = {}
    by_script: dict[str, list[Row]] = {}
    for row in documents:
        by_script.setdefault(row["script"], []).append(row)
    for n in range(count if documents else 0):
        chance = random.Random(f"{seed}:{n}")
        row = documents[n % len(documents)]
        kind = KINDS[(n + n // len(documents)) % len(KINDS)]
        found = _ASK[kind](row, by_script[row["script"]], chance)
        if found is None:
            kind, found = "continue", _continue(row, (), chance)
        if found is not None:
            answer, options, parts = found
            asked = chance.choice(PROMPTS[language(row["text"])][kind]).format(**parts)
            messages = {"role": "user", "content": asked}, {"role": "assistant", "content": answer}
            made.setdefault(asked, Exercise(kind, messages, tuple(options)))
    return list(made.values())


@lru_cache(4096)
def language(text: str) -> str:
    """The language in which questions about a document are asked."""
    return "fa" if is_persian(text) else "en"


@lru_cache(1024)
def pieces_of(text: str) -> tuple[str, ...]:
    """The text cut into lines, long lines into sentences and shorter; joined they are the text again.

    White space stays at the end of the piece before it.
    """
    pieces: list[str] = []
    for line in text.splitlines(keepends=True):
        if not line.strip() and pieces:
            pieces[-1] += line
        else:
            pieces += _shorten(line)
    return tuple(pieces)


def _shorten(line: str) -> list[str]:
    found: list[str] = []
    start = 0
    while len(line.rstrip()) - start > LONGEST:
        window = start + LONGEST // 4, start + LONGEST
        cuts = ([m.end() for m in pattern.finditer(line, *window)] for pattern in (_SENTENCE, _SPACE))
        end = next((ends[-1] for ends in cuts if ends), start + LONGEST)
        found.append(line[start:end])
        start = end
    return [*found, line[start:]]


def _tidy(pieces: Sequence[str], before: str = "\n") -> str:
    """Pieces as an answer: the indentation of a whole first line stays."""
    text = "".join(pieces).rstrip()
    return text.strip("\n") if before.endswith("\n") else text.strip()


def _continue(row: Row, _: Sequence[Row], chance: random.Random) -> Asked | None:
    pieces = pieces_of(row["text"])
    if len(pieces) < 2:
        return None
    given, wanted = chance.choice((1, 2, 2)), chance.choice((1, 2, 2, 4))
    middle = chance.randrange(1, len(pieces))
    # Verse comes in pairs of lines: start where a pair would.
    middle += middle % 2 if middle + 1 < len(pieces) else 0
    text = _tidy(pieces[max(0, middle - given) : middle])
    answer = _tidy(pieces[middle : middle + wanted], pieces[middle - 1])
    if not (text.strip() and answer.strip()):
        return None
    return answer, (), {"text": text}


def _follows(row: Row, others: Sequence[Row], chance: random.Random) -> Asked | None:
    pieces = [piece.strip() for piece in pieces_of(row["text"])]
    places = [i for i in range(len(pieces) - 1) if _says(pieces[i]) and _says(pieces[i + 1])]
    if not places:
        return None
    at = chance.choice(places)
    choices = _choices(row, others, chance, pieces[at + 1], lambda piece: piece)
    if not choices:
        return None
    numbers = PROMPTS[language(row["text"])]["numbers"]
    options = [f"{number}) {choice}" for number, choice in zip(numbers, choices, strict=True)]
    answer = options[choices.index(pieces[at + 1])]
    return answer, options, {"text": pieces[at], "choices": "\n".join(options)}


def _cloze(row: Row, others: Sequence[Row], chance: random.Random) -> Asked | None:
    pieces = [piece.strip() for piece in pieces_of(row["text"])]
    size = chance.choice((1, 1, 2))
    places = [i for i in range(len(pieces)) if _end(pieces[i], size)]
    if not places:
        return None
    at = chance.choice(places)
    answer = _end(pieces[at], size)
    options = _choices(row, others, chance, answer, lambda piece: _end(piece, size))
    if not options:
        return None
    stub = pieces[at][: -len(answer)].rstrip()
    # Two lines before: in a couplet's second line, the first of them ends with the rhyme.
    text = "\n".join([*filter(_says, pieces[max(0, at - 2) : at]), stub])
    return answer, options, {"text": text}


def _says(piece: str) -> bool:
    """Whether a piece is more than a mark, a number or a name."""
    return sum(map(str.isalnum, piece)) >= 8 and not _SPEAKER.fullmatch(piece)


def _end(piece: str, size: int) -> str:
    """The last `size` words of a line that has enough others; of one without spaces, the last characters."""
    words = piece.split()
    if not _says(piece):
        return ""
    if len(words) >= 2 + 2 * size:
        return piece[len(piece.rsplit(None, size)[0]) :].lstrip()
    return piece[-2 * size :] if len(words) == 1 and len(piece) >= 8 * size else ""


def _choices(
    row: Row, others: Sequence[Row], chance: random.Random, right: str, part: Callable[[str], str]
) -> list[str]:
    """The right answer among wrong ones, parts of other documents of the same script; [] without enough."""
    found = [right]
    for _ in range(40 if len(others) > 1 else 0):
        other = chance.choice(others)
        piece = chance.choice(pieces_of(other["text"]) or ("",)).strip()
        wrong = part(piece) if _says(piece) else ""
        if other is not row and wrong and wrong not in found:
            found.append(wrong)
        if len(found) == CHOICES:
            chance.shuffle(found)
            return found
    return []


@lru_cache(1024)
def turns_of(text: str) -> tuple[tuple[str, str, str], ...]:
    """(name, its line as printed, what is said) of a play; empty for anything else.

    Several names must speak, one of them again; a name without `**` is in capitals where letters have case.
    """
    marks = [m for m in _SPEAKER.finditer(text) if m["bold"] or m["plain"].upper() == m["plain"]]
    names = [(m["bold"] or m["plain"]).strip(" .:") for m in marks]
    if len(set(names)) < 2 or len(names) < len(set(names)) + 1:
        return ()
    ends = [*(m.start() for m in marks[1:]), len(text)]
    turns: list[tuple[str, str, str]] = []
    for mark, name, end in zip(marks, names, ends, strict=True):
        said = (mark["rest"] + text[mark.end() : end]).strip()
        head = mark[0][: mark.start("rest") - mark.start()].strip()
        turns.append((name, head, said.split("\n\n")[0][: 2 * LONGEST]))
    return tuple(turns)


def _speaker(row: Row, _: Sequence[Row], chance: random.Random) -> Asked | None:
    turns = turns_of(row["text"])
    places = [i for i in range(1, len(turns)) if turns[i][0] != turns[i - 1][0] and turns[i][2]]
    if not places:
        return None
    at = chance.choice(places)
    name = turns[at][0]
    others = list(dict.fromkeys(turn[0] for turn in turns if turn[0] != name))
    options = [name, *chance.sample(others, min(CHOICES - 1, len(others)))]
    chance.shuffle(options)
    text = "\n\n".join([*(f"{h}\n{said}" for _, h, said in turns[max(0, at - 2) : at]), turns[at][2]])
    return name, options, {"text": text}


_ASK = {"continue": _continue, "follows": _follows, "cloze": _cloze, "speaker": _speaker}
KINDS = tuple(_ASK)


@dataclass(frozen=True)
class Material:
    """The folder's own conversations and exercises, as the ids that fit into one row."""

    exercises: list[Exercise]
    own: int
    """How many conversations are the folder's own"""
    dialogues: list[Dialogue]
    """Those, then the exercises"""
    lost: int
    """Conversations of which no answer fits into a row"""

    def repeated(self) -> list[Dialogue]:
        """An epoch: own dialogues first, as often as REPEATS allows, then the exercises."""
        times = min(REPEATS, max(1, len(self.exercises) // max(1, self.own)))
        return self.dialogues[: self.own] * times + self.dialogues[self.own :]


def own_dialogues(folder: Path, split: str, limit: int) -> list[list[Message]]:
    """The folder's own conversations, as the template can render them."""
    path = folder / f"dialogues-{split}.jsonl"
    found: list[list[Message]] = []
    for row in islice(read_rows(path) if path.exists() else (), limit):
        messages: list[Message] = list(row["messages"])
        while messages and messages[0]["role"] == "assistant":  # a greeting answers nothing
            messages.pop(0)
        named = [m | {"role": "system"} if m["role"] == "developer" else m for m in messages]
        if any(m["role"] == "assistant" for m in named):
            found.append(named)
    return found


def gather(
    folder: Path, split: str, template: ChatTemplate, context: int, exercises: int, seed: int
) -> Material:
    """The conversations of one split, rendered; an answer too long for a row is cut, a question drops out."""
    own = own_dialogues(folder, split, 50 * max(exercises, 1000))
    documents = list(islice(read_documents(folder, split), max(exercises, 1)))
    made = make_exercises(documents, exercises, seed)
    dialogues = [fitting for m in own if (fitting := render(template, m, context))]
    kept = [(e, fitting) for e in made if (fitting := render(template, e.messages, context))]
    return Material(
        [exercise for exercise, _ in kept], len(dialogues), dialogues + [fitting for _, fitting in kept],
        len(own) + len(made) - len(kept) - len(dialogues),
    )


def render(template: ChatTemplate, messages: Sequence[Message], context: int) -> Dialogue | None:
    """One conversation as ids, with what the assistant says; None if none of that fits."""
    rendered = template.render(messages)
    return Dialogue(rendered.ids, rendered.mask).cut(context)
