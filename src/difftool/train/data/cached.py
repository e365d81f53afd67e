"""The cache of data sets: its keys, and its size."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from .contents import UNREADABLE
from .decode import Contents

KEPT_BYTES = 20 * 10**9
"""Size of the cache; the least recently used data sets are removed first."""
HELD_BYTES = 2**28
"""Sources up to this size are read once into memory, instead of twice."""


def held_in_memory(files: Contents, size: int) -> Contents:
    """The files of a source of so many bytes, already read if they are few."""
    return {name: _held(read) for name, read in files.items()} if size < HELD_BYTES else files


def key_of(how: list[object], names: Collection[str], used: Contents) -> str:
    """The key of a data set: how it is read, the names of all its files, and the contents of those that are used."""
    digest = hashlib.sha256(json.dumps(how).encode())
    for name in names:
        mark = _print_of(used[name]) if name in used else b""
        digest.update(f"{name}\0".encode(errors="surrogateescape") + mark)
    return digest.hexdigest()


def _held(read: Callable[[], bytes]) -> Callable[[], bytes]:
    """`read`, already called; its error is raised on use."""
    try:
        data = read()
    except UNREADABLE as error:
        failed = error

        def fail() -> bytes:
            raise failed

        return fail
    return lambda: data


def _print_of(read: Callable[[], bytes]) -> bytes:
    try:
        return hashlib.sha256(read()).digest()
    except UNREADABLE as error:
        return repr(error).encode()


def bounded(folder: Path) -> None:
    """Removes the least recently used data sets beside that in `folder` until all take KEPT_BYTES."""
    others = [path for path in folder.parent.iterdir() if path != folder]
    others.sort(key=lambda path: -path.stat().st_mtime)
    free = KEPT_BYTES - _bytes_of(folder)
    for path in others:
        free -= _bytes_of(path)
        if free < 0:
            shutil.rmtree(path, ignore_errors=True)


def _bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())
