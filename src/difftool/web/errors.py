"""Errors as JSON: difftool's own, and in the shape of OpenAI below /v1."""

from __future__ import annotations

import logging
import re

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import DifftoolError, Exit, is_disk_full
from .bodies import ASCIIResponse, Refused

log = logging.getLogger(__name__)

STATUS = {Exit.USAGE: 400, Exit.FILE: 404, Exit.REFUSED: 403, Exit.LATER: 429, Exit.MEMORY: 503}
"""HTTP statuses of exit codes; others are 500."""
TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
"""OpenAI's types of errors by HTTP status."""
PLACE = re.compile(r"(?<![\w.~/:-])/(?:[^\s/'\"]+/)*(?=[^\s/'\"]+)")
"""The folders before the name of a file, in a message."""


def shareable(text: str) -> str:
    """A message without the folders of this machine."""
    return PLACE.sub("", text)


async def refused(request: Request, error: Exception) -> Response:
    """The answer to a request that failed; of an unexpected error nothing is told but that it happened."""
    status, code, param, headers = 500, int(Exit.FAILED), None, {}
    message, hint = "an unexpected error", "see what difftool studio wrote in the terminal"
    if isinstance(error, DifftoolError):
        status, code, message, hint = STATUS.get(error.code, 500), int(error.code), error.message, error.hint
    elif isinstance(error, Refused):
        status, code, message, hint, param = error.status, int(error.code), error.message, error.hint, error.param
    elif isinstance(error, HTTPException):
        status, code, headers = error.status_code, int(Exit.USAGE), dict(error.headers or {})
        message, hint = error.detail.lower(), "see docs/studio.md"
    elif isinstance(error, ClientDisconnect):
        status, message, hint = 408, "the request was cut off", "send it again"  # nobody hears it
    elif is_disk_full(error):
        status, message, hint = 507, "the disk is full", "free some space, and try it again"
    else:
        log.error("%s: %s", request.url.path, error, exc_info=error)
    return answer(request.url.path, status, code, message, hint, headers, param)


def answer(
    path: str,
    status: int,
    code: int,
    message: str,
    hint: str,
    headers: dict[str, str] | None = None,
    param: str | None = None,
) -> Response:
    """An error in the shape that clients of that path expect."""
    message, hint = shareable(message), shareable(hint)
    shown: dict[str, object] = {"code": code, "message": message, "hint": hint}
    if path.startswith("/v1/"):
        kind = TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        shown = {"message": f"{message}; {hint}", "type": kind, "param": param, "code": None}
    return ASCIIResponse({"error": shown}, status, headers)
