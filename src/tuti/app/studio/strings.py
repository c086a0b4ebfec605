"""What the interface says, in English and in Persian; names of rooms, fields and rules stay as they are."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tuti.pipelines.report import abilities

SMALL, LARGE = 1, 10**9
"""Parameters of a model of each kind"""


@dataclass(frozen=True)
class Language:
    """One language of the interface."""

    code: str
    direction: str
    own_name: str
    strings: dict[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """The string of this name, its places filled."""
        return self.strings[key].format(**values)


_SAID = tomllib.loads(Path(__file__).with_name("strings.toml").read_text("utf-8"))
_ABILITIES = {
    "what_small_can": abilities(SMALL)[0],
    "what_small_cannot": abilities(SMALL)[1],
    "what_large_can": abilities(LARGE)[0],
    "what_large_cannot": abilities(LARGE)[1],
}
"""Whose English is the report's; each other string has both languages in strings.toml"""
ENGLISH: dict[str, str] = {name: _ABILITIES.get(name) or said["en"] for name, said in _SAID.items()}
PERSIAN: dict[str, str] = {name: said["fa"] for name, said in _SAID.items()}
LANGUAGES = {
    "en": Language("en", "ltr", "English", ENGLISH),
    "fa": Language("fa", "rtl", "فارسی", PERSIAN),
}


def language(code: str) -> Language:
    """The language of this code, English for any other."""
    return LANGUAGES.get(code, LANGUAGES["en"])
