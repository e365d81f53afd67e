"""Limits that several commands share, and the checks of numbers against them."""

from __future__ import annotations

from .errors import DifftoolError, Exit

MOST = 10**6
"""Of anything that is counted: pictures, steps, items at once."""
GUIDANCE = {"least": -1e30, "most": 1e30}
"""What a scale of guidance lies within: numbers of which the products are finite."""
LARGEST = 8192
"""Pixels along a side of a picture."""


def size_of(text: str | None) -> tuple[int, int] | None:
    """(width, height) of WxH. Raises DifftoolError 2 where it is none."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 6 and 0 < int(part) <= LARGEST for part in parts):
        hint = f"give whole numbers from 1 to {LARGEST:,}"
        raise DifftoolError(Exit.USAGE, f"a size is WIDTHxHEIGHT such as 64x48, not {text!r}", hint)
    return int(parts[0]), int(parts[1])


def counted(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
