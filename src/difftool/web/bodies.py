"""Bodies and queries of requests, read within limits."""

from __future__ import annotations

import asyncio
import json
import time

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Message

from ..errors import Exit

MOST_JSON = 2**20
"""Bytes of a JSON body."""
SLOWEST, SLOWEST_RATE = 30.0, 100_000
"""Seconds that a body may take, and bytes a second that it must have beyond that."""


class Refused(Exception):
    """A request that is refused: the status, and what the caller can do; `param` is the field that is wrong."""

    def __init__(
        self, status: int, message: str, hint: str, code: int = Exit.USAGE, *, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.hint, self.code, self.param = status, message, hint, code, param


def capped(request: Request, most: int) -> Request:
    """A request whose body is refused when it is larger than `most` bytes (413), or comes too slowly (408)."""
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()) or int(length[:20]) > most:
        raise too_large(most)
    deadline = time.monotonic() + SLOWEST + most / SLOWEST_RATE
    size = 0

    async def receive() -> Message:
        nonlocal size
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                message = await request.receive()
        except TimeoutError as error:
            raise Refused(408, "the body came too slowly", "try it again") from error
        size += len(message.get("body", b""))
        if size > most:
            raise too_large(most)
        return message

    return Request(request.scope, receive)


def too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most:,} bytes", "send less at once")


class ASCIIResponse(JSONResponse):
    """JSON in ASCII, since names of files may be no Unicode."""

    def render(self, content: object) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


async def json_of(request: Request) -> dict[str, object]:
    """The JSON object in a body. Raises Refused 415 for another type, 400 for anything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "the body is not application/json", "send JSON, and say so in Content-Type")
    data = await capped(request, MOST_JSON).body()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the body is not JSON", "send a JSON object") from error
    if not isinstance(value, dict):
        raise Refused(400, "the body is not a JSON object", "send a JSON object")
    return value


def number_of(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A whole number of the query. Raises Refused 400 for anything else."""
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise Refused(400, f"{name} must be a whole number from {least} to {most}", f"leave out {name}")
    return int(text)
