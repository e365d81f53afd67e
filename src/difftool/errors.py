"""Exit codes and the exception that ends a command with one."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import TypeVar

T = TypeVar("T")


class Exit(IntEnum):
    """Exit codes of all commands; `difftool --help` prints their `MEANING`."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    MACHINE = 3
    FILE = 4
    PARTIAL = 5
    MEMORY = 6
    REFUSED = 7
    LATER = 75
    INTERRUPTED = 130
    TERMINATED = 143


MEANING = {
    Exit.DONE: "done, or nothing left to do",
    Exit.FAILED: "failed while running",
    Exit.USAGE: "invalid command line or configuration",
    Exit.MACHINE: "this machine cannot run it",
    Exit.FILE: "a file or model is missing, corrupt, unusable, or would be overwritten",
    Exit.PARTIAL: "some items failed; the manifest names them",
    Exit.MEMORY: "out of memory after every fallback",
    Exit.REFUSED: "refused: no consent recorded for the voice",
    Exit.LATER: "try again later: locked by another run, or time limit reached with the state saved",
    Exit.INTERRUPTED: "interrupted (Ctrl-C), state saved",
    Exit.TERMINATED: "terminated, state saved",
}


class DifftoolError(Exception):
    """Ends a command with exit code `code` and two lines: the error and a hint."""

    def __init__(self, code: Exit, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint

    def __reduce__(self) -> tuple[type, tuple[Exit, str, str]]:
        return type(self), (self.code, self.message, self.hint)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to `word` in any case, if any is close."""
    spelled = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(spelled), n=1, cutoff=0.5)
    return spelled[close[0]] if close else None


def unknown(kind: str, word: str, known: Iterable[str]) -> DifftoolError:
    """The error for an unknown name, with the nearest and all known names."""
    known = sorted(known)
    near = nearest(word, known)
    suggestion = f"; did you mean {near!r}?" if near else ""
    return DifftoolError(Exit.USAGE, f"unknown {kind} {word!r}{suggestion}", f"known: {', '.join(known)}")


def pick(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The row of that name. Raises DifftoolError 2, with the nearest name, if there is none."""
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def pip_install(*packages: str) -> str:
    """The command that installs packages into this environment, for a hint; no activation needed."""
    import shlex
    import sys
    from importlib.util import find_spec

    command = ["uv", "pip", "install", "--python", sys.executable]  # environments of uv have no pip
    if find_spec("pip"):
        command = [sys.executable, "-m", "pip", "install"]
    return shlex.join([*command, *packages])


def install_extra(extra: str) -> str:
    """The command that installs the packages of an extra of difftool. It lists them, because `difftool[extra]` would be
    looked up in a registry, where neither a checkout nor a local wheel is."""
    from importlib.metadata import requires

    lines = [line.partition(";") for line in requires("difftool") or ()]
    packages = [name.strip() for name, _, marker in lines if f"extra == '{extra}'" in marker.replace('"', "'")]
    return pip_install(*packages)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception or one of its causes means out of memory, on a GPU or in RAM."""
    return any(map(_means_no_memory, _chain(error)))


def _means_no_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return not isinstance(error, DifftoolError) and _NO_MEMORY.search(str(error)) is not None


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception or one of its causes means that a disk, or a quota, is full."""
    return any(map(_means_no_disk, _chain(error)))


def _means_no_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:  # its text may contain the name of a file
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return not isinstance(error, DifftoolError) and _NO_DISK.search(str(error)) is not None


def raise_what_ended(message: str) -> None:
    """Raises MemoryError or OSError if the message of another program means out of memory or a full disk."""
    if _NO_MEMORY.search(message):
        raise MemoryError(message)
    if _NO_DISK.search(message):
        raise OSError(errno.ENOSPC, message)


_NO_MEMORY = re.compile(
    r"(?i)(can't|cannot|unable to|failed to) (allocate|map) |std::bad_alloc|out of memory|can't start new thread"
    r"|STATUS_ALLOC_FAILED|malloc failed|\(os error 12\)|could not create a (primitive$|memory)"
)
"""Messages of: the CPU allocator and mmap, C++, CUDA, threads, cuBLAS and cuDNN, libsndfile, Rust (safetensors),
oneDNN."""
_NO_DISK = re.compile(r"(?i)no space left on device|disk quota exceeded|\d+ requested and \d+ written")
"""Messages of the system, quoted by libraries, and of NumPy."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes."""
    while error is not None:
        yield error
        error = error.__cause__
