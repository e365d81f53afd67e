"""Runs a command line of difftool in a process that a signal reaches at a moment which does not hang on the clock.

    python dying.py SIGNAL COUNT NAME ARGS...

The moment is just before the COUNT-th change of a file or folder of that NAME (a pattern) below the current folder:
before it is opened for writing, made, removed, or another is moved there. What a killed process leaves on the disk is
what stood there before one of these.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
PLACES = {"open": 0, "os.mkdir": 0, "os.remove": 0, "os.rename": 1, "os.rmdir": 0}
"""Of the path that changes among the arguments of an event."""


def dies(number: signal.Signals, count: int, name: str, *args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """How such a process ended, in the folder `cwd`."""
    line = [sys.executable, __file__, str(int(number)), str(count), name, *map(str, args)]
    return subprocess.run(line, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)


def changed(event: str, args: tuple[Any, ...]) -> Path | None:
    """What an event that Python tells of is about to change."""
    if event not in PLACES or (event == "open" and not args[2] & WRITING):
        return None
    path = args[PLACES[event]]
    return None if isinstance(path, int) else Path(os.fsdecode(path)).absolute()


def main() -> None:
    from difftool.cli.app import entry

    for module in os.environ.get("DYING_IMPORTS", "").split():  # what a test has added to a table of difftool
        import_module(module)
    number, left, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    sys.argv[1:] = sys.argv[4:]
    here = Path.cwd()

    def hear(event: str, args: tuple[Any, ...]) -> None:
        nonlocal left
        path = changed(event, args)
        if path is not None and path.is_relative_to(here) and fnmatch(path.name, name):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    sys.addaudithook(hear)
    entry()


if __name__ == "__main__":
    main()
