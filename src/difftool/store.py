"""The model store: what can be fetched, what is there, and whether it is whole. Nothing else in difftool downloads.

A model is a folder of the store, as its files are called upstream. Beside each file FILE stands ``FILE.sha256``, in the
form of sha256sum, with the hash of what was announced (or, where no hash was, of what came); ``FILE.part`` is what has
come so far.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from .errors import DifftoolError, Exit, pick
from .files import TEMPORARY, expanded, lock, write_text
from .presets import family

CHUNK = 1 << 20
PATIENCE = 5
"""Failures in a row, without a byte in between, after which a download is given up."""
TIMEOUT = 30.0
"""Seconds without an answer that count as a failure."""
DERIVED = ".difftool.safetensors"
"""What the name of a file ends in that was made here from one of the store's."""


class Entry(NamedTuple):
    """A model that can be fetched."""

    name: str
    about: str
    licence: str
    files: tuple[str, ...]
    urls: tuple[str, ...]
    sha256: str | None
    """Where it is known beforehand, of the only file."""


class Announced(NamedTuple):
    """What the other side says of a file."""

    size: int | None
    """Bytes."""
    digest: str | None
    """SHA-256 of the file, or SHA-1 of a git blob."""


class Held(NamedTuple):
    """A file of the store."""

    path: Path
    size: int
    """Bytes on the disk, of the part that is there."""
    state: str
    """whole, partial, missing, or unchecked, which has no hash beside it; from `verify` also damaged."""


def home(models_dir: Path | None = None) -> Path:
    """Where models live: `models_dir`, or the user's data folder."""
    if models_dir is not None:
        return expanded(models_dir)
    from platformdirs import user_data_path

    return user_data_path("difftool") / "models"


def hub() -> str:
    """The address of the hub, or of another one that HF_ENDPOINT names. Raises DifftoolError 2 where that is none."""
    named = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or "https://huggingface.co"
    if not re.match(r"https?://[^/]", named):
        raise DifftoolError(
            Exit.USAGE, f"HF_ENDPOINT is no address: {named!r}", "give it as https://..., or take it out"
        )
    return named


def entries() -> dict[str, Entry]:
    """All models that can be fetched, by name."""
    found = {}
    for name, row in family("store").items():
        kind, _, repository = row["from"].partition(":")
        base = f"{hub()}/{repository}/resolve/main" if kind == "hub" else row["from"]
        files = tuple(row["files"])
        urls = tuple(f"{base}/{quote(file)}" for file in files)
        found[name] = Entry(name, row["about"], row["licence"], files, urls, row.get("sha256"))
    return found


def entry(name: str) -> Entry:
    """The row of that name. Raises DifftoolError 2, naming the nearest, where there is none."""
    return pick("model", name, entries())


def held(model: Entry, models_dir: Path | None = None) -> list[Held]:
    """The files of a model as they are on the disk, without reading them."""
    return [_held(home(models_dir) / model.name / file) for file in model.files]


def _held(path: Path) -> Held:
    if path.exists():
        return Held(path, path.stat().st_size, "whole" if _said(path) else "unchecked")
    part = _part(path)
    return Held(path, part.stat().st_size, "partial") if part.exists() else Held(path, 0, "missing")


def verify(model: Entry, models_dir: Path | None = None) -> Iterator[Held]:
    """The files of a model, read and compared with the hashes that stand beside them."""
    for file in held(model, models_dir):
        damaged = file.state == "whole" and _digest(file.path) != _said(file.path)
        yield file._replace(state="damaged") if damaged else file


class Trouble(Exception):
    """What went wrong between here and the other side. `passing` says that it may go well the next time."""

    def __init__(self, what: str, *, code: int | None = None, passing: bool = True) -> None:
        super().__init__(what)
        self.code, self.passing = code, passing


def announce(url: str, sha256: str | None = None) -> Announced:
    """Asks for the size and the hash of a file, without fetching it. Raises DifftoolError 4 where there is no answer,
    or a refusal."""
    failures, headers = 0, None
    while headers is None:
        try:
            with _ask(url, "HEAD") as answer:
                headers = answer.headers
        except Trouble as trouble:
            failures += 1
            if trouble.code is None or not trouble.passing or failures == PATIENCE:
                raise _refusal(url, trouble) from trouble
            time.sleep(2**failures)
    size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
    tag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"').lower()
    hashed = re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", tag)
    return Announced(int(size) if size.isdecimal() else None, sha256 or (tag if hashed else None))


