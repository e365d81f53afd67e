"""Tokens of Tortoise, and texts in parts of as many tokens as its decoder reads."""

from __future__ import annotations

import unicodedata

from ....errors import DifftoolError, Exit
from ....nets.tortoise.tokenizer import UNKNOWN, tokenize
from ...text import Part, parts, spoken


def token_parts(text: str, room: int, *, plain: bool = False) -> list[Part]:
    """A text in parts of at most `room` tokens; `plain` leaves it in one part, as tortoise-tts does. Raises as `parts`,
    and DifftoolError 2 for a text that is too long for one part."""

    def fits(part: str) -> bool:
        return len(tokens(part)) <= room

    pieces = parts(text, fits, lambda part: bool(tokens(part)), whole=plain)
    if plain and len(tokens(pieces[0].text, plain=True)) > room:
        raise DifftoolError(Exit.USAGE, "the text is too long for tortoise-tts", "leave out --compat")
    return pieces


def tokens(text: str, *, plain: bool = False) -> list[int]:
    """The tokens of a part. Characters without a token are left out, or with `plain` become UNKNOWN. Raises
    DifftoolError 2 for a number too large to be spoken."""
    try:
        every = tokenize(text)
    except ValueError as error:
        raise DifftoolError(Exit.USAGE, f"{error}: {text[:60]!r}", "write it in words") from error
    return every if plain else [token for token in every if token != UNKNOWN]


def unspoken(text: str) -> str:
    """The characters of a text that have no token."""
    return "".join(char for char in dict.fromkeys(spoken(text)) if _is_unspoken(char))


def _is_unspoken(char: str) -> bool:
    every = tokenize(char)
    is_sign = unicodedata.category(char)[0] in "LNS"  # others may be silent, as quotes are
    return UNKNOWN in every or (is_sign and not every)
