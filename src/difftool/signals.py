"""Ending at a good place when somebody asks for it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import Exit

log = logging.getLogger(__name__)

CODES = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


class Stop:
    """Whether Ctrl-C or SIGTERM has come."""

    code: Exit | None = None
    raises = False

    @contextmanager
    def at_once(self, raises: bool = True) -> Iterator[None]:
        """Within it the signal raises KeyboardInterrupt as soon as it comes, or (False) it does not."""
        before, self.raises = self.raises, raises
        try:
            if raises and self.code is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self.raises = before


@contextmanager
def deferred() -> Iterator[Stop]:
    """Within it the first SIGINT or SIGTERM only sets `Stop.code`, but for what is done `Stop.at_once`; a second one
    ends the program.

    Outside the main thread, where Python delivers no signals, it changes nothing.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, _frame: object) -> None:
        if stop.code is not None:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.code = CODES[signal.Signals(number)]
        if stop.raises:
            raise KeyboardInterrupt
        log.info("stopping at the next good place; once more ends it at once")

    before = {number: signal.signal(number, ask) for number in CODES}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised where Ctrl-C would raise KeyboardInterrupt."""


@contextmanager
def sigterm_raises() -> Iterator[Stop]:
    """Within it SIGTERM raises `Terminated`, so that a command cleans up after itself as it does after Ctrl-C;
    `Stop.code` tells whether it came. Outside the main thread it changes nothing."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def end(_number: int, _frame: object) -> None:
        stop.code = Exit.TERMINATED
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
