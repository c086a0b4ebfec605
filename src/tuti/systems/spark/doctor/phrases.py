"""What the page of the room says, in English and in Persian, as it stands in phrases.toml."""

import tomllib
from pathlib import Path

_TABLES = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text("utf-8"))
PHRASES: dict[str, tuple[str, str]] = {
    name: (both["en"], both["fa"]) for name, both in _TABLES["phrases"].items()
}
NAMES: dict[str, str] = _TABLES["names"]
"""What the doctor names in English, in Persian"""
