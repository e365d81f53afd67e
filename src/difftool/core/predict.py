"""From what a network returns to what a solver needs: the clean data.

A prediction target is two numbers (a, b): the network returns ``F = a * eps + b * x0``. With ``delta = a * alpha - b *
sigma`` follows ``x0 = (a * x - sigma * F) / delta``; eps, x0, v and flow differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .level import Level, Scalar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Target: TypeAlias = "Callable[[Level], tuple[Scalar, Scalar]]"
Predict: TypeAlias = "Callable[[Tensor, Level], Denoised]"


class Denoised(NamedTuple):
    """What a solver is told about a state: the estimate `x0` of the clean data, of the state's shape."""

    x0: Tensor


def EPS(level: Level) -> tuple[Scalar, Scalar]:
    """The noise (Ho et al. 2020)."""
    return 1.0, 0.0


def X0(level: Level) -> tuple[Scalar, Scalar]:
    """The clean data."""
    return 0.0, 1.0


def V(level: Level) -> tuple[Scalar, Scalar]:
    """v = alpha * eps - sigma * x0 (Salimans & Ho 2022, arXiv:2202.00512)."""
    return level.alpha, -level.sigma


def FLOW(level: Level) -> tuple[Scalar, Scalar]:
    """The velocity eps - x0 of a straight path (Lipman et al. 2022)."""
    return 1.0, -1.0


TARGETS: dict[str, Target] = {"eps": EPS, "x0": X0, "v": V, "flow": FLOW}


def denoiser(
    net: Callable[..., Tensor],
    target: Target,
    *,
    dtype: torch.dtype | None = None,
    cond: Mapping[str, Any] | None = None,
) -> Predict:
    """A `Predict` from a network that is called as ``net(x, t, **cond)`` with x (B, ...) and t (B,).

    `dtype` is what the network is fed as x; t and the result have the dtype of the state. The predict function raises
    ValueError where the target does not determine x0: a noise prediction at pure noise (alpha = 0).
    """
    cond = cond or {}

    def predict(x: Tensor, level: Level) -> Denoised:
        a, b = target(level)
        delta = a * level.alpha - b * level.sigma
        if delta == 0:
            name = next((name for name, known in TARGETS.items() if known is target), "target")
            raise ValueError(f"a prediction of {name} says nothing about the data at alpha = {level.alpha:g}")
        t = x.new_full((x.shape[0],), level.t)  # half precision does not know 999
        out = net(x if dtype is None else x.to(dtype), t, **cond)
        return Denoised((x * (a / delta)).add_(out, alpha=-level.sigma / delta))

    return predict
