"""Commands on a terminal, for tests."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from contextlib import suppress
from typing import Any


def on_terminal(*args: str, **settings: Any) -> str:
    """What a command writes to the terminal it runs in."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (40, 100))
    with subprocess.Popen([sys.executable, "-m", "difftool", *args], stdin=its, stdout=its, stderr=its, **settings):
        os.close(its)
        seen = b""
        with suppress(OSError):  # that is how the end of a terminal is told
            while part := os.read(ours, 4096):
                seen += part
    os.close(ours)
    return seen.decode()