def fetch(path: Path, url: str, said: Announced) -> Iterator[int]:
    """Fetches a file that was announced, going on from what is there already; yields how many bytes it has, from time
    to time.

    Raises DifftoolError 4 where the connection breaks off again and again, or what came is not what was announced; what
    came by then is kept for the next time, unless it is wrong.
    """
    _part(path).parent.mkdir(parents=True, exist_ok=True)
    size, failures, furthest = said.size, 0, part_size(path)
    while size is None or part_size(path) < size:
        try:
            yield from _stream(path, url, size)
            if size is None:
                break
            trouble = Trouble("it ended early")
        except Trouble as error:
            trouble = error
        if trouble.code == 416:  # it has no more bytes than came
            break
        if not trouble.passing:
            raise _refusal(url, trouble) from trouble
        now = part_size(path)
        failures, furthest = (0, now) if now > furthest else (failures + 1, furthest)
        if failures >= PATIENCE:
            what = f"{path.name}: the connection broke off again and again ({trouble})"
            raise DifftoolError(Exit.FILE, what, "run it again: it goes on from here")
        if failures:
            time.sleep(2**failures)
    _settle(path, said)


def _stream(path: Path, url: str, size: int | None) -> Iterator[int]:
    """Appends the bytes of an address to what is there, up to the `size` that was announced and one more chunk; yields
    how many there are. Raises Trouble where fewer came than the answer promised."""
    have = part_size(path)
    with _ask(url, "GET", {"Range": f"bytes={have}-"} if have else {}) as answer, _part(path).open("ab") as file:
        length = answer.headers.get("Content-Length") or ""
        if answer.status == 206 and not answer.headers.get("Content-Range", f"bytes {have}-").startswith(
            f"bytes {have}-"
        ):
            raise Trouble("it answers with other bytes than it was asked for", passing=False)
        if answer.status != 206 and have:  # it begins from the start, unless it is a page that somebody put in between
            if size is not None and length != str(size):
                raise Trouble("it answers with something else")
            file.truncate(0)
            have = 0
        promised = have + int(length) if length.isdecimal() else None
        while chunk := _heard(answer):
            file.write(chunk)
            have += len(chunk)
            yield have
            if size is not None and have > size:
                return
    if promised is not None and have < promised:
        raise Trouble("it ended early")


def _heard(answer: Any) -> bytes:
    """The bytes that have come by now."""
    try:
        return answer.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise Trouble(str(error) or type(error).__name__) from error


def _settle(path: Path, said: Announced) -> None:
    """Makes a part that has come the file, if it is the one that was announced."""
    part = _part(path)
    part.touch()  # nothing comes of an empty file
    if not is_that(part, said):
        size = part.stat().st_size
        other = f"{size:,} bytes came and {said.size:,} were announced"
        wrong = f"the hash is not {said.digest}, as was announced" if size == said.size else other
        part.unlink()
        raise DifftoolError(
            Exit.FILE, f"{path.name}: {wrong}", "run it again; if it stays so, the other side is at fault"
        )
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    adopt(path, said)


def is_that(path: Path, said: Announced) -> bool:
    """Whether a file is the one that was announced, as far as was said."""
    if said.size is not None and path.stat().st_size != said.size:
        return False
    return said.digest is None or said.digest == (_git_blob(path) if len(said.digest) == 40 else _digest(path))


def announced_by(source: Path, sha256: str | None = None) -> Announced:
    """What is known of a file in a folder: its size, and the hash that a ``.sha256`` beside it gives."""
    return Announced(source.stat().st_size, sha256 or _said(source))


def copy(path: Path, source: Path, said: Announced) -> Iterator[int]:
    """Copies a file from a folder, for a machine without a network; yields how many bytes it has. Raises DifftoolError
    4 where it is not what was announced."""
    part, have = _part(path), 0
    part.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading, part.open("wb") as file:
        while chunk := reading.read(CHUNK):
            file.write(chunk)
            have += len(chunk)
            yield have
    _settle(path, said)


def found_in(folder: Path, model: Entry) -> list[Path]:
    """The files of a model in a folder that was filled elsewhere: as the store lays them out, in a folder of the
    model's name, or all beside each other. Raises DifftoolError 4, naming the first that is missing."""
    found = []
    for file in model.files:
        flat = [folder / Path(file).name] if len({Path(name).name for name in model.files}) == len(model.files) else []
        places = [folder / model.name / file, folder / file, *flat]
        if not (at := next((place for place in places if place.is_file()), None)):
            raise DifftoolError(
                Exit.FILE, f"there is no {file} in {folder}", f"{model.name} needs {', '.join(model.files)}"
            )
        found.append(at)
    return found


