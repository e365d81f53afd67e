"""Functions in processes of their own, forked from one that has imported difftool and torch already. They cannot hurt
the server, and their memory is given back."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

from ..errors import DifftoolError, Exit

GRACE = 10.0
"""Seconds from Ctrl-C to the kill."""
MOST_WRITTEN = 2**30
"""Bytes of a file that a short call writes."""
Report = Callable[[Any], None]


class Nursery:
    """Where processes are forked; `scratch` is the folder of their temporary files."""

    def __init__(self, preload: Sequence[str], scratch: Path) -> None:
        self._scratch = scratch
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*preload])
        ensure_running()  # it imports in the background

    def child(self, function: Callable[..., Any], *args: Any) -> Child:
        """A process that will call `function(report, *args)`; both can be pickled."""
        return Child(self._context, function, args)

    async def call(self, seconds: float, function: Callable[..., Any], *args: Any) -> Any:
        """What a function returns in a process. Raises its DifftoolError, and TimeoutError after so many seconds."""
        # what is killed leaves its temporary files
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(suffix=".part", dir=self._scratch, ignore_cleanup_errors=True) as scratch:
            child = self.child(_confined, scratch, function, *args)
            try:
                async with asyncio.timeout(seconds):
                    return await child.result()
            finally:
                child.stop(signal.SIGKILL)


class Child:
    """A process that calls one function."""

    def __init__(self, context: Any, function: Callable[..., Any], args: Any) -> None:
        self._receiver, self._sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_called, args=(self._sender, function, args))
        self._stopped: signal.Signals | None = None

    async def result(self, heard: Report = lambda value: None) -> Any:
        """What the function returns; `heard` is called with what it reports. Raises its DifftoolError, or one of code 1
        if the process ends without a result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(function: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                function(value)

        def call(function: Callable[..., None], *values: Any) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(function, *values)

        def follow() -> None:
            try:
                call(settle, future.set_result, self._follow(lambda value: call(heard, value)))
            except Exception as error:
                call(settle, future.set_exception, error)

        threading.Thread(target=follow, daemon=True).start()  # the end of the server does not wait for it
        return await future

    def _follow(self, heard: Report) -> Any:
        try:
            self._process.start()  # waits until the modules are imported
        except (OSError, EOFError) as error:  # the process that forks was killed; the next start makes a new one
            raise DifftoolError(Exit.FAILED, "the process of the job could not be started", "try it again") from error
        finally:
            self._sender.close()
        if self._stopped:
            self.stop(self._stopped)
        try:
            while True:
                kind, value = self._receiver.recv()
                if kind == "error":
                    raise value
                if kind == "result":
                    return value
                heard(value)
        except (EOFError, OSError) as error:  # OSError: killed in the middle of a report
            self._process.join()
            message = f"the process ended unexpectedly (code {self._process.exitcode})"
            raise DifftoolError(Exit.FAILED, message, "try it again, or with a smaller job") from error
        finally:
            self._process.join()
            self._receiver.close()

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Sends a signal to the process and to what it has started."""
        self._stopped = number
        pid = self._process.pid
        if pid is None or self._receiver.closed:  # it has not begun, or has ended
            return
        with suppress(ProcessLookupError, PermissionError):
            try:
                os.killpg(pid, number)
            except ProcessLookupError:  # it has not made its group yet
                os.kill(pid, number)


def _called(sender: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The body of a process, which ends when the server does."""
    os.setpgid(0, 0)  # Ctrl-C in the terminal is for the server
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer = ("result", function(lambda value: sender.send(("report", value)), *args))
    except DifftoolError as error:
        answer = ("error", error)
    sender.send(answer)


def _confined(report: Report, scratch: str, function: Callable[..., Any], *args: Any) -> Any:
    """What a function returns whose temporary files lie in a folder, and are not endless."""
    tempfile.tempdir = scratch
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_WRITTEN, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return function(report, *args)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)
