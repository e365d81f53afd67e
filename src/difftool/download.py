"""Resumable downloads, verified against the size and hash that the server publishes.

Beside FILE, ``FILE.sha256`` (in the format of sha256sum) has the published hash, or the hash of the downloaded file if
none was published; ``FILE.part`` is a partial download.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from .errors import DifftoolError, Exit
from .files import digest_of, expanded, write_text

log = logging.getLogger(__name__)

CHUNK = 1 << 20
PATIENCE = 5
"""Consecutive failures without progress after which a download is aborted."""
TIMEOUT = 30.0
"""Seconds without a response that count as a failure."""


class Announced(NamedTuple):
    """The size and hash of a file, as published by the server."""

    size: int | None
    """Bytes."""
    digest: str | None
    """SHA-256 of the file, or SHA-1 of a git blob."""


def hub() -> str:
    """The URL of the hub: HF_ENDPOINT or the default. Raises DifftoolError 2 if it is not a URL."""
    named = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or "https://huggingface.co"
    try:
        scheme, host, _, query, fragment = urlsplit(named)
    except ValueError:
        scheme = host = query = fragment = ""
    if scheme not in ("http", "https") or not host or "@" in host or query or fragment:
        raise DifftoolError(Exit.USAGE, "HF_ENDPOINT is not a valid URL", "set it to https://HOST, or unset it")
    return named


class Trouble(Exception):
    """A failed request. The message follows the name of the host; `passing`: a retry may succeed; `code`: the status of
    the response."""

    def __init__(self, message: str, *, code: int | None = None, passing: bool = True) -> None:
        super().__init__(message)
        self.code, self.passing = code, passing


def announce(url: str, sha256: str | None = None) -> Announced:
    """Requests the size and hash of a file, without downloading it. Raises DifftoolError 4 if that fails."""
    method, failures, headers, redirects = "HEAD", 0, None, False
    while headers is None:
        try:
            with _ask(url, method) as answer:
                headers, redirects = answer.headers, answer.status >= 300
        except Trouble as trouble:
            if trouble.code in (405, 501) and method == "HEAD":
                method = "GET"  # only the headers are read
                continue
            failures += 1
            if trouble.code is None or not trouble.passing or failures == PATIENCE:
                raise _refusal(url, trouble) from trouble
            _wait(url, trouble, failures)
    length = None if redirects else headers.get("Content-Length")  # of the redirection itself
    size = _number(headers.get("X-Linked-Size") or length)
    tag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"').lower()
    hashed = re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", tag)
    return Announced(size, sha256 or (tag if hashed else None))


def _number(header: str | None) -> int | None:
    """A number of bytes; None if the header is not a number."""
    return int(header) if header and re.fullmatch("[0-9]{1,15}", header) else None


def _wait(url: str, trouble: Trouble, failures: int) -> None:
    log.info("%s %s; retrying in %d s", urlsplit(url).netloc, trouble, 2**failures)
    time.sleep(2**failures)


def fetch(path: Path, url: str, said: Announced) -> Iterator[int]:
    """Downloads a file, resuming a partial download; yields the number of bytes so far.

    Raises DifftoolError 4 if the connection fails repeatedly or the file does not match; a partial download is kept,
    unless it is wrong.
    """
    part_of(path).parent.mkdir(parents=True, exist_ok=True)
    size, failures, furthest = said.size, 0, part_size(path)
    while size is None or part_size(path) < size:
        try:
            yield from _stream(path, url, size)
            if size is None:
                break
            trouble = Trouble("ended early")
        except Trouble as error:
            trouble = error
        if trouble.code == 416:  # range not satisfiable: nothing is left to download
            break
        if not trouble.passing:
            raise _refusal(url, trouble) from trouble
        now = part_size(path)
        failures, furthest = (0, now) if now > furthest else (failures + 1, furthest)
        if failures >= PATIENCE:
            message = f"{path.name}: the connection failed repeatedly ({urlsplit(url).netloc} {trouble})"
            raise DifftoolError(Exit.FILE, message, "run the same command again to resume")
        if failures:
            _wait(url, trouble, failures)
    settle(path, said, "run the same command again; if it fails again, the file on the server is wrong")


def _stream(path: Path, url: str, size: int | None) -> Iterator[int]:
    """Appends the data of a URL to a partial download, up to one chunk beyond the published `size`; yields the number
    of bytes so far. Raises Trouble if fewer bytes came than the response announced."""
    have = part_size(path)
    resume = {"Range": f"bytes={have}-"} if have else {}
    with _ask(url, "GET", resume) as answer:
        length, asked = _number(answer.headers.get("Content-Length")), f"bytes {have}-"
        if answer.status == 206 and not answer.headers.get("Content-Range", asked).startswith(asked):
            raise Trouble("sent a different range than requested", passing=False)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise Trouble("sent an encoding that was not requested", passing=False)
        if answer.status != 206:  # the whole file, or the page of a proxy
            if None not in (size, length) and size != length:
                raise Trouble(f"sent {length:,} bytes instead of {size:,}", passing=bool(have))
            have = 0
        promised = None if length is None else have + length
        with part_of(path).open("ab" if have else "wb") as file:
            while chunk := _heard(answer):
                file.write(chunk)
                have += len(chunk)
                yield have
                if size is not None and have > size:
                    return
    if promised is not None and have < promised:
        raise Trouble("ended early")


def _heard(answer: Any) -> bytes:
    """The bytes received so far."""
    try:
        return answer.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise Trouble(f"closed the connection: {error or type(error).__name__}") from error


def settle(path: Path, said: Announced, hint: str) -> None:
    """Moves a complete download into place, if it matches. Raises DifftoolError 4, with this hint, if it does not."""
    part = part_of(path)
    part.touch()  # an empty file has no data to write
    if not is_that(part, said):
        size = part.stat().st_size
        reason = f"received {size:,} bytes instead of {said.size:,}"
        if size == said.size:
            reason = f"hash mismatch: expected {said.digest}"
        part.unlink()
        raise DifftoolError(Exit.FILE, f"{path.name}: {reason}", hint)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    adopt(path, said)


def is_that(path: Path, said: Announced) -> bool:
    """Whether a file has the published size and hash, as far as they are known."""
    if said.size is not None and path.stat().st_size != said.size:
        return False
    if said.digest is None:
        return True
    actual = _git_blob(path) if len(said.digest) == 40 else digest_of(path)
    return said.digest == actual


def adopt(path: Path, said: Announced) -> None:
    """Writes the hash of a file that `is_that` beside it."""
    known = said.digest if said.digest and len(said.digest) == 64 else digest_of(path)
    write_text(note_of(path), f"{known}  {path.name}\n")


def part_size(path: Path) -> int:
    """Bytes of a partial download."""
    return part_of(path).stat().st_size if part_of(path).exists() else 0


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def hash_beside(path: Path) -> str | None:
    """The hash in the ``.sha256`` beside a file, in any format of sha256sum; None if there is none."""
    note = note_of(path)
    try:
        match = re.search(r"\b[0-9a-fA-F]{64}\b", note.read_text(errors="replace"))
    except OSError:  # missing or unreadable
        return None
    return match[0].lower() if match else None


def _git_blob(path: Path) -> str:
    """The git blob hash of a file: SHA-1 of its length and data."""
    return hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()


def _ask(url: str, method: str, headers: Mapping[str, str] | None = None) -> Any:
    """The response to a request. HEAD stops at the first response with a hash, even a redirection. Raises Trouble for
    any other status than 200 or 206, and for no response."""
    opener = urllib.request.build_opener(_Stay)
    for _ in range(10):
        every = {**_AGENT, **(headers or {}), **_secret(url)}
        request = urllib.request.Request(url, headers=every, method=method)
        try:
            answer = opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            place = error.headers.get("Location")
            if error.code not in (301, 302, 303, 307, 308) or not place:
                passing = 500 <= error.code < 600 or error.code in (408, 429)
                message = f"refused {url}: {error.code} {error.reason}"
                raise Trouble(message, code=error.code, passing=passing) from error
            if method == "HEAD" and error.headers.get("X-Linked-Etag"):
                return error
            url = _next(url, place)
        except (OSError, HTTPException, ValueError) as error:
            raise Trouble(f"cannot be reached: {getattr(error, 'reason', None) or error}") from error
        else:
            if answer.status not in (200, 206):
                raise Trouble(f"refused {url}: {answer.status} {answer.reason}", passing=False)
            return answer
    raise Trouble("redirects too often", passing=False)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirections; `_ask` does."""

    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None


