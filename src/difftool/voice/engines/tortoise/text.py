"""Texts as tokens of Tortoise, in parts of as many as its decoder reads."""

from __future__ import annotations

from ....errors import DifftoolError, Exit
from ....nets.tortoise.tokenizer import UNKNOWN, tokenize
from ...text import Part, parts, spoken


def token_parts(text: str, room: int, *, plain: bool = False) -> list[Part]:
    """A text in parts of at most `room` tokens; `plain` leaves it in one, as the original takes it. Raises as
    `parts`, and DifftoolError 2 for one that is too long to be left in one."""
    made = parts(text, lambda part: len(tokens(part)) <= room, lambda part: bool(tokens(part)), whole=plain)
    if plain and len(tokens(made[0].text, plain=True)) > room:
        raise DifftoolError(Exit.USAGE, "the text is too long for tortoise-tts in one go", "leave out --compat")
    return made


def tokens(text: str, *, plain: bool = False) -> list[int]:
    """The tokens of a part. Characters that have none are left out, or with `plain` stay as unknown ones. Raises
    DifftoolError 2 for a number too large to be spoken."""
    try:
        every = tokenize(text)
    except ValueError as error:
        raise DifftoolError(Exit.USAGE, f"{error}: {text[:60]!r}", "write it in words") from error
    return every if plain else [token for token in every if token != UNKNOWN]


def unspoken(text: str) -> str:
    """The characters of a text that no token stands for."""
    return "".join(char for char in dict.fromkeys(spoken(text)) if UNKNOWN in tokenize(char))
