"""Limits that several commands share, and the checks of numbers against them."""

from __future__ import annotations

MOST = 10**6
"""Of anything that is counted: pictures, steps, items at once."""
GUIDANCE = {"least": -1e30, "most": 1e30}
"""What a scale of guidance lies within: numbers of which the products are finite."""


def counted(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
