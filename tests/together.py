"""Runs command lines of difftool in several processes, without a launcher that ends the others as soon as one fails.

    python together.py RUNS.json

The processes are forked after the imports, which take longer than what they do.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from dying import changed

IMPORTS = (
    "accelerate",
    "inflect",
    "pydub",
    "pyloudnorm",
    "soundfile",
    "difftool.voice.output",
    "difftool.cli.voice_clone",
)


class Fault(NamedTuple):
    """What happens to a process just before the NTH change of a file of a NAME (a pattern)."""

    rank: int
    kind: str
    """An exception or a signal."""
    nth: int
    name: str


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


def together(
    *runs: tuple[int, tuple[object, ...], Fault | None], cwd: Path, imports: tuple[str, ...] = IMPORTS
) -> list[list[Ended]]:
    """How the processes of each run ended: (number of processes, arguments, fault), one run after the other."""
    lines = [(count, [*map(str, args)], fault) for count, args, fault in runs]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOGETHER_IMPORTS": " ".join(imports)}
    command = [sys.executable, __file__, json.dumps(lines)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return [[Ended(*process) for process in run] for run in json.loads(done.stdout)]


def main() -> None:
    for module in f"{os.environ['TOGETHER_IMPORTS']} {os.environ.get('DYING_IMPORTS', '')}".split():
        import_module(module)
    ended = []
    for count, args, fault in json.loads(sys.argv[1]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        streams = [[_pipe(), _pipe()] for _ in range(count)]
        children = []
        for rank, (out, err) in enumerate(streams):
            if not (child := os.fork()):
                os.dup2(out, 1)
                os.dup2(err, 2)
                _run(rank, count, port, args, fault and Fault(*fault))
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        ended.append([(code, *map(_text, pair)) for code, pair in zip(codes, streams, strict=True)])
    print(json.dumps(ended))


def _pipe() -> int:
    """A file in memory."""
    return os.memfd_create("stream")


def _text(file: int) -> str:
    return os.pread(file, 1 << 20, 0).decode()


def _run(rank: int, count: int, port: int, args: list[str], fault: Fault | None) -> None:
    from difftool.cli.app import entry

    if count > 1:
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        where |= {"RANK": rank, "LOCAL_RANK": rank}
        os.environ.update({name: str(value) for name, value in where.items()})
    if fault is not None and fault.rank == rank:
        _break(fault)
    sys.argv = ["difftool", *args]
    code = 1
    try:
        entry()
    except SystemExit as error:
        code = int(error.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _break(fault: Fault) -> None:
    here, left = Path.cwd(), fault.nth

    def hear(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        path = changed(event, args)
        if path is not None and path.is_relative_to(here) and fnmatch(path.name, fault.name):
            left -= 1
            if left == 0 and fault.kind.startswith("SIG"):
                os.kill(os.getpid(), signal.Signals[fault.kind])
            elif left == 0:
                raise {"MemoryError": MemoryError, "OSError": OSError}[fault.kind](28, "No space left on device")

    sys.addaudithook(hear)


if __name__ == "__main__":
    main()
