"""Limits that several commands share, and the checks of numbers against them."""

from __future__ import annotations

from .errors import DifftoolError, Exit

MOST = 10**6
"""Of anything that is counted: pictures, steps, items at once."""
GUIDANCE = {"least": -1e30, "most": 1e30}
"""What a scale of guidance lies within: numbers of which the products are finite."""
LARGEST = 8192
"""Pixels along a side of a picture."""


def count_of(value: str | int) -> int:
    """A whole number above 0 that may end in k or M: 500k is 500,000. Raises ValueError for another text."""
    text = str(value).strip()
    factor = {"k": 1_000, "K": 1_000, "m": 1_000_000, "M": 1_000_000}.get(text[-1:], 1)
    try:
        number = float(text[:-1] if factor > 1 else text) * factor
        if number == int(number) and number > 0:
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{value!r} is not a whole number above 0 such as 5000, 500k or 2M")


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
