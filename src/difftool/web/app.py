"""The routes of the page and its API."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ..errors import DifftoolError
from ..voice import library
from . import openai, recordings, state
from .bodies import Refused, json_of, number_of
from .commands import CommandLine, Line, line_of
from .errors import refused
from .events import Events
from .guard import COOKIE, Access, Guard
from .jobs import DONE, Job, Records
from .processes import Nursery
from .queue import Queue
from .shapes import Settings
from .takes import MOST_TAKES, MOST_UPLOADS, Shelf
from .voices import voice_line

FOLDER = Path("outputs") / ".studio"
"""The state of the studio, in the folder where it was started."""
STATIC = Path(__file__).parent / "static"
LONGEST_LOOK = 300.0
"""Seconds until the device is given up."""
SHOWN = 50
"""Jobs in a list, unless `limit` says otherwise."""


class Studio:
    """What all routes share."""

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
        self.nursery = Nursery(commands.preload)
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
    return request.app.state.studio


async def page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


async def show_state(request: Request) -> Response:
    studio = of(request)
    offered = await asyncio.to_thread(state.described, studio.root, studio.secure_hint, studio.device)
    return JSONResponse(offered)


async def submit(request: Request) -> Response:
    studio, body = of(request), await json_of(request)
    kind, settings = body.get("kind"), body.get("settings")
    if not isinstance(kind, str) or not isinstance(settings, dict) or {*body} != {"kind", "settings"}:
        raise Refused(400, "a job has a kind and settings", 'send {"kind": "speech", "settings": {"text": "Hello."}}')
    job = await studio.submit(kind, settings)
    return JSONResponse(studio.queue.shown(job), 202)


async def jobs(request: Request) -> Response:
    queue = of(request).queue
    limit = number_of(request, "limit", SHOWN, 1, 1000)
    return JSONResponse([queue.shown(job) for job in queue.newest(limit)])


async def job(request: Request) -> Response:
    studio = of(request)
    job = studio.job(request)
    if request.method == "DELETE":
        studio.queue.cancel(job)
        return Response(status_code=204)
    return JSONResponse(studio.queue.shown(job))


async def rerun(request: Request) -> Response:
    """Makes the first file of a job again, with all others if it is a grid."""
    studio = of(request)
    first = studio.job(request)
    source = first.file(studio.root, first.outputs[0]["name"]) if first.outputs else None
    if first.state != DONE or source is None:
        raise Refused(409, "only a job whose files are there can be run again", "wait until it is done")
    line = Line(("rerun",), (), (str(source.relative_to(studio.root)),))
    again = studio.queue.submit(first.kind, first.settings, line, rerun={"of": first.id, "identical": None})
    return JSONResponse(studio.queue.shown(again), 202)


async def file(request: Request) -> Response:
    studio, name = of(request), request.path_params["name"]
    path = studio.job(request).file(studio.root, name)
    if path is None:
        raise Refused(404, "the job has no such file", "see its outputs")
    how = "attachment" if request.query_params.get("download") else "inline"
    return FileResponse(path, filename=name, content_disposition_type=how)


async def preview(request: Request) -> Response:
    shown = of(request).queue.preview
    if shown is None or shown.id != request.path_params["id"]:
        raise Refused(404, "there is no preview of this job", "only pictures have one, while they are drawn")
    return Response(shown.data, media_type="image/png")


async def listen(request: Request) -> Response:
    studio = of(request)
    if studio.events.is_full:
        raise Refused(429, "too many pages are open", "close some of them")
    current = [studio.queue.shown(job) for job in studio.queue.unfinished()]
    return StreamingResponse(studio.events.stream(current), media_type="text/event-stream")


async def login(request: Request) -> Response:
    """Sets the token as a cookie, for sounds and downloads, where a browser sends no header."""
    access = of(request).access
    given = (await json_of(request)).get("token")
    if access.token is None:
        return Response(status_code=204)
    if not isinstance(given, str) or not access.is_token(given):
        raise Refused(401, "the token is wrong", "open the address that difftool studio printed")
    response = Response(status_code=204)
    response.set_cookie(COOKIE, access.token, httponly=True, samesite="strict", secure=access.is_tls)
    return response


ROUTES: list[BaseRoute] = [
    Route("/", page),
    Route("/api/state", show_state),
    Route("/api/jobs", submit, methods=["POST"]),
    Route("/api/jobs", jobs),
    Route("/api/jobs/{id}", job, methods=["GET", "DELETE"]),
    Route("/api/jobs/{id}/rerun", rerun, methods=["POST"]),
    Route("/api/jobs/{id}/files/{name}", file),
    Route("/api/jobs/{id}/preview", preview),
    Route("/api/events", listen),
    Route("/api/login", login, methods=["POST"]),
    *recordings.ROUTES,
    *openai.ROUTES,
    Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
]


def application(studio: Studio) -> ASGIApp:
    """The page and its API, guarded."""
    handlers: dict[Any, Any] = dict.fromkeys((DifftoolError, Refused, HTTPException), refused)
    app = Starlette(
        routes=ROUTES,
        exception_handlers={**handlers, Exception: refused},
        lifespan=studio.life,
    )
    app.router.redirect_slashes = False
    app.state.studio = studio
    return Guard(app, studio.access)
