"""One self-contained page: no script, no font, no picture, no address outside itself."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuti.ui.style import STYLE
from tuti.ui.text import escape

# Even if a text slipped through the escaping, the browser would run and load nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Section:
    """A part of a page under its heading; an empty one is left out."""

    name: str
    heading: str
    inside: str


def section(name: str, heading: str, *parts: str) -> Section:
    """A section with the markup of its parts; `name` is its anchor."""
    assert name.replace("-", "").isalnum(), "an anchor is letters, digits and hyphens"
    return Section(name, heading, "\n".join(part for part in parts if part))


def page(
    title: str,
    lead: str,
    sections: Sequence[Section],
    *,
    language: str = "en",
    direction: str = "ltr",
) -> str:
    """The whole document: `title` is text, `lead` the markup below it."""
    shown = [part for part in sections if part.inside]
    links = "".join(f'<li><a href="#{s.name}">{escape(s.heading)}</a></li>' for s in shown)
    body = "\n".join(
        f'<section id="{s.name}" aria-labelledby="{s.name}-heading">\n'
        f'<h2 id="{s.name}-heading">{escape(s.heading)}</h2>\n{s.inside}\n</section>'
        for s in shown
    )
    return f"""<!DOCTYPE html>
<html lang="{escape(language)}" dir="{escape(direction)}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<style>
{STYLE}</style>
</head>
<body class="tuti">
<a class="skip" href="#content">Skip to the content</a>
<header>
<h1 dir="auto">{escape(title)}</h1>
{lead}
<nav aria-label="Contents"><ul>{links}</ul></nav>
</header>
<main id="content" tabindex="-1">
{body}
</main>
</body>
</html>
"""
