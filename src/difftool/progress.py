"""Progress display and timing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol


class Track(Protocol):
    """Wraps an iterable of known length to show its progress."""

    def __call__(self, items: Iterable[Any], total: int, label: str = "", /) -> Iterable[Any]: ...


class Step(NamedTuple):
    """An item of a run that draws pictures: a step of a batch."""

    batch: range
    state: Any
    preview: Callable[[], Any] | None = None
    """Returns the first picture as the network estimates it by now, uint8 (H, W, C); None where that takes long."""


def untracked(items: Iterable[Any], total: int, label: str = "") -> Iterable[Any]:
    """Shows nothing."""
    return items


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Adds the duration of its block to `seconds[stage]`."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - began