def room_for(size: int, folder: Path) -> None:
    """Raises DifftoolError 4 where a disk has no room for so many bytes more."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise DifftoolError(
            Exit.FILE,
            f"{folder} has room for {megabytes(free)}, and {megabytes(size)} are to come",
            "make room, or name another --models-dir",
        )


def adopt(path: Path, said: Announced) -> None:
    """Writes the hash of a file that `is_that` beside it."""
    known = said.digest if said.digest and len(said.digest) == 64 else _digest(path)
    write_text(_note(path), f"{known}  {path.name}\n")


def removable(model: Entry, models_dir: Path | None = None) -> list[Path]:
    """What there is of a model: its files, parts of them, their hashes, and what was made of them."""
    folder = home(models_dir) / model.name
    paths = [folder / file for file in model.files]
    made = [path.with_name(path.stem + DERIVED) for path in paths]
    broken = [left for one in made for left in one.parent.glob(TEMPORARY) if left.name.startswith(f".{one.name}.")]
    each = [*((path, _part(path), _note(path)) for path in paths), made, broken]
    return [path for group in each for path in group if path.exists()]


def remove(model: Entry, models_dir: Path | None = None) -> None:
    """Removes what is `removable`, and the folders that are empty then. Raises DifftoolError 75 while it is fetched."""
    folder = home(models_dir) / model.name
    with lock(folder):
        for path in removable(model, models_dir):
            path.unlink()
    for path in sorted({(folder / file).parent for file in model.files} | {folder}, reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} bytes"


def part_size(path: Path) -> int:
    """How many bytes of a file have come so far."""
    return _part(path).stat().st_size if _part(path).exists() else 0


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _said(path: Path) -> str | None:
    """The hash that stands beside a file, in any form that sha256sum and its like write; None where there is none."""
    note = _note(path)
    found = re.search(r"\b[0-9a-fA-F]{64}\b", note.read_text(errors="replace")) if note.is_file() else None
    return found[0].lower() if found else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
            return opener.open(asked, timeout=TIMEOUT)
        except urllib.error.HTTPError as answer:
            place = answer.headers.get("Location")
            if answer.code not in (301, 302, 303, 307, 308) or not place:
                passing = answer.code >= 500 or answer.code in (408, 429)
                raise Trouble(f"{answer.code} {answer.reason}", code=answer.code, passing=passing) from answer
            if method == "HEAD" and answer.headers.get("X-Linked-Etag"):
                return answer
            url = _next(url, place)
        except (OSError, HTTPException, ValueError) as error:
            raise Trouble(str(getattr(error, "reason", None) or error)) from error
    raise Trouble("it redirects without end", passing=False)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Leaves it to `_ask` to follow."""

    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None


_AGENT = {"User-Agent": "difftool", "Accept-Encoding": "identity"}


def _next(url: str, place: str) -> str:
    """Where a redirection leads: to the network only, and never from a secret line to an open one."""
    try:
        url, before = urljoin(url, place), urlsplit(url).scheme
        scheme = urlsplit(url).scheme
    except ValueError as error:
        raise Trouble(f"it redirects to {place!r}", passing=False) from error
    if scheme not in ("http", "https") or (before, scheme) == ("https", "http"):
        raise Trouble(f"it redirects to {url}", passing=False)
    return url


def _secret(url: str) -> dict[str, str]:
    """The user's token, for the hub and for nobody else. Raises DifftoolError 2 where it cannot be one."""
    if urlsplit(url)[:2] != urlsplit(hub())[:2]:
        return {}
    kept = expanded(os.environ.get("HF_HOME", "~/.cache/huggingface")) / "token"
    token = os.environ.get("HF_TOKEN") or (kept.read_text(errors="replace") if kept.is_file() else "")
    if not re.fullmatch(r"[!-~]*", token := token.strip()):
        raise DifftoolError(Exit.USAGE, "HF_TOKEN holds no token", "copy it again from the settings of your account")
    return {"Authorization": f"Bearer {token}"} if token else {}


def _refusal(url: str, trouble: Trouble) -> DifftoolError:
    host = urlsplit(url).netloc
    if trouble.code in (401, 403):
        page = url.partition("/resolve/")[0]
        hint = f"accept its licence on {page}, then put your token into the environment as HF_TOKEN"
        return DifftoolError(Exit.FILE, f"{host} wants to know who asks for {url} ({trouble.code})", hint)
    elsewhere = "try again later, or fetch the files on another machine and add --from DIR"
    what = f"{host} cannot be reached: {trouble}" if trouble.code is None else f"{host} does not give {url}: {trouble}"
    return DifftoolError(Exit.FILE, what, elsewhere)
