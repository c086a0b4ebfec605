"""Clean text for a corpus: one spelling for each letter, no invisible rubbish, layout kept.

What it leaves alone matters as much: indentation, single blank lines, tabs, the zero-width non-joiner
(half-space) inside Persian words, and the spelling of every language that is not Persian.
"""

import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import islice

import regex

LINE_BREAKS = regex.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
REMOVED = regex.compile("[\\p{Cc}\ufeff--[\n\t]]", regex.VERSION1)
SURROGATES = regex.compile("[\ud800-\udfff]")
PRESENTATION_FORMS = regex.compile("[\ufb50-\ufdff\ufe70-\ufefe]")
ODD_SPACES = regex.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f]")
ZWNJ_AT_EDGE = regex.compile("(?<=[ \t\n\u3000]|\\A)\u200c|\u200c(?=[ \t\n\u3000]|\\Z)")
ZWNJ_RUN = regex.compile("\u200c{2,}")
# The look-behinds let a run be tried once, from its start: without them a long run costs its square.
INNER_SPACES = regex.compile("(?<=[^ \t\n])[ ]{2,}")
TRAILING = regex.compile("(?<![ \t\u3000])[ \t\u3000]++(?=\n|\\Z)")
BLANK_LINES = regex.compile("\n{3,}")

WORDY = regex.compile(r"[^\W_]")
ARABIC_WORD = regex.compile(r"[\p{Script=Arabic}&&[\p{L}\p{M}]]+", regex.VERSION1)
TO_PERSIAN = str.maketrans("يىك" + "٠١٢٣٤٥٦٧٨٩", "ییک" + "۰۱۲۳۴۵۶۷۸۹")
FOLDED = regex.compile("[يىك٠-٩]")
PERSIAN_ONLY = frozenset("پچژگ")
PERSIAN_KEYBOARD = frozenset("کی")
ARABIC_ONLY = frozenset("ةأإ")
KNOWN_LETTERS = frozenset(chr(c) for c in range(0x621, 0x660)) | frozenset("پچژگکیۀ")
# Spelled as after TO_PERSIAN, so that text typed with Arabic ي and ك is recognised. Words that both
# languages use (من, ما, و, علی) decide nothing and are in neither list.
PERSIAN_WORDS = frozenset(
    "از به که را در این آن است با برای هم نیست بود تا یا اگر چون هر تو او شما می نمی ها های ای بر خود"
    " یک چه شد شود کرد کند دارد همه باید نه پس دیگر وی آنها ایشان هست باشد".split()
)
ARABIC_WORDS = frozenset(
    "فی إلی أن أو هذا هذه التی الذی کان کانت عن لا هو هی إن قد ذلک لم مع ثم بین کل لکن بعد عند حتی".split()
)
WORDS_READ = 4000
FOREIGN_SHARE = 0.02


def normalise(text: str) -> str:
    """The text in its one canonical spelling; idempotent; time and memory linear in the text.

    Unicode NFC; line ends to LF; byte-order marks and control characters (except LF and tab) removed;
    lone surrogates to U+FFFD; Arabic presentation forms to letters; odd spaces to plain ones. In
    a line, runs of spaces after the first word become one; indentation stays, trailing blanks go; at
    most one blank line in a row, none at either end. U+200C stays once inside words and goes at their edges.
    Where the Arabic-script words are Persian (`is_persian`), ي ى ك and ٠–٩ become ی ی ک and ۰–۹.
    """
    text = LINE_BREAKS.sub("\n", text)
    text = REMOVED.sub("", text)
    if text.isascii():  # the rest of its letters is well, and the patterns for them cost time
        return _laid_out(text)
    text = SURROGATES.sub("\ufffd", text)
    text = PRESENTATION_FORMS.sub(_letters_of, text)
    text = unicodedata.normalize("NFC", text)
    text = ODD_SPACES.sub(" ", text)
    text = _laid_out(ZWNJ_AT_EDGE.sub("", ZWNJ_RUN.sub("\u200c", text)))
    return text.translate(TO_PERSIAN) if FOLDED.search(text) and is_persian(text) else text


def _laid_out(text: str) -> str:
    """Runs of spaces, blanks at line ends, blank lines."""
    if "  " in text:
        text = INNER_SPACES.sub(" ", text)
    if " \n" in (ended := text + "\n") or "\t\n" in ended or "\u3000\n" in ended:
        text = TRAILING.sub("", text)
    return BLANK_LINES.sub("\n\n", text).strip("\n")


def _letters_of(form: "regex.Match[str]") -> str:
    # An isolated diacritic decomposes to a space and a mark; the space would cut the word in two.
    return unicodedata.normalize("NFKC", form[0]).lstrip(" ") or form[0]


def is_persian(text: str) -> bool:
    """Whether the Arabic-script words of a text are Persian, from its first 4,000 such words.

    Letters outside the Persian and Arabic alphabets (Urdu ے, Kurdish ە, Pashto ښ …) above 2 % say no.
    Otherwise Persian function words, پ چ ژ گ and the Persian ی ک vote against Arabic function words,
    the article and ة أ إ. `normalise` only adds votes for Persian to what was Persian: hence idempotent.
    """
    words = [match[0] for match in islice(ARABIC_WORD.finditer(text), WORDS_READ)]
    letters = sum(map(len, words))
    if not letters:
        return False
    foreign = sum(n for char, n in Counter("".join(words)).items() if char not in KNOWN_LETTERS)
    if foreign > FOREIGN_SHARE * letters:
        return False
    persian = arabic = 0.0
    for word, times in Counter(words).items():
        folded, chars = word.translate(TO_PERSIAN), set(word)
        if folded in PERSIAN_WORDS or chars & PERSIAN_ONLY:
            persian += times
        elif folded in ARABIC_WORDS or chars & ARABIC_ONLY or (len(word) > 4 and "ال" in word[:3]):
            arabic += times
        elif chars & PERSIAN_KEYBOARD:
            persian += 0.5 * times
    return persian > arabic


def has_words(text: str) -> bool:
    """Whether there is a letter or a digit in it."""
    return WORDY.search(text) is not None


def script_of(text: str) -> str:
    """The script of most letters of a text ("Arabic", "Latin", "Han", …); "Common" if there are none."""
    scripts: Counter[str] = Counter()
    for char, times in Counter(text).items():
        if char.isalpha():
            scripts[_script(char)] += times
    return max(scripts, key=lambda script: (scripts[script], script)) if scripts else "Common"


@lru_cache(maxsize=65536)
def _script(letter: str) -> str:
    # The first word of a letter's Unicode name is its script, but for a few families.
    first, *rest = unicodedata.name(letter, "COMMON").split()
    named = {"CJK": "Han", "MICRO": "Greek"} | dict.fromkeys(("FULLWIDTH", "FEMININE", "MASCULINE"), "Latin")
    if first in ("MODIFIER", "MATHEMATICAL", "DOUBLE-STRUCK", "SCRIPT", "BLACK-LETTER"):
        return "Common"
    if first == "HALFWIDTH":
        return rest[0].title()
    return named.get(first, first.title())


# Half-spaces: a word and its ending belong together, by U+200C: می‌رود, کتاب‌ها, بزرگ‌تر, رفته‌اند, خانه‌ای.
# Typists put a space, or nothing. The rules are those that hazm documents by examples; where they would need
# a lexicon they are narrower here, so that no two words are joined that are two words.
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
