"""Limits shared by several commands, and the parsing of numbers."""

from __future__ import annotations

from .errors import DifftoolError, Exit

MAX_COUNT = 10**6
"""Maximum of any count: pictures, steps, items in a batch."""
GUIDANCE = {"least": -1e30, "most": 1e30}
"""Range of a guidance scale: products of such numbers are finite."""
SPEED = {"least": 0.25, "most": 4.0}
"""Range of a speaking rate."""
LARGEST = 8192
"""Maximum width and height of a picture, in pixels."""


def count_of(value: str | int) -> int:
    """Parses a whole number above 0, with an optional suffix k or M: 500k is 500,000. Raises ValueError."""
    text = str(value).strip()
    factor = {"k": 1_000, "K": 1_000, "m": 1_000_000, "M": 1_000_000}.get(text[-1:], 1)
    try:
        number = float(text[:-1] if factor > 1 else text) * factor
        if number == int(number) and number > 0:
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{value!r} is not a whole number above 0 such as 5000, 500k or 2M")


def size_of(size: str | tuple[int, int] | None) -> tuple[int, int] | None:
    """(width, height) of WxH, or of such a pair. Raises DifftoolError 2 for anything else."""
    if size is None:
        return None
    text = "x".join(map(str, size)) if isinstance(size, (tuple, list)) else str(size)
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) < 6 and 0 < int(part) <= LARGEST for part in parts):
        hint = f"use whole numbers from 1 to {LARGEST:,}"
        raise DifftoolError(Exit.USAGE, f"invalid size {text!r}: expected WIDTHxHEIGHT, such as 64x48", hint)
    return int(parts[0]), int(parts[1])


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 file, 2,000 files."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
