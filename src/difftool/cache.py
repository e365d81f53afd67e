"""The cache folder: what lies there, and its removal."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from .errors import DifftoolError, Exit, pick
from .files import TEMPORARY, cache_dir

KINDS = {
    "pictures": "decoded training data",
    "places": "where rerun finds inputs",
}
"""What is cached, by kind."""
USUAL = ("pictures",)
"""Kinds that are removed unless others are named: what is missing is made again when it is needed."""
SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
"""Units of an age."""
WRITTEN = 3600
"""Seconds for which a temporary file counts as being written."""


class Item(NamedTuple):
    """A file or folder of the cache."""

    kind: str
    path: Path
    size: int
    """Bytes on disk."""
    used: float
    """When it was last used, in seconds since 1970."""
    busy: bool
    """Whether a running process uses it."""


def items() -> list[Item]:
    """What lies in the cache, the least recently used first. Files that difftool does not know are left out."""
    paths = [("pictures", path) for path in (cache_dir() / "pictures").glob("*") if _is_set(path)]
    paths += [("places", path) for path in cache_dir().glob("*") if fnmatch(path.name.lstrip("."), "places.json*")]
    used = _open_files(cache_dir()) if paths else set()
    rows = []
    for kind, path in paths:
        with suppress(FileNotFoundError):  # another process has just removed it
            changed = path.stat().st_mtime
            busy = any(name == str(path) or name.startswith(f"{path}/") for name in used)
            busy |= path.match(TEMPORARY) and time.time() - changed < WRITTEN
            rows.append(Item(kind, path, _size(path), changed, busy))
    return sorted(rows, key=lambda item: item.used)


def clear(kinds: Collection[str] = (), *, older_than: float = 0, dry_run: bool = False) -> list[Item]:
    """Removes what is cached and not in use; returns it.

    kinds: some of KINDS, default: USUAL; older_than: only what was not used for so many seconds.

    Raises DifftoolError 2 for an unknown kind, 4 for a file that cannot be removed.
    """
    wanted = {pick("kind", kind, {kind: kind for kind in KINDS}) for kind in kinds} or {*USUAL}
    limit = time.time() - older_than
    old = [item for item in items() if item.kind in wanted and item.used <= limit]
    gone = [item for item in old if not item.busy]
    if not dry_run:
        for item in gone:
            _remove(item.path)
    return gone


def seconds_of(text: str) -> int:
    """Parses an age such as 12h, 30d or 2w. Raises ValueError."""
    match = re.fullmatch(r"(\d{1,6})([hdw])", text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is not an age such as 12h, 30d or 2w")
    return int(match[1]) * SECONDS[match[2]]


def _is_set(path: Path) -> bool:
    """Whether a folder holds decoded data, or what a killed process left of them."""
    is_named = re.fullmatch("[0-9a-f]{64}", path.name) or path.match(TEMPORARY)
    return bool(is_named) and path.is_dir() and not path.is_symlink()


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        message = f"cannot remove {error.filename}: {error.strerror}"
        raise DifftoolError(Exit.FILE, message, "check its permissions and those of its folder") from error


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _open_files(root: Path) -> set[str]:
    """The files below a folder that processes of this user have opened or mapped; empty where the system does not
    tell (only Linux does)."""
    prefix = f"{root.resolve()}/"
    names = (name for process in Path("/proc").glob("[0-9]*") for name in _files_of(process))
    return {f"{root}/{name.removeprefix(prefix)}" for name in names if name.startswith(prefix)}


def _files_of(process: Path) -> Iterator[str]:
    with suppress(OSError):  # of another user, or ended
        for line in (process / "maps").read_text(errors="surrogateescape").splitlines():
            _, slash, name = line.partition("/")
            if slash:
                yield slash + name
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                yield str(link.readlink())
