"""Ctrl-C and SIGTERM: stop at a safe point."""

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
    """Whether Ctrl-C or SIGTERM has been received."""

    code: Exit | None = None
    raises = False

    @contextmanager
    def at_once(self, raises: bool = True) -> Iterator[None]:
        """Inside, the signal raises KeyboardInterrupt immediately, or (False) is deferred."""
        before, self.raises = self.raises, raises
        try:
            if raises and self.code is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self.raises = before


@contextmanager
def deferred() -> Iterator[Stop]:
    """Inside, the first SIGINT or SIGTERM only sets `Stop.code`, except within `Stop.at_once`; a second one ends the
    program.

    Outside the main thread, where Python delivers no signals, it does nothing.
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
        log.info("stopping at the next safe point; press Ctrl-C again to stop immediately")

    before = {number: signal.signal(number, ask) for number in CODES}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Terminated(KeyboardInterrupt):
    """Raised by SIGTERM, as KeyboardInterrupt is by Ctrl-C."""


@contextmanager
def sigterm_raises() -> Iterator[Stop]:
    """Inside, SIGTERM sets `Stop.code` and raises `Terminated`, so that a command cleans up as after Ctrl-C. Outside
    the main thread it does nothing."""
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
