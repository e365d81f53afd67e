"""A studio for tests: in a thread, with a command line that only pretends, or in a process, as a user has it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from difftool.cli.app import check
from difftool.web.commands import CommandLine
from difftool.web.guard import access
from difftool.web.server import Server, listening, server_for
from difftool.web.studio import Studio

PRELOAD = ("difftool.cli.app", "difftool.web.server", "difftool.audio.media", "torchaudio.functional")
SECONDS = 120.0
"""Until a test gives up."""


def pretended(argv: Sequence[str], run_id: str, report: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """A command that writes its words into one file. If the last one begins with `gate`, it waits until a pipe of that
    name in the folder is written to; with `crash` the process ends, with `fail` it fails."""
    name = argv[-1].removeprefix("--label=")
    report({"progress": {"done": 1, "total": 2, "label": "pretended", "seconds_left": 1.0}, "preview": b"PNG"})
    if name.startswith("crash"):
        os._exit(9)
    if name.startswith("fail"):
        error = {"code": 4, "message": f"no /home/somebody/{name}", "hint": "see /etc/hint.txt"}
        return {"code": 4, "result": {"data": None, "warnings": [], "error": error}}
    try:
        if name.startswith("gate"):
            Path(name).read_bytes()  # a pipe
    except KeyboardInterrupt:
        return {"code": 130, "result": {"error": {"code": 130, "message": "interrupted", "hint": "again"}}}
    folder = Path(next(word.partition("=")[2] for word in argv if word.startswith("--output-dir=")))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("00000-0.wav" if "clone" in argv else "00000-0.png")
    path.write_bytes(SOUND if "clone" in argv else json.dumps(argv).encode())
    with Path("ran.txt").open("a") as file:
        file.write(f"{run_id}\n")
    data: dict[str, Any] = {"outputs": [{"path": str(path), "seed": 0, "seconds": 0.1}], "grid": None}
    if "--count=2" in argv:
        data["grid"] = str(folder / "grid.png")
        (folder / "grid.png").write_bytes(b"")
    if argv[0] == "rerun":
        data["identical"] = True
    return {"code": 0, "result": {"data": data, "warnings": ["see /tmp/x/y"], "error": None}}


def machine() -> str:
    return "CPU"


SOUND = (
    b"RIFF\x24\x04\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\xc0\x5d\x00\x00\x80\xbb\x00\x00\x02\x00\x10\x00data"
    b"\x00\x04\x00\x00" + bytes(1024)
)


class Answer(NamedTuple):
    """An answer of a server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Requests to a studio, one connection each."""

    def __init__(self, port: int, token: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.port, self.token, self.tls = port, token, tls

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        host: str | None = None,
    ) -> Answer:
        """Objects are sent as JSON, bytes as they are."""
        kind = http.client.HTTPConnection if self.tls is None else http.client.HTTPSConnection
        more: dict[str, Any] = {} if self.tls is None else {"context": self.tls}
        connection = kind("127.0.0.1", self.port, timeout=SECONDS, **more)
        sent = dict(headers or {})
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if host is not None:
            sent["Host"] = host
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def job(self, kind: str, **settings: Any) -> dict[str, Any]:
        answer = self("POST", "/api/jobs", {"kind": kind, "settings": settings})
        assert answer.status == 202, answer
        return answer.json

    def wait(self, job: Mapping[str, Any], holds: Callable[[Any], bool] | None = None) -> dict[str, Any]:
        """The job when something holds of it, by default when it has ended."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            shown = self("GET", f"/api/jobs/{job['id']}").json
            if holds(shown) if holds else shown["ended"]:
                return shown
            time.sleep(0.02)
        raise AssertionError(f"{job['id']} is {shown['state']}")


def runs(job: Mapping[str, Any]) -> bool:
    """Whether a job that pretends has begun."""
    return job["progress"] is not None


@contextmanager
def serving(root: Path, token: str | None = None, host: str = "127.0.0.1", tls: Any = None) -> Iterator[Client]:
    """A studio in a folder, whose commands only pretend."""
    taken = listening("127.0.0.1", 0)
    line = CommandLine(pretended, check, machine, PRELOAD)
    studio = Studio(root, line, access(host, token, is_tls=tls is not None))
    server: Server = server_for(studio, tls)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([taken])))
    thread.start()
    context = None
    if tls is not None:
        context = ssl.create_default_context(cafile=str(tls[0]))
    try:
        yield Client(taken.getsockname()[1], token, context)
    finally:
        server.should_exit = True
        thread.join()


def open_gate(root: Path, name: str) -> None:
    """Lets a job go on that waits at a gate."""
    (root / name).write_bytes(b"")


def gate(root: Path, name: str = "gate") -> str:
    os.mkfifo(root / name)
    return name


@contextmanager
def command(root: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """`difftool studio` as a user has it."""
    words = [sys.executable, "-m", "difftool", "studio", "--port", "0", "--json", *options]
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            data = json.loads(process.stdout.readline())["data"]
            yield process, Client(data["port"], data["url"].partition("#token=")[2] or None)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
