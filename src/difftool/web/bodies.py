"""Bodies and queries of requests, read within limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request

from ..errors import Exit

MOST_JSON = 2**20
"""Bytes of a JSON body."""
SLOWEST = 30.0
"""Seconds that a body may take, and once more for each MEGABYTE."""
MEGABYTE = 2**20


class Refused(Exception):
    """A request that is refused: the status, and what the caller can do."""

    def __init__(self, status: int, message: str, hint: str, code: int = Exit.USAGE) -> None:
        super().__init__(message)
        self.status, self.message, self.hint, self.code = status, message, hint, code


async def pieces_of(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body in pieces. Raises Refused 413 for more than `most` bytes, 408 for one that comes too slowly."""
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most:
        raise too_large(most)
    size = 0
    try:
        async with asyncio.timeout(SLOWEST * (1 + most / MEGABYTE / 20)):
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise too_large(most)
                yield piece
    except TimeoutError as error:
        raise Refused(408, "the body came too slowly", "try it again") from error


def too_large(most: int) -> Refused:
    return Refused(413, f"the body is larger than {most:,} bytes", "send less at once")


async def json_of(request: Request) -> dict[str, Any]:
    """The JSON object in a body. Raises Refused 415 for another type, 400 for anything else."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "the body is not application/json", "send JSON, and say so in Content-Type")
    data = b"".join([piece async for piece in pieces_of(request, MOST_JSON)])
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
