"""The one text normalisation that every word comparison of this project goes through."""

from __future__ import annotations

import re
import unicodedata

# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on
_SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand"), (100, "hundred"))
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'"})


def normalise_text(text: str) -> str:
    """Reduce English text to the words that a recogniser is scored on.

    In this order: typographic apostrophes become ``'``; accents are removed (NFKD); lower case; thousands separators
    are dropped and whole numbers are spelled (``42`` is "forty two", with a leading zero or above twelve digits figure
    by figure); ``&`` and ``%`` become words; everything but ``a-z``, apostrophes inside words and spaces becomes a
    space; runs of spaces become one. Abbreviations and years are left as they are, in reference and hypothesis alike.

    >>> normalise_text("It\u2019s 7 o'clock \u2014 caf\u00e9, 1,024!")
    "it's seven o'clock cafe one thousand twenty four"
    """
    text = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    text = "".join(c for c in text if not unicodedata.combining(c)).lower()
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = text.replace("&", " and ").replace("%", " percent ")
    text = re.sub(r"[0-9]+", lambda match: f" {spell_number(match.group())} ", text)
    text = re.sub(r"[^a-z' ]", " ", text)
    words = (word.strip("'") for word in text.split())
    return " ".join(word for word in words if word)


def spell_number(digits: str) -> str:
    """Spell a string of digits as English words without "and" or hyphens: ``"120"`` is "one hundred twenty"."""
    if (len(digits) > 1 and digits[0] == "0") or len(digits) > 12:
        return " ".join(_ONES[int(digit)] for digit in digits)
    return " ".join(_spell(int(digits)))


def _spell(number: int) -> list[str]:
    for size, name in _SCALES:
        if number >= size:
            rest = number % size
            return [*_spell(number // size), name, *(_spell(rest) if rest else [])]
    if number >= 20:
        return [_TENS[number // 10 - 2], *([_ONES[number % 10]] if number % 10 else [])]
    return [_ONES[number]]
