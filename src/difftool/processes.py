"""Several processes that do one run together, as torchrun or `accelerate launch` starts them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import DifftoolError, Exit

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")

_failed_together = threading.Event()
_alone = threading.Event()


def rank() -> int:
    """The number of this process, from 0; 0 where there is one."""
    return _number("RANK", 0) if count() > 1 else 0


def count() -> int:
    """How many processes there are."""
    return 1 if _alone.is_set() else _number("WORLD_SIZE", 1)


def part() -> None:
    """From now on this process is the only one, whatever the environment says: it may be meant for others."""
    _alone.set()


def join() -> None:
    """From now on this process is one of those that the environment tells of. Raises DifftoolError 2, and leaves it the
    only one, where they cannot be."""
    _alone.clear()
    try:
        number, size = rank(), count()
        lost = next((name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)), None)
        if not size or (size > 1 and lost):
            raise _wrong(f"WORLD_SIZE is {size}" + (f" without {lost}" if size else ""))
        if number >= size:
            raise _wrong(f"RANK is {number}, and WORLD_SIZE {size}")
    except DifftoolError:
        _alone.set()
        raise


def _number(name: str, default: int) -> int:
    said = os.environ.get(name, "").strip()
    if not said:
        return default
    if not (said.isascii() and said.isdecimal() and len(said) < 7):
        raise _wrong(f"{name} is {said!r}")
    return int(said)


def _wrong(what: str) -> DifftoolError:
    hint = "start several processes with torchrun, or take WORLD_SIZE out of the environment"
    return DifftoolError(Exit.USAGE, f"cannot tell how many processes there are: {what}", hint)


def begin(device: torch.device) -> torch.device:
    """Lets the processes find each other, and gives the device of this one: its own GPU where `device` is one."""
    if count() == 1:
        return device
    from accelerate import PartialState

    own: Any = PartialState(cpu=device.type == "cpu").device
    return own if own.type == "cuda" else device  # it numbers CPUs too


def end(*, well: bool) -> None:
    """Takes leave of the others, where they had found each other, once all have come here if all went well or all fail.

    A launcher ends the others as soon as one has failed: the first must have said why by then.
    """
    if count() > 1 and "torch.distributed" in sys.modules:
        import torch.distributed

        if torch.distributed.is_initialized():
            if well or _failed_together.is_set():
                torch.distributed.barrier()
            torch.distributed.destroy_process_group()


def share(n: int) -> range:
    """Which of `n` rows in a row are this process's."""
    return range(n * rank() // count(), n * (rank() + 1) // count())


def summed(x: Tensor) -> Tensor:
    """`x`, in place, as the sum over all processes."""
    if count() > 1:
        import torch.distributed

        torch.distributed.all_reduce(x)
    return x


def gathered(value: T) -> list[T]:
    """What each process gave, in order, for all of them."""
    if count() == 1:
        return [value]
    import torch.distributed

    every: list[Any] = [None] * count()
    torch.distributed.all_gather_object(every, value)
    return every


def first(make: Callable[[], T]) -> T:
    """What `make` gives, in all processes, once it was made by the first: the others find what that left on disk."""
    if count() == 1:
        return make()
    made: list[T] = []
    agreed(lambda: made.append(make()))
    return made[0] if made else make()


def agreed(make: Callable[[], T]) -> T:
    """What `make` gives the first process, for all of them; what it raises there, all raise."""
    if count() == 1:
        return make()
    import torch.distributed

    told: list[Any] = [None, None]
    failed: BaseException | None = None
    if rank() == 0:
        try:
            told[0] = make()
        except BaseException as error:  # the others wait for a word, whatever it is
            failed = error
            told[1] = (Exit.FAILED, str(error), "see above")
            if isinstance(error, DifftoolError):
                told[1] = (error.code, error.message, error.hint)
    torch.distributed.broadcast_object_list(told)
    made, wrong = told
    if wrong is not None:
        _failed_together.set()
        raise failed or DifftoolError(*wrong)
    return made
