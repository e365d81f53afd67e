"""Files from the network: asked for, fetched, gone on with, and compared with what was announced.

Beside a file FILE stands ``FILE.sha256``, in the form of sha256sum, with the hash of what was announced (or, where no
hash was, of what came); ``FILE.part`` is what has come so far.
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
"""Failures in a row, without a byte in between, after which a download is given up."""
TIMEOUT = 30.0
"""Seconds without an answer that count as a failure."""


class Announced(NamedTuple):
    """What the other side says of a file."""

    size: int | None
    """Bytes."""
    digest: str | None
    """SHA-256 of the file, or SHA-1 of a git blob."""


def hub() -> str:
    """The address of the hub, or of another one that HF_ENDPOINT names. Raises DifftoolError 2 where that is none."""
    named = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or "https://huggingface.co"
    try:
        scheme, host, _, query, fragment = urlsplit(named)
    except ValueError:
        scheme = host = query = fragment = ""
    if scheme not in ("http", "https") or not host or "@" in host or query or fragment:
        raise DifftoolError(
            Exit.USAGE, "HF_ENDPOINT is no address that can be used", "give it as https://HOST, or take it out"
        )
    return named


class Trouble(Exception):
    """What the other side did instead of answering, in words that follow its name. `passing` says that it may go well
    the next time, `code` is that of an answer."""

    def __init__(self, what: str, *, code: int | None = None, passing: bool = True) -> None:
        super().__init__(what)
        self.code, self.passing = code, passing


def announce(url: str, sha256: str | None = None) -> Announced:
    """Asks for the size and the hash of a file, without fetching it. Raises DifftoolError 4 where there is no answer,
    or a refusal."""
    method, failures, headers, redirects = "HEAD", 0, None, False
    while headers is None:
        try:
            with _ask(url, method) as answer:
                headers, redirects = answer.headers, answer.status >= 300
        except Trouble as trouble:
            if trouble.code in (405, 501) and method == "HEAD":
                method = "GET"  # whose answer is dropped after its head
                continue
            failures += 1
            if trouble.code is None or not trouble.passing or failures == PATIENCE:
                raise _refusal(url, trouble) from trouble
            _wait(url, trouble, failures)
    length = None if redirects else headers.get("Content-Length")  # which is that of the redirection
    size = _number(headers.get("X-Linked-Size") or length)
    tag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"').lower()
    hashed = re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", tag)
    return Announced(size, sha256 or (tag if hashed else None))


def _number(header: str | None) -> int | None:
    """A number of bytes, if that is one."""
    return int(header) if header and re.fullmatch("[0-9]{1,15}", header) else None


def _wait(url: str, trouble: Trouble, failures: int) -> None:
    log.info("%s %s: again in %d s", urlsplit(url).netloc, trouble, 2**failures)
    time.sleep(2**failures)


def fetch(path: Path, url: str, said: Announced) -> Iterator[int]:
    """Fetches a file that was announced, going on from what is there already; yields how many bytes it has, from time
    to time.

    Raises DifftoolError 4 where the connection breaks off again and again, or what came is not what was announced; what
    came by then is kept for the next time, unless it is wrong.
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
        if trouble.code == 416:  # it has no more bytes than came
            break
        if not trouble.passing:
            raise _refusal(url, trouble) from trouble
        now = part_size(path)
        failures, furthest = (0, now) if now > furthest else (failures + 1, furthest)
        if failures >= PATIENCE:
            what = f"{path.name}: the connection broke off again and again ({urlsplit(url).netloc} {trouble})"
            raise DifftoolError(Exit.FILE, what, "run it again: it goes on from here")
        if failures:
            _wait(url, trouble, failures)
    settle(path, said, "run it again; if it stays so, the other side is at fault")


def _stream(path: Path, url: str, size: int | None) -> Iterator[int]:
    """Appends the bytes of an address to what is there, up to the `size` that was announced and one more chunk; yields
    how many there are. Raises Trouble where fewer came than the answer promised."""
    have = part_size(path)
    with _ask(url, "GET", {"Range": f"bytes={have}-"} if have else {}) as answer:
        length, asked = _number(answer.headers.get("Content-Length")), f"bytes {have}-"
        if answer.status == 206 and not answer.headers.get("Content-Range", asked).startswith(asked):
            raise Trouble("answers with other bytes than it was asked for", passing=False)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise Trouble("answers in a coding that it was not asked for", passing=False)
        if answer.status != 206:  # it begins from the start, unless it is a page that somebody put in between
            if None not in (size, length) and size != length:
                raise Trouble(f"answers with {length:,} bytes where {size:,} were announced", passing=bool(have))
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
    """The bytes that have come by now."""
    try:
        return answer.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise Trouble(f"broke off: {error or type(error).__name__}") from error


