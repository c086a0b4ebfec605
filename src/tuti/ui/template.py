"""The templates beside this file, filled: each value is escaped as `tuti.ui.text.escape` does."""

from pathlib import Path

import jinja2

from tuti.run import hash_text
from tuti.ui.text import visible


def _plain(value: object) -> object:
    """A value as it enters a page: markup as it is, of the rest what cannot disturb the page."""
    return value if hasattr(value, "__html__") else visible(str(value))


def templates(folder: Path) -> jinja2.Environment:
    """The templates of a folder; a name without a value is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, finalize=_plain, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )


_OURS = templates(Path(__file__).parent)


def rendered(name: str, **values: object) -> str:
    """The template `<name>.html` with these values, as markup."""
    return _OURS.get_template(f"{name}.html").render(values)


def drawn(name: str, title: str, told: str, **values: object) -> str:
    """A figure with its caption, whose drawing is said in words, too."""
    mark = "f" + hash_text(f"{title}\n{told}")[:10]
    return rendered(name, title=title, told=told, mark=mark, **values)
