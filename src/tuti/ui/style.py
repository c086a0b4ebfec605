"""The one style sheet: logical properties (so it works right to left), light and dark, phone width, print."""

from pathlib import Path

STYLE = Path(__file__).with_name("style.css").read_text("utf-8")
