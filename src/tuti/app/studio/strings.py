"""What the interface says, in English and in Persian; names of rooms, fields and rules stay as they are."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tuti.pipelines.report import abilities

SIZES = {"small": 1, "large": 10**9}
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


_SAID: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("strings.toml").read_text("utf-8"))
for _size, _parameters in SIZES.items():  # whose English is the report's
    for _what, _told in zip(("can", "cannot"), abilities(_parameters), strict=True):
        _SAID[f"what_{_size}_{_what}"]["en"] = _told
ENGLISH, PERSIAN = ({name: said[code] for name, said in _SAID.items()} for code in ("en", "fa"))
LANGUAGES = {"en": Language("en", "ltr", "English", ENGLISH), "fa": Language("fa", "rtl", "فارسی", PERSIAN)}


def language(code: str) -> Language:
    """The language of this code, English for any other."""
    return LANGUAGES.get(code, LANGUAGES["en"])
