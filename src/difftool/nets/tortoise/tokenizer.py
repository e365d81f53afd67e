"""English text to the tokens that Tortoise was trained on, with all its habits."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, cast

from . import DATA

if TYPE_CHECKING:
    import inflect
    from tokenizers import Tokenizer

UNKNOWN = 1
"""The token of what has none: digits that are left, brackets, signs."""
TOO_LARGE = "a number is too large to be spoken"
ABBREVIATIONS = {
    "mrs": "misess",
    "mr": "mister",
    "dr": "doctor",
    "st": "saint",
    "co": "company",
    "jr": "junior",
    "maj": "major",
    "gen": "general",
    "drs": "doctors",
    "rev": "reverend",
    "lt": "lieutenant",
    "hon": "honorable",
    "sgt": "sergeant",
    "capt": "captain",
    "esq": "esquire",
    "ltd": "limited",
    "col": "colonel",
    "ft": "fort",
}


def tokenize(text: str) -> list[int]:
    """The tokens of a text, without start and stop tokens. Raises ValueError for a number too large to be spoken."""
    return _bpe().encode(normalise(text).replace(" ", "[SPACE]")).ids


def normalise(text: str) -> str:
    """The text as it is spoken: ASCII, small letters, numbers and abbreviations in words. As in the original 1,234 is
    read as a year, `st.` is always a saint, and a pound sign is spelled."""
    from unidecode import unidecode

    text = unidecode(text).lower()
    text = re.sub(r"[0-9][0-9,]+[0-9]", lambda match: match[0].replace(",", ""), text)
    text = re.sub(r"\$([0-9.,]*[0-9]+)", lambda match: _dollars(match[1]), text)
    text = re.sub(r"[0-9]+\.[0-9]+", lambda match: match[0].replace(".", " point "), text)
    text = re.sub(r"[0-9]+(?:st|nd|rd|th)", lambda match: _words(match[0]), text)
    text = re.sub(r"[0-9]+", lambda match: _number(_int(match[0])), text)
    # one after the other: in Lt.Col. the first ends the word that the second would begin
    for short, long in ABBREVIATIONS.items():
        text = re.sub(rf"\b{short}\.", long, text)
    return re.sub(r"\s+", " ", text).replace('"', "")


@lru_cache(4096)
def in_words(number: str) -> str:
    """A whole number in words, whatever its commas. Raises ValueError if it is too large to be spoken."""
    return _words(_int(number.replace(",", "")), andword="")


def _dollars(amount: str) -> str:
    whole, *rest = amount.split(".")
    if len(rest) > 1:
        return f"{amount} dollars"
    parts = []
    for digits, unit in ((whole, "dollar"), ("".join(rest), "cent")):
        n = _int(digits.replace(",", ""))
        if n:
            ending = "" if n == 1 else "s"
            parts.append(f"{n} {unit}{ending}")
    return ", ".join(parts) or "zero dollars"


def _int(digits: str) -> int:
    digits = digits.lstrip("0")
    if len(digits) > 36:  # which is as far as there are names
        raise ValueError(TOO_LARGE)
    return int(digits or 0)


def _number(n: int) -> str:
    if not 1000 < n < 3000:
        return _words(n, andword="")
    if n == 2000:
        return "two thousand"
    if 2000 < n < 2010:
        return f"two thousand {_words(n % 100)}"
    if n % 100 == 0:
        return f"{_words(n // 100)} hundred"
    return _words(n, andword="", zero="oh", group=2).replace(", ", " ")


def _words(number: int | str, **style: Any) -> str:
    import inflect

    try:
        return str(_speaker().number_to_words(cast(Any, number), **style))
    except (inflect.NumOutOfRangeError, ValueError) as error:
        raise ValueError(TOO_LARGE) from error


@cache
def _speaker() -> inflect.engine:
    import inflect

    return inflect.engine()


@cache
def _bpe() -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(DATA / "tokenizer.json"))
