"""The routes of the page and its API."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from ..errors import DifftoolError
from . import openai, recordings, state
from .bodies import ASCIIResponse, Refused, json_of, number_of
from .commands import Line
from .errors import refused
from .guard import COOKIE, Guard
from .jobs import DONE
from .studio import Studio, of

STATIC = Path(__file__).parent / "static"
SHOWN = 50
"""Jobs in a list, unless `limit` says otherwise."""


async def page(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


async def show_state(request: Request) -> Response:
    studio = of(request)
    offered = await asyncio.to_thread(state.described, studio.root, studio.secure_hint, studio.device)
    return ASCIIResponse(offered)


async def submit(request: Request) -> Response:
    studio, body = of(request), await json_of(request)
    kind, settings = body.get("kind"), body.get("settings")
    if not isinstance(kind, str) or not isinstance(settings, dict) or {*body} != {"kind", "settings"}:
        raise Refused(400, "a job has a kind and settings", 'send {"kind": "speech", "settings": {"text": "Hello."}}')
    job = await studio.submit(kind, settings)
    return ASCIIResponse(studio.queue.shown(job), 202)


async def jobs(request: Request) -> Response:
    queue = of(request).queue
    limit = number_of(request, "limit", SHOWN, 1, 1000)
    return ASCIIResponse([queue.shown(job) for job in queue.newest(limit)])


async def job(request: Request) -> Response:
    studio = of(request)
    job = studio.job(request)
    if request.method == "DELETE":
        studio.queue.cancel(job)
        return Response(status_code=204)
    return ASCIIResponse(studio.queue.shown(job))


async def rerun(request: Request) -> Response:
    """Makes the first sound of a job again, or its last picture: the grid, with all pictures in it."""
    studio = of(request)
    first = studio.job(request)
    source = None
    if first.outputs:
        is_sound = first.outputs[0]["kind"] == "sound"
        output = first.outputs[0] if is_sound else first.outputs[-1]
        source = first.file(studio.root, output["name"])
    if first.state != DONE or source is None:
        raise Refused(409, "only a job whose files are there can be run again", "add a job with its settings")
    line = Line(("rerun",), (), (str(source.relative_to(studio.root)),))
    again = studio.queue.submit(first.kind, first.settings, line, rerun={"of": first.id, "identical": None})
    return ASCIIResponse(studio.queue.shown(again), 202)


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
    handlers: dict[Any, Any] = dict.fromkeys((DifftoolError, Refused, HTTPException, ClientDisconnect), refused)
    app = Starlette(
        routes=ROUTES,
        exception_handlers={**handlers, Exception: refused},
        lifespan=studio.life,
    )
    app.router.redirect_slashes = False
    app.state.studio = studio
    return Guard(app, studio.access)
