"""Persian spelling beyond the letters: half-spaces where a word is written in two, and short vowels.

A word and its ending belong together, joined by the zero-width non-joiner: می‌رود, کتاب‌ها, بزرگ‌تر, رفته‌اند,
خانه‌ای. Typists put a space, or nothing. The rules are those that hazm documents by examples; where they
would need a lexicon they are narrower here, so that no two words are joined that are two words.
"""

import regex

LETTERS = r"[\p{L}&&\p{Script=Arabic}]"
END = r"(?![\p{L}\p{M}\u200c])"
BEGIN = r"(?<![\p{L}\p{M}\u200c])"


def _rule(pattern: str) -> "regex.Pattern[str]":
    return regex.compile(pattern, regex.VERSION1)


# نمی is nothing but a prefix; می is also wine, so that what follows it must end as a verb does.
NOT = _rule(rf"{BEGIN}نمی (?={LETTERS}{{2}})")
VERB = _rule(rf"{BEGIN}می (?={LETTERS}+[مدتنی]{END})")
STEMS = "شو|کن|خواه|توان|گوی|گرد|باش|ده|رو|دان|بین|گیر|آی"
GLUED = _rule(rf"{BEGIN}(ن?می)(?=(?:{STEMS})(?:م|ی|د|یم|ید|ند){END})")
PLURAL = _rule(rf"(?<={LETTERS}{{2}}) (ها(?:ی(?:ی|م|ت|ش|مان|تان|شان)?)?|تر(?:ین)?){END}")
AFTER_HE = _rule(rf"(?<={LETTERS}{{2}}ه) (ا(?:م|ی|ت|ش|یم|ید|ند)|ی){END}")
HE_PLURAL = _rule(rf"(?<={LETTERS}ه)(?=ها(?:ی(?:ی|م|ت|ش|مان|تان|شان)?)?{END})")
VOWEL_SIGNS = regex.compile("[\u064b-\u0650\u0652\u0670]")


def half_spaces(text: str, *, verse: bool = False) -> str:
    """Persian text with its prefixes and endings joined by U+200C; idempotent.

    `verse`: a lone می stays, since in poems it is wine as often as a prefix.
    """
    text = NOT.sub("نمی\u200c", text)
    if not verse:
        text = GLUED.sub("\\1\u200c", VERB.sub("می\u200c", text))
    text = HE_PLURAL.sub("\u200c", AFTER_HE.sub("\u200c\\1", text))
    return PLURAL.sub("\u200c\\1", text)


def without_vowel_signs(text: str) -> str:
    """Text without fatha, kasra, damma, their tanwins, sukun and dagger alif; the shadda stays."""
    return VOWEL_SIGNS.sub("", text)
