"""Small texts of many kinds, and tokenizers made from them, for this package's tests."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import product

from tuti.text import Tokenizer, words_of

PERSIAN = (
    "طوطی در قفس نشسته بود و با خود می‌گفت: «از این پنجره باغ را می‌بینم.»\n"
    "مرد کتاب‌ها را یکی‌یکی خواند، چای نوشید و ۱۲ بیت نوشت؛ هیچ‌کس صدای او را نشنید.\n"
    "شب که شد، ماه بر بام خانه تابید و گربه‌ای خاکستری از دیوار پرید.\n"
)
ENGLISH = (
    "The parrot sat in the cage and said it wouldn't sing before 1999.\n\n"
    "  Indented lines, like this one, keep their leading blanks; don't they?\n"
    "A reader who reads reads on: the reading of 24 readers made them the better readers.\n"
)
CODE = "def add(left, right):\n    if left:\n        return left + right  # 42\n    return right\n"
OTHER = "日本語の文章。 Кот сидел на окне. 👨‍👩‍👧 naïve café — “quoted” … ½ ² x̂\n"
TEXTS = (PERSIAN, ENGLISH, CODE, OTHER)


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often each word occurs, over all texts."""
    return Counter(word for text in texts for word in words_of(text))


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.train(count_words(TEXTS), 600)


def begins_text(data: bytes) -> bool:
    """Whether valid UTF-8 begins so: Python's decoder is asked about every way to go on."""
    for count in range(4):
        for tail in product((0x80, 0xBF), repeat=count):
            try:
                (data + bytes(tail)).decode("utf-8")
            except UnicodeDecodeError:
                continue
            return True
    return False
