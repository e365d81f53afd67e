"""What ends a command: the table of exit codes, and the one exception that carries a code to the shell."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import TypeVar

T = TypeVar("T")


class Exit(IntEnum):
    """Exit codes of every command; `MEANING` is what `difftool --help` prints of them."""

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
    Exit.DONE: "done, or nothing was left to do",
    Exit.FAILED: "failed while running",
    Exit.USAGE: "wrong command line or configuration",
    Exit.MACHINE: "this machine does not carry it",
    Exit.FILE: "a file or model is missing, corrupt, of no use, or would be overwritten",
    Exit.PARTIAL: "part of the items failed; the manifest names them",
    Exit.MEMORY: "out of memory after every fallback",
    Exit.REFUSED: "refused: no consent is recorded for the voice",
    Exit.LATER: "try again later: locked by another run, or out of time with the state saved",
    Exit.INTERRUPTED: "interrupted (Ctrl-C), state saved",
    Exit.TERMINATED: "terminated, state saved",
}


class DifftoolError(Exception):
    """Ends a command with `code` and two lines: what is wrong, and the command or change that helps."""

    def __init__(self, code: Exit, message: str, hint: str) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    return next(iter(difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)), None)


def unknown(kind: str, word: str, known: Iterable[str]) -> DifftoolError:
    """The error for a name that is in no table: it names the nearest one, and the table."""
    known = sorted(known)
    near = nearest(word, known)
    meant = f"; did you mean {near!r}?" if near else ""
    return DifftoolError(Exit.USAGE, f"unknown {kind} {word!r}{meant}", f"known: {', '.join(known)}")


def pick(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The row of that name. Raises DifftoolError 2, naming the nearest, where there is none."""
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def pip_install(*packages: str) -> str:
    """The command that installs packages beside this difftool, for a hint; it needs no active environment."""
    import shlex
    import sys
    from importlib.util import find_spec

    uv = ["uv", "pip", "install", "--python", sys.executable]  # whose environments have no pip
    return shlex.join([*([sys.executable, "-m", "pip", "install"] if find_spec("pip") else uv), *packages])


def install_extra(extra: str) -> str:
    """The same for what an extra of difftool brings. It names the packages, since `difftool[extra]` is what a registry
    has under that name, which neither a checkout nor a wheel from elsewhere is."""
    from importlib.metadata import requires

    wanted = [line.partition(";") for line in requires("difftool") or ()]
    packages = [name.strip() for name, _, marker in wanted if f"extra == '{extra}'" in marker.replace('"', "'")]
    return pip_install(*packages)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or what caused it, means that something found no room, on a GPU or in RAM."""
    return any(
        type(one).__name__ == "OutOfMemoryError"  # torch's, which need not be imported to say so
        or isinstance(one, MemoryError)
        or (isinstance(one, OSError) and one.errno == errno.ENOMEM)
        or (not isinstance(one, (DifftoolError, OSError)) and _NO_MEMORY.search(str(one)) is not None)
        for one in _chain(error)
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception, or what caused it, means that a disk, or somebody's share of it, has no room."""
    return any(
        one.errno in (errno.ENOSPC, errno.EDQUOT)
        if isinstance(one, OSError) and one.errno is not None  # else its words may be the name of a file
        else not isinstance(one, DifftoolError) and _NO_DISK.search(str(one)) is not None
        for one in _chain(error)
    )


def raise_what_ended(message: str) -> None:
    """Raises MemoryError or OSError where another program says that memory or the disk came to an end."""
    if _NO_MEMORY.search(message):
        raise MemoryError(message)
    if _NO_DISK.search(message):
        raise OSError(errno.ENOSPC, message)


_NO_MEMORY = re.compile(
    r"(?i)(can't|cannot|unable to|failed to) (allocate|map) |std::bad_alloc|out of memory|can't start new thread"
    r"|STATUS_ALLOC_FAILED|malloc failed|\(os error 12\)|could not create a (primitive$|memory)"
)
"""The CPU's allocator and mmap; C++; CUDA; threads; cuBLAS's and cuDNN's; libsndfile's; Rust's, of safetensors;
oneDNN's."""
_NO_DISK = re.compile(r"(?i)no space left on device|disk quota exceeded|\d+ requested and \d+ written")
"""The system's words in those of libraries; NumPy's."""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and its causes."""
    while error is not None:
        yield error
        error = error.__cause__