_AGENT = {"User-Agent": "difftool", "Accept-Encoding": "identity"}


def _next(url: str, place: str) -> str:
    """The target of a redirection: http or https only, and never from https to http."""
    before = urlsplit(url).scheme
    try:
        url = urljoin(url, quote(place, safe="%/:=&?~#+!$,;'@()*[]"))
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise Trouble(f"redirects to {place!r}", passing=False) from error
    if scheme not in ("http", "https") or (before, scheme) == ("https", "http"):
        raise Trouble(f"redirects to {url}", passing=False)
    return url


def _secret(url: str) -> dict[str, str]:
    """The user's token, for the hub only. Raises DifftoolError 2 if it is malformed."""
    if urlsplit(url)[:2] != urlsplit(hub())[:2]:
        return {}
    token, origin = os.environ.get("HF_TOKEN"), "HF_TOKEN"
    if not token:
        path = expanded(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "token"
        token, origin = (path.read_text(errors="replace") if path.is_file() else ""), str(path)
    token = token.strip()
    if not re.fullmatch(r"[!-~]*", token):
        hint = "copy it again from your account settings"
        raise DifftoolError(Exit.USAGE, f"{origin} is not a valid token", hint)
    return {"Authorization": f"Bearer {token}"} if token else {}


def _refusal(url: str, trouble: Trouble) -> DifftoolError:
    host = urlsplit(url).netloc
    if trouble.code in (401, 403):
        page = url.partition("/resolve/")[0]
        hint = f"accept its licence on {page} and set HF_TOKEN to a token of that account"
        return DifftoolError(Exit.FILE, f"{host} requires authentication for {url} ({trouble.code})", hint)
    hint = "try again later, or download the files on another machine and use --from DIR"
    return DifftoolError(Exit.FILE, f"{host} {trouble}", hint)
