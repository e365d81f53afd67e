"""Where words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from .. import processes
from ..errors import DifftoolError
from ..files import run_id
from ..outputs import Destination

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.progress import Progress

SCHEMA = "difftool/result/1"
LINE_SHARE, LINE_SECONDS, LINE_LEAST = 0.1, 30.0, 1.0
"""Off a terminal a line comes after this share or this many seconds, and never sooner than the last."""


class Result(NamedTuple):
    """What a command gives back to be printed."""

    data: dict[str, Any]
    """For --json."""
    summary: list[str]
    """Lines for a person."""
    paths: Sequence[Path | str]
    """For --quiet: paths, or the names that were asked for."""
    error: DifftoolError | None = None
    """Where a part of it failed. Then that is said, and the data only with --json."""


class Console:
    """The streams of one command."""

    def __init__(self, json: bool = False, debug: bool = False) -> None:
        self.json, self.debug, self.quiet = json, debug, False
        self.command = ""
        self.run_id = run_id()
        self.began = time.monotonic()
        self.warnings: list[str] = []
        self.resume = "run the same command again"
        """What goes on with the work after Ctrl-C or a full disk."""
        self.options: set[str] = set()
        """Those that the command has of its own."""
        self.read: list[Path] = []
        """Files of settings that counted."""
        self.standing_folder = False
        """Whether --output-dir was not said for this run, but stands in a file or in the environment for every one."""
        self.terminal = sys.stderr.isatty()
        self._rich: RichConsole | None = None
        self._progress: Progress | None = None
        self._done: Mapping[str, object] | None = None

    def configure(self, command: str, *, json: bool, quiet: bool, verbose: bool, debug: bool) -> None:
        """Takes the options that every command has, and the log of the library; silences what other libraries say."""
        self.command, self.json, self.quiet, self.debug = command, json, quiet, debug
        log = logging.getLogger("difftool")
        log.handlers = [_Handler(self)]
        log.propagate = False
        log.setLevel(logging.DEBUG if verbose or debug else logging.WARNING if quiet else logging.INFO)
        os.environ["HF_HUB_OFFLINE"] = "1"  # only models pull goes to the network, and not by the hub's libraries
        if not debug:
            warnings.simplefilter("ignore")
            logging.getLogger("matplotlib").setLevel(logging.CRITICAL)
            for name, value in _SILENCE.items():
                os.environ.setdefault(name, value)

    def release(self) -> None:
        """Gives the library's log back to whoever called the command from Python."""
        log = logging.getLogger("difftool")
        log.handlers, log.propagate = [], True

    def say(self, line: str) -> None:
        """A line to stderr; off a terminal with the time. Of several processes the first one speaks for all."""
        if processes.rank():
            return
        if self.terminal:
            self._terminal().print(_visible(line), markup=False, highlight=False, soft_wrap=True)
        else:
            _write(sys.stderr, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {_visible(line)}")

    def note(self, line: str) -> None:
        """A line to stderr that a person may want to know, and --quiet does not."""
        if not self.quiet:
            self.say(line)

    def warn(self, message: str) -> None:
        """A warning: on stderr, and in the JSON result; the same one once."""
        if message in self.warnings:
            return
        self.warnings.append(message)
        self.say(f"warning: {message}")

    def destination(
        self, output: Path | None, folder: Path | None, *, overwrite: bool, skip_existing: bool = False
    ) -> Destination:
        """Where this command was told to put its files."""
        place = Destination(self.command, self.run_id, output, folder)
        return replace(place, overwrite=overwrite, skip_existing=skip_existing, standing=self.standing_folder)

    def timing(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """The seconds of parts of the work and of all of it, for --json."""
        parts = {**seconds, "total": time.monotonic() - self.began}
        return {name: round(value, 3) for name, value in parts.items()}

    def track(self, items: Iterable[Any], total: int, what: str = "") -> Iterable[Any]:
        """Passes `items` on and shows how far they are: a bar on a terminal, a line now and then elsewhere."""
        if self.quiet or processes.rank():
            return items
        return self._bar(items, total, what) if self.terminal else self._lines(items, total, what)

    def result(self, result: Result) -> None:
        """Prints it. Raises the error of a part of it that failed."""
        if result.error is not None:
            self._done = result.data
            raise result.error
        if processes.rank():
            return
        if self.json:
            self._print_json(result.data, None)
            return
        for line in map(str, result.paths) if self.quiet else map(_visible, result.summary):
            _write(sys.stdout, line)

    def error(self, error: DifftoolError) -> int:
        """Two lines on stderr (and the object on stdout with --json); returns the exit code."""
        if self._progress is not None:
            self._progress.stop()
        if processes.rank() and error.__cause__ is None:  # the first one says it too
            return int(error.code)
        if self.debug:
            traceback.print_exception(error, file=sys.stderr)
        _write(sys.stderr, f"error: {_line(error.message)}\nhint: {_line(error.hint)}")
        if self.json:
            told = {"code": int(error.code), "message": error.message, "hint": error.hint}
            with suppress(OSError):  # the exit code and stderr tell it too
                self._print_json(self._done, told)
        return int(error.code)

    def _print_json(self, data: Mapping[str, object] | None, error: Mapping[str, object] | None) -> None:
        from importlib.metadata import version

        head = {
            "schema": SCHEMA,
            "ok": error is None,
            "command": self.command,
            "version": version("difftool"),
            "run_id": self.run_id,
        }
        _write(sys.stdout, json.dumps({**head, "data": data, "warnings": self.warnings, "error": error}))

    def _terminal(self) -> RichConsole:
        if self._rich is None:
            from rich.console import Console as RichConsole

            self._rich = RichConsole(stderr=True)
        return self._rich

    def _bar(self, items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        rate = TextColumn("{task.fields[rate]}")
        shown = (
            TextColumn(what or self.command),
            BarColumn(),
            MofNCompleteColumn(),
            rate,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*shown, console=self._terminal(), transient=True) as self._progress:
            task = self._progress.add_task("", total=total, rate="")
            for item in items:
                yield item
                speed = self._progress.tasks[task].speed
                self._progress.update(task, advance=1, rate=f"{speed:.1f} it/s" if speed else "")
        self._progress = None

    def _lines(self, items: Iterable[Any], total: int, what: str) -> Iterator[Any]:
        what = what or self.command
        began = told = time.monotonic()
        share = 0.0
        self.say(f"{what}: 0 of {total}")
        for done, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            passed = now - told
            if done < total and (
                passed >= LINE_SECONDS or (passed >= LINE_LEAST and done / total - share >= LINE_SHARE)
            ):
                told, share = now, done / total
                rate = done / (now - began)
                self.say(
                    f"{what}: {done} of {total} ({share:.0%}), {rate:.1f} it/s, {(total - done) / rate:.0f} s left"
                )
        self.say(f"{what}: done in {time.monotonic() - began:.1f} s")


def discard(stream: TextIO) -> None:
    """Sends what still comes to a stream nowhere, for one whose reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write(stream: TextIO, text: str) -> None:
    """A line at once. A reader who has gone is no reason to stop, nor is a stderr that takes no more; a result that
    cannot be written is (OSError)."""
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError as error:
        discard(stream)  # or Python tries once more at its end
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            raise


_UNSEEN = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udc7f\\udd00-\\udfff]")
"""Compiled beforehand, for an error may be told when memory has come to its end."""


def _visible(text: str) -> str:
    """`text` with what a foreign file may bring along spelled out: control characters that steer the terminal, and
    halves of surrogate pairs but for those that stand for the bytes of a path."""
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


def _line(text: str) -> str:
    """`_visible` text in one line."""
    return _visible(" ".join(text.split("\n")))


_SILENCE = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "KINETO_LOG_LEVEL": "5",
}
"""What keeps other libraries from writing between our lines."""


class _Handler(logging.Handler):
    """The library's log."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        tell = self.console.warn if record.levelno >= logging.WARNING else self.console.say
        tell(record.getMessage())
