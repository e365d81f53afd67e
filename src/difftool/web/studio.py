"""What all routes of the studio share: its folder, its queue and its recordings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request

from ..voice import library
from . import state
from .bodies import Refused
from .commands import CommandLine, line_of
from .events import Events
from .guard import Access
from .jobs import Job, Records
from .processes import Nursery
from .queue import Queue
from .shapes import Settings
from .takes import MOST_TAKES, MOST_UPLOADS, Shelf
from .voices import voice_line

FOLDER = Path("outputs") / ".studio"
"""The state of the studio, in the folder where it was started."""
LONGEST_LOOK = 300.0
"""Seconds until the device is given up."""


class Studio:
    """A studio in a folder."""

    queue: Queue

    def __init__(
        self,
        root: Path,
        commands: CommandLine,
        access: Access,
        secure_hint: str | None = None,
    ) -> None:
        self.root, self.commands, self.access, self.secure_hint = root, commands, access, secure_hint
        self.folder = root / FOLDER
        self.events = Events()
        self.takes = Shelf(self.folder / "takes", MOST_TAKES, "/api/takes")
        self.uploads = Shelf(self.folder / "uploads", MOST_UPLOADS, "/api/uploads")
        self.scratch = Shelf(self.folder / "scratch", MOST_TAKES, "")
        self.reading = asyncio.Semaphore(2)
        """Recordings that are read at once."""
        self.nursery = Nursery(commands.preload, self.scratch.folder)
        self.device: str | None = None

    @contextlib.asynccontextmanager
    async def life(self, app: Starlette) -> AsyncIterator[None]:
        """The queue works as long as the server runs."""
        for shelf in (self.takes, self.uploads, self.scratch):
            shelf.clear()
        records = Records(self.folder / "jobs")
        self.queue = Queue(self.root, records, self.commands, self.nursery, self.events)
        tasks = [asyncio.create_task(self.queue.work()), asyncio.create_task(self._look())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            self.queue.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        """Finds the device, in a process that imports torch."""
        self.device = await self.nursery.call(LONGEST_LOOK, device, self.commands.device)

    async def submit(self, kind: str, settings: Settings) -> Job:
        """Adds a job to the queue. Raises DifftoolError and Refused for settings that are wrong."""
        warnings: list[str] = []
        if kind == "voice":
            line, warnings = await voice_line(settings, self)
        else:
            line = line_of(kind, settings, state.models(self.root).get(kind, {}))
        if kind == "speech" and "voice" in settings:
            library.find(str(settings["voice"]))
        return self.queue.submit(kind, settings, line, warnings=warnings)

    def job(self, request: Request) -> Job:
        job = self.queue.find(request.path_params["id"])
        if job is None:
            raise Refused(404, "there is no such job", "it may have been forgotten")
        return job


def device(report: Any, name: Callable[[], str]) -> str:
    """In a process of its own: the device that jobs use, in words."""
    return name()


def of(request: Request) -> Studio:
    """The studio that serves a request."""
    return request.app.state.studio