def settle(path: Path, said: Announced, hint: str) -> None:
    """Makes a part that has come the file, if it is the one that was announced. Raises DifftoolError 4, with that hint,
    where it is not."""
    part = part_of(path)
    part.touch()  # nothing comes of an empty file
    if not is_that(part, said):
        size = part.stat().st_size
        other = f"{size:,} bytes came and {said.size:,} were announced"
        wrong = f"the hash is not {said.digest}, as was announced" if size == said.size else other
        part.unlink()
        raise DifftoolError(Exit.FILE, f"{path.name}: {wrong}", hint)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    adopt(path, said)


def is_that(path: Path, said: Announced) -> bool:
    """Whether a file is the one that was announced, as far as was said."""
    if said.size is not None and path.stat().st_size != said.size:
        return False
    return said.digest is None or said.digest == (_git_blob(path) if len(said.digest) == 40 else digest_of(path))


def adopt(path: Path, said: Announced) -> None:
    """Writes the hash of a file that `is_that` beside it."""
    known = said.digest if said.digest and len(said.digest) == 64 else digest_of(path)
    write_text(note_of(path), f"{known}  {path.name}\n")


def part_size(path: Path) -> int:
    """How many bytes of a file have come so far."""
    return part_of(path).stat().st_size if part_of(path).exists() else 0


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def hash_beside(path: Path) -> str | None:
    """The hash that stands beside a file, in any form that sha256sum and its like write; None where there is none."""
    note = note_of(path)
    try:
        found = re.search(r"\b[0-9a-fA-F]{64}\b", note.read_text(errors="replace"))
    except OSError:  # none is there, or none that may be read
        return None
    return found[0].lower() if found else None


def _git_blob(path: Path) -> str:
    """What git calls a file: the SHA-1 of its length and its bytes."""
    return hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()


def _ask(url: str, method: str, headers: Mapping[str, str] | None = None) -> Any:
    """The answer to a request. A HEAD ends at the first answer that says what is announced, which may be a redirection.
    Raises Trouble for every other answer than the bytes, and for none."""
    opener = urllib.request.build_opener(_Stay)
    for _ in range(10):
        asked = urllib.request.Request(url, headers={**_AGENT, **(headers or {}), **_secret(url)}, method=method)
        try:
            answer = opener.open(asked, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            place = error.headers.get("Location")
            if error.code not in (301, 302, 303, 307, 308) or not place:
                passing = 500 <= error.code < 600 or error.code in (408, 429)
                what = f"does not give {url}: {error.code} {error.reason}"
                raise Trouble(what, code=error.code, passing=passing) from error
            if method == "HEAD" and error.headers.get("X-Linked-Etag"):
                return error
            url = _next(url, place)
        except (OSError, HTTPException, ValueError) as error:
            raise Trouble(f"cannot be reached: {getattr(error, 'reason', None) or error}") from error
        else:
            if answer.status not in (200, 206):
                raise Trouble(f"does not give {url}: {answer.status} {answer.reason}", passing=False)
            return answer
    raise Trouble("redirects without end", passing=False)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Leaves it to `_ask` to follow."""

    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None


_AGENT = {"User-Agent": "difftool", "Accept-Encoding": "identity"}


def _next(url: str, place: str) -> str:
    """Where a redirection leads: to the network only, and never from a secret line to an open one."""
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
    """The user's token, for the hub and for nobody else. Raises DifftoolError 2 where it cannot be one."""
    if urlsplit(url)[:2] != urlsplit(hub())[:2]:
        return {}
    token, origin = os.environ.get("HF_TOKEN"), "HF_TOKEN"
    if not token:
        kept = expanded(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "token"
        token, origin = (kept.read_text(errors="replace") if kept.is_file() else ""), str(kept)
    if not re.fullmatch(r"[!-~]*", token := token.strip()):
        raise DifftoolError(Exit.USAGE, f"{origin} holds no token", "copy it again from the settings of your account")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _refusal(url: str, trouble: Trouble) -> DifftoolError:
    host = urlsplit(url).netloc
    if trouble.code in (401, 403):
        page = url.partition("/resolve/")[0]
        hint = f"accept its licence on {page}, and have the token of that account in the environment as HF_TOKEN"
        return DifftoolError(Exit.FILE, f"{host} wants to know who asks for {url} ({trouble.code})", hint)
    elsewhere = "try again later, or fetch the files on another machine and add --from DIR"
    return DifftoolError(Exit.FILE, f"{host} {trouble}", elsewhere)
