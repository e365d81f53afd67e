"""The routes for recordings, and for settings in files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ..errors import DifftoolError, Exit
from . import state, takes
from .bodies import ASCIIResponse, Refused, capped
from .commands import settings_in
from .media import MediaType, kind_of
from .sentences import SENTENCES
from .studio import Studio, of
from .takes import Shelf

MOST_PICTURE = 50 * 2**20
MARK, PNG = b"\x89PNG\r\n\x1a\n", MediaType(".png", "image/png")
PIECE = 2**20


async def add_take(request: Request) -> Response:
    """Grades a take at once; it is kept if it can be read."""
    studio = of(request)
    number = takes.sentence_of(request.query_params.get("sentence"))
    text = SENTENCES[number]
    name, part = await studio.takes.receive(capped(request, takes.MOST_BYTES).stream())
    try:
        kind = takes.sound_kind(part)
        grade = await _read(studio, takes.LONGEST_GRADING, takes.heard, part, text)
        if grade is None or grade["seconds"] > takes.MOST_SECONDS:
            hint = "stop after each sentence"
            raise Refused(413, f"the take is longer than {takes.MOST_SECONDS:.0f} seconds", hint)
        kept = studio.takes.keep(name, part, kind, {"sentence": number, "text": text, **grade})
    finally:
        part.unlink(missing_ok=True)
    return ASCIIResponse(studio.takes.shown(kept), 201)


async def add_upload(request: Request) -> Response:
    """Keeps a sound in the place of takes; or, with `paper`, an agreement of any type."""
    studio = of(request)
    limited = capped(request, takes.MOST_UPLOADED)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        try:
            form = await limited.form(max_files=1, max_fields=4)
        except MultiPartException as error:
            raise Refused(400, "the form cannot be read", "send one file in the field file") from error
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Refused(400, "the form has no file", "send one file in the field file")
        title, pieces = file.filename, _pieces(file)
    else:
        title, pieces = request.query_params.get("name"), limited.stream()
    name, part = await studio.uploads.receive(pieces)
    try:
        kind = None if request.query_params.get("paper") else takes.sound_kind(part)
        seconds = await _read(studio, takes.LONGEST_READ, takes.length, part) if kind else None
        shown = title if title and _is_name(title) else "recording"
        kept = studio.uploads.keep(name, part, kind, {"name": shown, "seconds": seconds})
    finally:
        part.unlink(missing_ok=True)
    return ASCIIResponse(studio.uploads.shown(kept), 201)


def _is_name(text: str) -> bool:
    """Whether a text may be the name of a file that is shown."""
    return bool(re.fullmatch(r"[^\x00-\x1f/\\]{1,100}", text))


async def _read(studio: Studio, seconds: float, function: Callable[..., Any], *args: Any) -> Any:
    """What a function finds in a file, in a process of its own. Raises Refused 422 where it cannot be read."""
    try:
        async with studio.reading:
            return await studio.nursery.call(seconds, function, *args)
    except TimeoutError as error:
        raise Refused(422, "the file could not be read in time", "use a shorter one", Exit.FILE) from error
    except DifftoolError as error:
        raise Refused(422, "the file cannot be read", error.hint, error.code) from error


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(PIECE):
        yield piece


def shelf(request: Request) -> Shelf:
    """The takes, or the uploads, by the path of the request."""
    studio = of(request)
    return studio.takes if request.url.path.startswith(studio.takes.url) else studio.uploads


async def listed(request: Request) -> Response:
    recordings = shelf(request)
    return ASCIIResponse([recordings.shown(note) for note in recordings.notes()])


async def recording(request: Request) -> Response:
    """The sound of a recording, or with DELETE its end."""
    recordings, name = shelf(request), request.path_params["id"]
    if request.method == "DELETE":
        if of(request).queue.needs(name):
            raise Refused(409, "a voice is being made of this recording", "wait until it is done, or cancel it")
        recordings.remove(name)
        return Response(status_code=204)
    note = recordings.note(name)
    path = recordings.path(note)
    if not path.is_file() or path.is_symlink():
        raise Refused(404, "there is no such recording", "it may have been removed")
    return FileResponse(path, media_type=note["type"])


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MARK)) == MARK


async def read_settings(request: Request) -> Response:
    """The settings in a picture or a sound that difftool made."""
    studio = of(request)
    _, part = await studio.scratch.receive(capped(request, MOST_PICTURE).stream())
    path = part
    try:
        kind = PNG if _is_png(part) else kind_of(part)
        if kind is None:
            raise Refused(415, "this is no picture or sound that difftool made", "use a PNG, or a sound", Exit.FILE)
        path = part.rename(part.with_suffix(f".part{kind.suffix}"))
        note = await _read(studio, takes.LONGEST_GRADING, takes.manifest_in, path)
    finally:
        path.unlink()
    restored = settings_in(note or {}, state.models(studio.root))
    if restored is None:
        raise Refused(400, "there are no settings of the page in this file", "use what difftool drew or spoke")
    return ASCIIResponse({"kind": restored[0], "settings": restored[1]})


ROUTES = [
    Route("/api/takes", add_take, methods=["POST"]),
    Route("/api/takes", listed),
    Route("/api/takes/{id}", recording, methods=["GET", "DELETE"]),
    Route("/api/uploads", add_upload, methods=["POST"]),
    Route("/api/uploads", listed),
    Route("/api/uploads/{id}", recording, methods=["GET", "DELETE"]),
    Route("/api/settings", read_settings, methods=["POST"]),
]
