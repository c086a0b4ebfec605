"""What tells who somebody is, masked: e-mail, public IP, phone, Iranian national id, IBAN.

Numbers that carry check digits are masked only where these agree, so most numbers stay what they are. Digits
may be Persian or Arabic. What is found by its form alone can be another thing: a mask costs less than a leak.
"""

import ipaddress
import tomllib
from collections.abc import Iterator
from pathlib import Path

import regex

PATTERNS = {
    name: regex.compile("|".join(forms))
    for name, forms in tomllib.loads(Path(__file__).with_name("private.toml").read_text("utf-8")).items()
}
RUN = regex.compile(r"[\d+(][\d+() .-]{6,}+")
DIGIT = regex.compile("[0-9۰-۹٠-٩]")
OTHER_DIGITS = regex.compile("[۰-۹٠-٩]")


def mask(text: str) -> str:
    """The text with `<e-mail>`, `<ip>`, `<phone>`, `<national-id>` and `<iban>` where these stood."""
    if "@" in text:
        text = PATTERNS["e-mail"].sub("<e-mail>", text)
    if not DIGIT.search(text):
        return text
    # Digits are translated one for one, so what is found in `plain` stands at the same place in `text`.
    plain = text if text.isascii() else OTHER_DIGITS.sub(lambda digit: str(int(digit[0])), text)
    for name, find, holds in NUMBERS:
        for found in reversed([one for one in find(plain) if holds(one[0])]):
            start, end = found.span()
            text, plain = (f"{whole[:start]}<{name}>{whole[end:]}" for whole in (text, plain))
    return text


def _phones(text: str) -> "Iterator[regex.Match[str]]":
    """Only where digits stand together: the pattern alone is tried at every letter, and is slow."""
    for run in RUN.finditer(text):
        yield from PATTERNS["phone"].finditer(text, *run.span())


def is_public(address: str) -> bool:
    """Whether it is an address that is routed in the internet; private and reserved ones tell nothing."""
    if ":" in address:
        if address.count(":") < 3 or not DIGIT.search(address):
            return False  # a name in a program: std::vector
    elif (parts := set(map(int, address.split(".")))) and max(parts) < 20 and len(parts) > 1:
        return False  # a section's or a version's number: 12.3.2.2
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def is_iban(text: str) -> bool:
    """ISO 13616: the first four characters moved to the end, letters as numbers, modulo 97 is 1."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34 or (plain.startswith("IR") and len(plain) != 26):
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def is_national_id(text: str) -> bool:
    """Ten digits, the last of which is the check: Σ digit × place from the right, modulo 11."""
    digits = [int(char) for char in text if char != "-"]
    rest = sum(digit * (10 - place) for place, digit in enumerate(digits[:9])) % 11
    return len(digits) == 10 and len(set(digits)) > 1 and digits[9] == (rest if rest < 2 else 11 - rest)


def is_phone(text: str) -> bool:
    """Whether it has as many digits as a number that can be called (ITU E.164: at most 15)."""
    return (12 if text.startswith("00") else 7) <= len(DIGIT.findall(text)) <= 15


NUMBERS = (
    ("iban", PATTERNS["iban"].finditer, is_iban), ("ip", PATTERNS["ip4"].finditer, is_public),
    ("ip", PATTERNS["ip6"].finditer, is_public),
    ("national-id", PATTERNS["national-id"].finditer, is_national_id), ("phone", _phones, is_phone),
)
