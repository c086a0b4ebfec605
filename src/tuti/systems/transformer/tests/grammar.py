"""A small probabilistic grammar in two scripts, with agreement farther apart than an n-gram can see.

Every choice is uniform, so the text's entropy is known: no model can spend fewer bits on average.
"""

import math
import random
from pathlib import Path

LATIN = "bdfgklmnprst", "aeiou"
ARABIC = "بتجدرسشکگلمن", "اویه"


def bag(letters: tuple[str, str], size: int, syllables: int, chance: random.Random) -> list[str]:
    """`size` different invented words."""
    found: set[str] = set()
    while len(found) < size:
        found.add("".join(chance.choice(letters[n % 2]) for n in range(2 * syllables)))
    return sorted(found)


class Grammar:
    """`the N A V ; …  said the N .`: the noun comes back at the end, some thirty bytes later."""

    def __init__(self, seed: int = 0) -> None:
        chance = random.Random(seed)
        self.bags = {
            script: [
                bag(letters, 40, 2, chance),
                bag(letters, 24, 1, chance),
                bag(letters, 24, 2, chance),
            ]
            for script, letters in (("Latin", LATIN), ("Arabic", ARABIC))
        }

    def sentence(self, script: str, chance: random.Random) -> str:
        nouns, adjectives, verbs = (chance.choice(words) for words in self.bags[script])
        if script == "Latin":
            return f"the {nouns} is {adjectives}, it will {verbs} again, said the {nouns}."
        return f"این {nouns} که {adjectives} است می‌{verbs} و باز، گفت آن {nouns}."

    def bits(self, script: str) -> float:
        """Entropy of a sentence."""
        return sum(math.log2(len(words)) for words in self.bags[script])


def write_corpus(folder: Path, size: int = 300_000, seed: int = 0) -> Grammar:
    """`size` bytes of documents of eight sentences; two thirds Latin, one third Arabic letters."""
    folder.mkdir(parents=True)
    grammar, chance, written, number = Grammar(seed), random.Random(seed + 1), 0, 0
    while written < size:
        script = "Arabic" if number % 3 == 2 else "Latin"
        text = "\n".join(grammar.sentence(script, chance) for _ in range(8))
        (folder / f"{number:04d}.txt").write_text(text, encoding="utf-8")
        written += len(text.encode())
        number += 1
    return grammar
