"""Guidance and limits: functions from one `Predict` to another, all on the clean data x0."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .level import Level
from .predict import Denoised, Predict

if TYPE_CHECKING:
    from torch import Tensor


def cfg(cond: Predict, uncond: Predict, scale: float | Callable[[Level], float]) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): x0 = uncond + scale * (cond - uncond).

    `scale` 1 is off (and saves the second call), 0 ignores the condition; a function gives the scale at each level.
    The result is the same on x0, eps, v or flow, since guidance is affine with weights that sum to 1.
    """

    def predict(x: Tensor, level: Level) -> Denoised:
        s = scale(level) if callable(scale) else scale
        towards = cond(x, level)
        if s == 1:
            return towards
        away = uncond(x, level)
        return towards._replace(x0=away.x0 + s * (towards.x0 - away.x0))

    return predict


def clip(predict: Predict, lo: float = -1.0, hi: float = 1.0) -> Predict:
    """Keeps x0 within [lo, hi], for data that lies there (pixels). The solver takes its noise from the clipped x0."""

    def clipped(x: Tensor, level: Level) -> Denoised:
        out = predict(x, level)
        return out._replace(x0=out.x0.clamp(lo, hi))

    return clipped
