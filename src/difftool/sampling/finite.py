"""Numbers that a network returned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DifftoolError, Exit

if TYPE_CHECKING:
    from torch import Tensor


def finite(x: Tensor, source: str = "the network", hint: str = "try --dtype fp32") -> Tensor:
    """`x`. Raises DifftoolError 1 where it holds numbers that are not finite."""
    if not x.isfinite().all():
        raise DifftoolError(Exit.FAILED, f"{source} returned numbers that are not finite", hint)
    return x
