"""Guidance and limits: functions from one `Predict` to another, all on the clean data x0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from .paths import Level
from .predict import Denoised, Predict

if TYPE_CHECKING:
    from torch import Tensor

Scale: TypeAlias = float | Callable[[Level], float]


def cfg(
    cond: Predict,
    uncond: Predict | None,
    scale: Scale,
    *,
    rescale: float = 0.0,
    interval: tuple[float, float] = (0, 1),
    keep: bool = False,
) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): x0 = uncond + scale * (cond - uncond), the same
    on x0, eps, v or flow. `scale` 1 is off (and saves the second call), 0 ignores the condition; a function gives it at
    each level. `rescale` is the share at which each item's standard deviation is brought back to that of cond (Lin et
    al. 2023, arXiv:2305.08891, eq. 15, 16). Guidance acts where sigma / (alpha + sigma) lies in `interval`
    (Kynkaanniemi et al. 2024, arXiv:2404.07724). Without `uncond`, `cond` is called
    once with x twice in the batch and predicts both. `keep` keeps uncond's estimate as `Denoised.free`, for CFG++, also
    where guidance does not act."""

    def predict(x: Tensor, level: Level) -> Denoised:
        s = scale(level) if callable(scale) else scale
        share = level.sigma / (level.alpha + level.sigma)
        acts = s != 1 and interval[0] <= share <= interval[1]
        if uncond:
            towards = cond(x, level)
            away = uncond(x, level) if acts or keep else towards
        else:
            towards, away = _halves(cond(_twice(x), level))
        if keep:
            towards = towards._replace(free=away.x0)
        if not acts:
            return towards
        x0 = away.x0 + s * (towards.x0 - away.x0)
        if rescale:
            ratio = _spread(towards.x0) / _spread(x0)
            x0 = x0 * (1 - rescale + rescale * ratio.nan_to_num(1.0, 1.0))
        return towards._replace(x0=x0)

    return predict


def _twice(x: Tensor) -> Tensor:
    return x.repeat(2, *[1] * (x.ndim - 1))


def _halves(out: Denoised) -> tuple[Denoised, Denoised]:
    """What a network that was given x twice says of either."""
    first, second = out.x0.chunk(2)
    if out.spread is None:
        return Denoised(first), Denoised(second)
    spread, other = out.spread.chunk(2)
    return Denoised(first, spread), Denoised(second, other)


def _spread(x: Tensor) -> Tensor:
    """The standard deviation of each item, (B, 1, ..., 1)."""
    return x.std(tuple(range(1, x.ndim)), keepdim=True)


autoguide = cfg
"""Guidance of a model by a worse version of itself, in the same words (Karras et al. 2024, arXiv:2406.02507)."""


def clip(predict: Predict, lo: float = -1.0, hi: float = 1.0) -> Predict:
    """Keeps x0 within [lo, hi], for data that lies there (pixels). The solver takes its noise from the clipped x0."""

    def clipped(x: Tensor, level: Level) -> Denoised:
        out = predict(x, level)
        return _each(out, lambda x0: x0.clamp(lo, hi))

    return clipped


def dynamic_threshold(predict: Predict, q: float = 0.995, cap: float = math.inf) -> Predict:
    """Divides x0 by the quantile `q` of its absolute values in each item, kept within [1, cap], and clips it to [-1, 1]
    (Saharia et al. 2022, arXiv:2205.11487, section 2.3)."""

    def thresholded(x: Tensor, level: Level) -> Denoised:
        out = predict(x, level)
        largest = out.x0.abs().flatten(1).quantile(q, dim=1)
        s = largest.clamp(1.0, cap).reshape(-1, *[1] * (x.ndim - 1))
        return _each(out, lambda x0: x0.clamp(-s, s) / s)

    return thresholded


def inpaint(predict: Predict, known: Tensor, mask: Tensor, noise: Tensor | None = None) -> Predict:
    """Inpainting: generates where `mask` is 1 and keeps the clean data `known` where it is 0; both broadcast to x.

    Where the mask is 0, the prediction is replaced by the known data, and the solver advances the state as usual. With
    unit `noise` of x's shape, the network sees exactly alpha * known + sigma * noise there, from the first step on."""

    def predicted(x: Tensor, level: Level) -> Denoised:
        if noise is not None:
            given = level.alpha * known + level.sigma * noise
            x = given + mask * (x - given)
        out = predict(x, level)
        return _each(out, lambda x0: known + mask * (x0 - known))

    return predicted


def _each(out: Denoised, change: Callable[[Tensor], Tensor]) -> Denoised:
    """The prediction with its estimates changed, the unconditional one too."""
    free = None if out.free is None else change(out.free)
    return out._replace(x0=change(out.x0), free=free)
