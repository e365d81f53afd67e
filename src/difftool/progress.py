"""How far a run is: a wrapper around what is iterated over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol


class Track(Protocol):
    """Wraps an iterable of a known length to show how far it is."""

    def __call__(self, items: Iterable[Any], total: int, label: str = "", /) -> Iterable[Any]: ...


def untracked(items: Iterable[Any], total: int, label: str = "") -> Iterable[Any]:
    """Shows nothing."""
    return items
