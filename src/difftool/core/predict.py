"""From what a network returns to what a solver needs: the clean data.

A prediction target is two numbers (a, b): the network returns ``F = a * eps + b * x0``. With ``delta = a * alpha - b *
sigma`` follows ``x0 = (a * x - sigma * F) / delta``; eps, x0, v, the flows and EDM's differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .paths import Level, Scalar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Target: TypeAlias = "Callable[[Level], tuple[Scalar, Scalar]]"
Predict: TypeAlias = "Callable[[Tensor, Level], Denoised]"
Net: TypeAlias = "Callable[..., Tensor]"
Cond: TypeAlias = "Mapping[str, object] | None"


class Denoised(NamedTuple):
    """The prediction for a state: the estimate `x0` of the clean data, in the state's shape; from networks that learned
    it, the `spread` f in [0, 1] of DDPM's variance (see `first_order`); from guidance that was asked to keep it, the
    estimate `free` of the condition, which CFG++ needs."""

    x0: Tensor
    spread: Tensor | None = None
    free: Tensor | None = None


def V(level: Level) -> tuple[Scalar, Scalar]:
    """v = alpha * eps - sigma * x0 (Salimans & Ho 2022, arXiv:2202.00512)."""
    return level.alpha, -level.sigma


def _always(a: float, b: float) -> Target:
    return lambda level: (a, b)


EPS, X0 = _always(1.0, 0.0), _always(0.0, 1.0)
"""The noise (Ho et al. 2020); the clean data."""
FLOW, FLOW_REV = _always(1.0, -1.0), _always(-1.0, 1.0)
"""The velocity eps - x0 of a straight path (Lipman et al. 2022); x0 - eps, where time runs to the data (F5-TTS)."""


def edm_scale(sigma_data: float = 0.5) -> Callable[[Level], Scalar]:
    """EDM's c_in: what x is multiplied by for the network, so that its input has unit variance."""
    return lambda level: (level.sigma**2 + (level.alpha * sigma_data) ** 2) ** -0.5


def EDM(sigma_data: float = 0.5) -> Target:
    """(x0 - c_skip * x) / c_out (Karras et al. 2022, table 1), on any path. The network is fed x times `edm_scale`."""
    scale = edm_scale(sigma_data)

    def target(level: Level) -> tuple[Scalar, Scalar]:
        a = -sigma_data * level.alpha * scale(level)
        b = level.sigma / sigma_data * scale(level)
        return a, b

    return target


TARGETS: dict[str, Target] = {"eps": EPS, "x0": X0, "v": V, "flow": FLOW, "flow_rev": FLOW_REV, "edm": EDM()}


def denoiser(
    net: Net,
    target: Target,
    *,
    learned_range: bool = False,
    scale: Callable[[Level], Scalar] | None = None,
    dtype: torch.dtype | None = None,
    cond: Cond = None,
) -> Predict:
    """A `Predict` from a network that is called as ``net(x, t, **cond)`` with x (B, ...), multiplied by `scale`
    (`edm_scale`) and of `dtype`, and t (B,); t and the result have the dtype of the state. With `learned_range` the
    network returns twice the channels (dimension 1), the second half in [-1, 1] for the spread (Nichol & Dhariwal 2021,
    arXiv:2102.09672, eq. 15). The predict function raises ValueError where the target does not determine x0: a noise
    prediction at pure noise (alpha = 0)."""

    def predict(x: Tensor, level: Level) -> Denoised:
        a, b = target(level)
        delta = a * level.alpha - b * level.sigma
        if delta == 0:
            name = next((name for name, known in TARGETS.items() if known is target), "target")
            raise ValueError(f"a prediction of {name} says nothing about the data at alpha = {level.alpha:g}")
        fed = x if scale is None else x * scale(level)
        if dtype is not None:
            fed = fed.to(dtype)
        t = x.new_full((x.shape[0],), level.t)  # in the dtype of the state: halves know no 999
        out = net(fed, t, **(cond or {}))
        spread = None
        if learned_range:
            out, spread = out.chunk(2, dim=1)
            spread = (spread.to(x.dtype) + 1) / 2
        x0 = (x * (a / delta)).add_(out, alpha=-level.sigma / delta)
        return Denoised(x0, spread)

    return predict
