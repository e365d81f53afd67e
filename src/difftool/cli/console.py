"""Output: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
"""Without a terminal: progress is logged after this share or this many seconds, at least LINE_LEAST seconds apart."""


STYLES = {
    "error": "1;31",
    "warning": "33",
    "note": "36",
    "hint": "36",
    "fix": "36",
    "good": "32",
    "fair": "33",
    "bad": "31",
}
"""ANSI codes of the styles, for `Styled`."""


GRADES = {"A": "good", "B": "good", "C": "fair"}
"""The style of each grade of a voice; others are bad."""


class Styled(NamedTuple):
    """A part of a line that has a colour on a terminal."""

    text: str
    style: str
    """A name in STYLES."""


Line = str | Sequence[str | Styled]
"""A line for people, in one part or several."""


class Result(NamedTuple):
    """The result of a command, to be printed."""

    data: Mapping[str, object]
    """For --json."""
    summary: Sequence[Line]
    """Lines for people."""
    paths: Sequence[Path | str]
    """For --quiet: paths or names."""
    error: DifftoolError | None = None
    """If some items failed: this is reported, and the data is printed only with --json."""
    after: Callable[[], None] | None = None
    """Called once the result is printed."""


class Console:
    """The streams of one command."""

    def __init__(self, json: bool = False, debug: bool = False) -> None:
        self.json, self.debug, self.quiet = json, debug, False
        self.command = ""
        self.run_id = run_id()
        self.began = time.monotonic()
        self.warnings: list[str] = []
        self.resume = "run the same command again"
        """How to continue after Ctrl-C or a full disk, for hints."""
        self.options: set[str] = set()
        """Names of the command's own options."""
        self.config: str | None = None
        """The value of --config."""
        self.read: list[Path] = []
        """Configuration files in use."""
        self.standing_folder = False
        """Whether --output-dir comes from a file or the environment and so applies to every run."""
        self.terminal = sys.stderr.isatty()
        self._rich: RichConsole | None = None
        self._progress: Progress | None = None
        self._done: Mapping[str, object] | None = None
        self._starting = False

    def configure(self, command: str, *, json: bool, quiet: bool, verbose: bool, debug: bool) -> None:
        """Applies the shared options, takes over the library's log and silences other libraries."""
        self.command, self.json, self.quiet, self.debug = command, json, quiet, debug
        log = logging.getLogger("difftool")
        log.handlers = [_Handler(self)]
        log.propagate = False
        level = logging.WARNING if quiet else logging.INFO
        log.setLevel(logging.DEBUG if verbose or debug else level)
        os.environ["HF_HUB_OFFLINE"] = "1"  # only models pull downloads, and with a client of its own
        if not debug:
            warnings.simplefilter("ignore")
            logging.getLogger("matplotlib").setLevel(logging.CRITICAL)
            for name, value in _SILENCE.items():
                os.environ.setdefault(name, value)

    def release(self) -> None:
        """Releases the library's log, for callers from Python."""
        log = logging.getLogger("difftool")
        log.handlers, log.propagate = [], True

    def starting(self) -> None:
        """Writes a line on a terminal that the next output replaces, for commands that take long to load."""
        if self.quiet or processes.rank() or not is_ansi(sys.stderr):
            return
        sys.stderr.write(f"{self.command}: loading ...")
        sys.stderr.flush()
        self._starting = True

    def _started(self) -> None:
        if self._starting:
            self._starting = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def say(self, line: Line) -> None:
        """Writes a line to stderr, with the time if it is not a terminal; only in the first of several processes."""
        if processes.rank():
            return
        self._started()
        text = _rendered(line, sys.stderr)
        if self._progress is not None:  # above its bar
            from rich.text import Text

            self._progress.console.print(Text.from_ansi(text), highlight=False, soft_wrap=True)
        elif self.terminal:
            _write(sys.stderr, text)
        else:
            _write(sys.stderr, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {text}")

    def note(self, line: str) -> None:
        """Writes a line to stderr, unless --quiet."""
        if not self.quiet:
            self.say(line)

    def warn(self, message: str) -> None:
        """Writes a warning to stderr and adds it to the JSON result; repeats are dropped."""
        if message in self.warnings:
            return
        self.warnings.append(message)
        self.say((Styled("warning:", "warning"), f" {message}"))

    def destination(
        self,
        output: Path | None,
        folder: Path | None,
        *,
        overwrite: bool,
        skip_existing: bool = False,
        grid_only: bool = False,
    ) -> Destination:
        """The destination of the command's files, from its options."""
        place = Destination(self.command, self.run_id, output, folder, standing=self.standing_folder)
        return replace(place, overwrite=overwrite, skip_existing=skip_existing, grid_only=grid_only)

    def timing(self, seconds: Mapping[str, float]) -> dict[str, float]:
        """Seconds of the parts and the total, for --json."""
        parts = {**seconds, "total": time.monotonic() - self.began}
        return {name: round(value, 3) for name, value in parts.items()}

    def track(self, items: Iterable[Any], total: int, what: str = "") -> Iterable[Any]:
        """Yields `items` and shows progress: a bar on a terminal, occasional lines elsewhere."""
        if self.quiet or processes.rank():
            return items
        return self._bar(items, total, what) if self.terminal else self._lines(items, total, what)

    def result(self, result: Result) -> None:
        """Prints a result. Raises its error, if some items failed."""
        if result.error is not None:
            self._done = result.data
            processes.fail_together()
            raise result.error
        if processes.rank():
            return
        self._started()
        self._print(result)
        if result.after is not None:
            result.after()

    def _print(self, result: Result) -> None:
        if self.json:
            self._print_json(result.data, None)
            return
        lines = map(str, result.paths) if self.quiet else (_rendered(line, sys.stdout) for line in result.summary)
        for line in lines:
            _write(sys.stdout, line)

    def error(self, error: DifftoolError) -> int:
        """Prints two lines to stderr (and the JSON object to stdout with --json); returns the exit code."""
        if self._progress is not None:
            self._progress.stop()
        if processes.rank() and (error.__cause__ is None or processes.failed_together()):  # the first reports it too
            return int(error.code)
        if self.debug:
            traceback.print_exception(error, file=sys.stderr)
        self._started()
        for name, text in (("error", error.message), ("hint", error.hint)):
            _write(sys.stderr, _rendered((Styled(f"{name}:", name), f" {_line(text)}"), sys.stderr))
        if self.json:
            details = {"code": int(error.code), "message": error.message, "hint": error.hint}
            with suppress(OSError):  # the exit code and stderr report it too
                self._print_json(self._done, details)
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
        body = {"data": data, "warnings": self.warnings, "error": error}
        _write(sys.stdout, json.dumps({**head, **body}))

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

        self._started()
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
        label = what or self.command
        began = logged = time.monotonic()
        share = 0.0
        self.say(f"{label}: 0 of {total}")
        for done, item in enumerate(items, 1):
            yield item
            now = time.monotonic()
            passed = now - logged
            has_progressed = passed >= LINE_LEAST and done / total - share >= LINE_SHARE
            if done < total and (passed >= LINE_SECONDS or has_progressed):
                logged, share = now, done / total
                rate = done / (now - began)
                left = (total - done) / rate
                self.say(f"{label}: {done} of {total} ({share:.0%}), {rate:.1f} it/s, {left:.0f} s left")
        self.say(f"{label}: done in {time.monotonic() - began:.1f} s")


def discard(stream: TextIO) -> None:
    """Redirects a stream to the null device, after its reader has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _write(stream: TextIO, text: str) -> None:
    """Writes a line and flushes. A closed pipe is ignored, as is any failure of stderr; a result that cannot be
    written raises OSError."""
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError as error:
        discard(stream)  # or Python writes again at exit
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            raise


_UNSEEN = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udc7f\\udd00-\\udfff]")
"""Compiled at import: an error may be reported when memory is exhausted."""


def _visible(text: str) -> str:
    """`text` with control characters and lone surrogates escaped; surrogates that stand for the bytes of a path
    stay."""
    return _UNSEEN.sub(lambda match: repr(match[0])[1:-1], text)


def graded(letter: str) -> Styled:
    """The grade of a voice, in its colour."""
    return Styled(letter, GRADES.get(letter, "bad"))


def is_ansi(stream: TextIO) -> bool:
    """Whether a stream is a terminal that understands ANSI codes."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _rendered(line: Line, stream: TextIO) -> str:
    """A line as written to a stream: in colour on a terminal, unless NO_COLOR is set."""
    has_colour = is_ansi(stream) and not os.environ.get("NO_COLOR")
    parts = []
    for part in [line] if isinstance(line, str) else line:
        if isinstance(part, Styled):
            text = _visible(part.text)
            parts.append(f"\x1b[{STYLES[part.style]}m{text}\x1b[0m" if has_colour else text)
        else:
            parts.append(_visible(part))
    return "".join(parts)


def _line(text: str) -> str:
    """`_visible` text on one line."""
    return _visible(" ".join(text.split("\n")))


_SILENCE = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "KINETO_LOG_LEVEL": "5",
}
"""Environment variables that silence other libraries."""


class _Handler(logging.Handler):
    """Sends the library's log to the console."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        write = self.console.warn if record.levelno >= logging.WARNING else self.console.say
        write(record.getMessage())
