"""Limits that several commands share, and the checks of numbers against them."""

from __future__ import annotations

MOST = 10**6
"""Of anything that is counted: pictures, steps, items at once."""
