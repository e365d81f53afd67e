"""Speech and pictures in the shapes of OpenAI's API, by the same queue. What difftool has more, such as `seed`, can be
added to a request. Streaming is refused; other fields that difftool has not, such as `instructions` and `quality`, are
ignored."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from ..audio.files import RATE, ffmpeg
from ..errors import Exit
from ..voice import engines
from . import state
from .bodies import ASCIIResponse, Refused, json_of
from .commands import KINDS
from .errors import STATUS
from .jobs import DONE, Job
from .shapes import Settings
from .studio import of

FORMATS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mp3": ("audio/mpeg", ("-f", "mp3")),
    "opus": ("audio/ogg", ("-c:a", "libopus", "-f", "ogg")),
    "aac": ("audio/aac", ("-f", "adts")),
    "flac": ("audio/flac", ("-f", "flac")),
    "wav": ("audio/wav", ()),
    "pcm": ("audio/pcm", ("-f", "s16le", "-ac", "1", "-ar", str(RATE))),
}
"""Formats of speech: the type, and what ffmpeg is told."""
THEIRS = ("tts-", "gpt-", "dall-e", "difftool")
"""Beginnings of names of models that stand for the default."""
SIZES = ("256x256", "512x512", "1024x1024", "1024x1536", "1536x1024", "1024x1792", "1792x1024")
"""Sizes that stand for that of the default model."""
MOST_PICTURES = 10
SLOWEST = 120.0
"""Seconds of a conversion."""


async def speech(request: Request) -> Response:
    studio, body = of(request), await json_of(request)
    kind = str(body.get("response_format") or "mp3")
    if kind not in FORMATS:
        raise Refused(400, f"unknown response_format {kind!r}", f"known: {', '.join(FORMATS)}", param="response_format")
    if body.get("stream_format") not in (None, "audio"):
        raise Refused(400, "stream_format must be audio", "leave it out", param="stream_format")
    voice = body.get("voice")
    name = voice.get("id") if isinstance(voice, Mapping) else voice
    known = [row["name"] for row in state.voices()]
    if name not in known:
        raise Refused(400, f"unknown voice {name!r}", f"known: {', '.join(known)}", param="voice")
    settings = _own(body, "speech") | {"text": body.get("input"), "voice": name}
    model = _model(body, [engines.AUTO, *engines.ENGINES])
    if model is not None:
        settings.setdefault("engine", model)
    if settings.get("speed") == 1:
        del settings["speed"]
    job = await _done(request, "speech", settings)
    path = job.file(studio.root, job.outputs[0]["name"])
    if path is None:
        raise Refused(500, "the sound is not there any more", "try it again", Exit.FAILED)
    media_type, how = FORMATS[kind]
    if not how:
        return FileResponse(path, media_type=media_type)
    return Response(await _converted(path, how), media_type=media_type)


async def pictures(request: Request) -> Response:
    studio, body = of(request), await json_of(request)
    shape = str(body.get("response_format") or "b64_json")
    if shape not in ("b64_json", "url"):
        raise Refused(400, f"unknown response_format {shape!r}", "known: b64_json, url", param="response_format")
    if body.get("stream"):
        raise Refused(400, "pictures are not streamed", "leave out stream", param="stream")
    count = body.get("n") or 1
    if type(count) is not int or not 1 <= count <= MOST_PICTURES:
        raise Refused(400, f"n must be from 1 to {MOST_PICTURES}", "leave it out for one picture", param="n")
    settings = _own(body, "pictures") | {"count": count}
    settings.pop("model", None)
    model = _model(body, [*state.models(studio.root)["pictures"]])
    if model is not None:
        settings["model"] = model
    if settings.get("size") in ("auto", *(SIZES if model is None else ())):
        del settings["size"]
    job = await _done(request, "pictures", settings)
    singles = [output for output in job.outputs if output["name"] != "grid.png"]
    data = []
    for output in singles:
        path = job.file(studio.root, output["name"])
        if shape == "url":
            data.append({"url": f"{request.url.scheme}://{request.headers['host']}{output['url']}"})
        elif path is not None:
            data.append({"b64_json": base64.b64encode(path.read_bytes()).decode()})
    return ASCIIResponse({"created": int(time.time()), "data": data})


async def voices(request: Request) -> Response:
    return ASCIIResponse({"voices": [{"id": row["name"], "name": row["name"]} for row in state.voices()]})


async def models(request: Request) -> Response:
    """The engines that can speak here, and the models of pictures."""
    names = [*state.speaking(), *state.models(of(request).root)["pictures"]]
    rows = [{"id": name, "object": "model", "created": 0, "owned_by": "difftool"} for name in names]
    wanted = request.path_params.get("id")
    if wanted is None:
        return ASCIIResponse({"object": "list", "data": rows})
    row = next((row for row in rows if row["id"] == wanted), None)
    if row is None:
        raise Refused(404, "there is no such model", "see /v1/models")
    return ASCIIResponse(row)


def _own(body: Settings, kind: str) -> dict[str, object]:
    """The settings of a job among the fields of a request."""
    return {name: value for name, value in body.items() if name in KINDS[kind].settings and value is not None}


def _model(body: Settings, known: list[str]) -> str | None:
    """The model of a request; None for the default. Raises Refused 404 for an unknown one."""
    name = body.get("model")
    if isinstance(name, str) and name in known:
        return name
    if name is None or (isinstance(name, str) and name.startswith(THEIRS)):
        return None
    raise Refused(404, f"unknown model {name!r}", f"known: {', '.join(known)}", param="model")


async def _done(request: Request, kind: str, settings: Settings) -> Job:
    """A job, when it is done. It is cancelled if the client goes away. Raises Refused if it fails."""
    studio = of(request)
    settings = {name: value for name, value in settings.items() if value is not None}
    queue, job = studio.queue, await studio.submit(kind, settings)
    tasks = [asyncio.create_task(queue.ended(job)), asyncio.create_task(_gone(request))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        if job.ended is None:
            queue.cancel(job)
    if job.state == DONE:
        return job
    error = job.error or {"code": Exit.INTERRUPTED, "message": "the job was cancelled", "hint": "try it again"}
    raise Refused(STATUS.get(Exit(error["code"]), 500), error["message"], error["hint"], error["code"])


async def _gone(request: Request) -> None:
    """Waits until the client closes its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _converted(path: Path, how: tuple[str, ...]) -> bytes:
    """A sound in another format, with its tags."""
    command = [ffmpeg(), "-v", "error", "-nostdin", "-i", f"file:{path}", "-map_metadata", "0", *how, "pipe:1"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(SLOWEST):
            data, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode or not data:
        raise Refused(500, "ffmpeg cannot write this format", "use response_format wav", Exit.FAILED)
    return data


ROUTES = [
    Route("/v1/audio/speech", speech, methods=["POST"]),
    Route("/v1/audio/voices", voices),
    Route("/v1/images/generations", pictures, methods=["POST"]),
    Route("/v1/models", models),
    Route("/v1/models/{id}", models),
]
