"""Server-sent events: each listener gets the newest state of each job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

from .shapes import ShownJob

HEARTBEAT = 15.0
"""Seconds without events after which a comment is sent."""
MOST = 32
"""Listeners at once."""


class Listener:
    """What one listener has not heard yet: the newest state of each job, however slowly it reads."""

    def __init__(self, jobs: Iterable[ShownJob]) -> None:
        self.news = {job["id"]: job for job in jobs}
        self.has_news = asyncio.Event()
        self.has_news.set()


class Events:
    """All listeners."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._closed = False

    @property
    def is_full(self) -> bool:
        return len(self._listeners) >= MOST

    def publish(self, job: ShownJob) -> None:
        for listener in self._listeners:
            listener.news.pop(job["id"], None)
            listener.news[job["id"]] = job
            listener.has_news.set()

    async def stream(self, jobs: Iterable[ShownJob]) -> AsyncIterator[str]:
        """The events for a new listener, which begin with these jobs."""
        listener = Listener(jobs)
        self._listeners.add(listener)
        try:
            yield "retry: 1000\n\n"
            while not self._closed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(listener.has_news.wait(), HEARTBEAT)
                listener.has_news.clear()
                news, listener.news = listener.news, {}
                if not news:
                    yield ": still here\n\n"
                for job in news.values():
                    yield f"event: job\ndata: {json.dumps(job)}\n\n"
        finally:
            self._listeners.discard(listener)

    def close(self) -> None:
        """Ends all streams."""
        self._closed = True
        for listener in self._listeners:
            listener.has_news.set()
