"""Distributed runs: several processes started by torchrun or `accelerate launch`."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import DifftoolError, Exit

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

LONGEST_WAIT = timedelta(days=1)
"""How long a process waits for the others: one may have a part of a text, or a preview, that takes hours."""

_failed_together = threading.Event()
_alone = threading.Event()


def rank() -> int:
    """The rank of this process; 0 if it is the only one."""
    return _number("RANK", 0) if count() > 1 else 0


def count() -> int:
    """The number of processes."""
    return 1 if _alone.is_set() else _number("WORLD_SIZE", 1)


def part() -> None:
    """Runs this process on its own, whatever the environment says, which may be meant for other programs."""
    _alone.set()


def join() -> None:
    """Joins the processes described by the environment. Raises DifftoolError 2, and stays on its own, if that is
    inconsistent."""
    _alone.clear()
    try:
        number, size = rank(), count()
        lost = next((name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)), None)
        if not size or (size > 1 and lost):
            raise _wrong(f"WORLD_SIZE is {size}" + (f", but {lost} is not set" if size else ""))
        if number >= size:
            raise _wrong(f"RANK is {number}, but WORLD_SIZE is {size}")
    except DifftoolError:
        _alone.set()
        raise


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 7):
        raise _wrong(f"{name} is {text!r}")
    return int(text)


def _wrong(reason: str) -> DifftoolError:
    hint = "start several processes with torchrun, or unset WORLD_SIZE"
    return DifftoolError(Exit.USAGE, f"cannot determine the number of processes: {reason}", hint)


def begin(device: torch.device) -> torch.device:
    """Connects the processes and returns the device of this one: its own GPU if `device` is a GPU."""
    if count() == 1:
        return device
    from accelerate import PartialState

    own: Any = PartialState(cpu=device.type == "cpu", timeout=LONGEST_WAIT).device
    return own if own.type == "cuda" else device  # it numbers CPUs too


def end(*, well: bool) -> None:
    """Disconnects the processes; waits for all of them if all succeed (`well`) or all fail.

    A launcher kills the others as soon as one has failed; the first must have reported its error by then.
    """
    if count() > 1 and "torch.distributed" in sys.modules:
        import torch.distributed

        if torch.distributed.is_initialized():
            if well or _failed_together.is_set():
                torch.distributed.barrier()
            torch.distributed.destroy_process_group()


def fail_together() -> None:
    """Notes that every process ends with an error, or has done its work: the first one reports it."""
    _failed_together.set()


def failed_together() -> bool:
    return _failed_together.is_set()


def share(n: int) -> range:
    """The contiguous share of `n` rows of this process."""
    return range(n * rank() // count(), n * (rank() + 1) // count())


def summed(x: Tensor) -> Tensor:
    """`x`, in place, as the sum over all processes."""
    if count() > 1:
        import torch.distributed

        torch.distributed.all_reduce(x)
    return x


def gathered(value: T) -> list[T]:
    """The values of all processes, in order of rank."""
    if count() == 1:
        return [value]
    import torch.distributed

    every: list[Any] = [None] * count()
    torch.distributed.all_gather_object(every, value)
    return every


def first(make: Callable[[], T]) -> T:
    """The result of `make` in every process, after the first has run it: the others use its files on disk."""
    if count() == 1:
        return make()
    results: list[T] = []
    agreed(lambda: results.append(make()))
    return results[0] if results else make()


def agreed(make: Callable[[], T]) -> T:
    """The result of `make` in the first process, for all processes; if it raises there, all raise."""
    with together() as results:
        if rank() == 0:
            results.append(make())
    return results[0]


@contextmanager
def in_first(context: AbstractContextManager[None]) -> Iterator[None]:
    """A context that only the first process enters; if that raises, all raise."""
    with ExitStack() as entered:
        agreed(lambda: entered.enter_context(context))
        yield


@contextmanager
def together() -> Iterator[list[Any]]:
    """A block that ends in all processes at once: if it raises in one, all raise. What each process has appended to the
    list is there for all of them afterwards, in order of rank."""
    results: list[Any] = []
    if count() == 1:
        yield results
        return
    failure: BaseException | None = None
    try:
        yield results
    except (Exception, KeyboardInterrupt) as error:  # the others wait for an outcome in any case
        failure = error
    try:
        outcomes = gathered((results, failure and _sendable(failure)))
    except RuntimeError as error:  # the connection is lost
        if failure is not None:
            raise failure from failure.__cause__
        message = "another process has ended"
        raise DifftoolError(Exit.FAILED, message, "see its error, and run the same command again") from error
    results[:] = [result for own, _ in outcomes for result in own]
    failures = [(number, error) for number, (_, error) in enumerate(outcomes) if error is not None]
    if failures:
        fail_together()
        number, error = failures[0]
        raise failure if failure is not None and number == rank() else error


def turns(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """`items`, so many at once as there are processes; the one of this process is `mine`."""
    for first in range(0, len(items), count()):
        yield items[first : first + count()]


def mine(turn: Sequence[T]) -> Sequence[T]:
    """The item of this process in a turn; empty if it has none."""
    return turn[rank() : rank() + 1]


def _sendable(error: BaseException) -> BaseException:
    """An exception that can be sent to other processes."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class raises: the others wait for an answer
        return RuntimeError(f"{type(error).__name__}: {error}")
