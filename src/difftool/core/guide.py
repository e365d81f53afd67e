"""Guidance and limits: functions from one `Predict` to another, all on the clean data x0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from .paths import Level
from .predict import Denoised, Predict

if TYPE_CHECKING:
    from torch import Tensor

Scale: TypeAlias = float | Callable[[Level], float]
Rule: TypeAlias = "Callable[[Tensor, Level, Tensor, Tensor, float], Tensor]"
"""The guided x0 from the state, its level, the x0 of the condition and of its absence, and the scale."""


def cfg(
    cond: Predict,
    uncond: Predict | None,
    scale: Scale,
    *,
    rescale: float = 0.0,
    interval: tuple[float, float] = (0, 1),
    keep: bool = False,
    rule: Rule | None = None,
) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): x0 = uncond + scale * (cond - uncond), the same
    on x0, eps, v or flow. `scale` 1 is off (and saves the second call), 0 ignores the condition; a function gives it at
    each level. `rescale` is the share at which each item's standard deviation is brought back to that of cond (Lin et
    al. 2023, arXiv:2305.08891, eq. 15, 16). Guidance acts where sigma / (alpha + sigma) lies in `interval`
    (Kynkaanniemi et al. 2024, arXiv:2404.07724). Without `uncond`, `cond` is called
    once with x twice in the batch and predicts both. `keep` keeps uncond's estimate as `Denoised.free`, for CFG++, also
    where guidance does not act. `rule` replaces the formula: the functions below are this one with theirs."""
    combine = rule or _plain

    def predict(x: Tensor, level: Level) -> Denoised:
        s = scale(level) if callable(scale) else scale
        acts = s != 1 and interval[0] <= level.share <= interval[1]
        if uncond:
            towards = cond(x, level)
            away = uncond(x, level) if acts or keep else towards
        else:
            towards, away = _halves(cond(_twice(x), level))
        if keep:
            towards = towards._replace(free=away.x0)
        if not acts:
            return towards
        x0 = combine(x, level, towards.x0, away.x0, s)
        if rescale:
            ratio = _spread(towards.x0) / _spread(x0)
            x0 = x0 * (1 - rescale + rescale * ratio.nan_to_num(1.0, 1.0))
        return towards._replace(x0=x0)

    return predict


def _plain(x: Tensor, level: Level, towards: Tensor, away: Tensor, scale: float) -> Tensor:
    return away + scale * (towards - away)


def apg(
    cond: Predict,
    uncond: Predict | None,
    scale: Scale,
    *,
    parallel: float = 0.0,
    limit: float = math.inf,
    momentum: float = 0.0,
    **options: Any,
) -> Predict:
    """Adaptive projected guidance (Sadat et al. 2024, arXiv:2410.02416): x0 = cond + (scale - 1) * g, where g is cond -
    uncond plus `momentum` times the g of the step before, shortened to the norm `limit`, and of which the part parallel
    to cond, which saturates, counts `parallel` times, in each item. With 1, no limit and no momentum it is `cfg`, whose
    `options` it takes. The momentum starts anew where the noise does not fall: it fits solvers of one call a step, and
    a run that goes on from a `State` begins without it."""
    before: tuple[float, Tensor] | None = None

    def rule(x: Tensor, level: Level, towards: Tensor, away: Tensor, s: float) -> Tensor:
        nonlocal before
        g = towards - away
        if momentum:
            if before is not None and level.share < before[0]:
                g = g + momentum * before[1]
            before = level.share, g
        if math.isfinite(limit):
            g = g * (limit / _dot(g, g).sqrt()).clamp(max=1.0)
        along = _dot(g, towards) / _dot(towards, towards)
        g = g + (parallel - 1) * along.nan_to_num(0.0, 0.0, 0.0) * towards
        return towards + (s - 1) * g

    return cfg(cond, uncond, scale, rule=rule, **options)


def cfg_zero(cond: Predict, uncond: Predict | None, scale: Scale, **options: Any) -> Predict:
    """CFG-Zero* (Fan et al. 2025, arXiv:2503.18886) for flows, with the `options` of `cfg`: the velocity of uncond is
    first multiplied by the factor that brings it closest to that of cond, in each item. `zero_init` is its other half.
    """

    def rule(x: Tensor, level: Level, towards: Tensor, away: Tensor, s: float) -> Tensor:
        # sigma times the velocities: the factor is the same
        c, u = x - towards, x - away
        best = _dot(c, u) / (_dot(u, u) + 1e-8)
        return x - (best * u + s * (c - best * u))

    return cfg(cond, uncond, scale, rule=rule, **options)


def zero_init(predict: Predict, above: float) -> Predict:
    """The zero velocity of CFG-Zero* in the first steps of a flow, x0 = x, where sigma / (alpha + sigma) is `above`:
    there the guided velocity is worse than none. The network is not called."""

    def predicted(x: Tensor, level: Level) -> Denoised:
        return Denoised(x, free=x) if level.share > above else predict(x, level)

    return predicted


def tcfg(cond: Predict, uncond: Predict | None, scale: Scale, *, chart: float = 0.0, **options: Any) -> Predict:
    """Tangential guidance (Kwon et al. 2025, arXiv:2503.18137), with the `options` of `cfg`: of uncond's noise only the
    part along the principal axis of both counts, in each item. `chart` is that of the path: 1 takes a flow's velocities
    in place of the noise. Pure noise of the other paths tells nothing of either and is guided as by `cfg`."""

    def rule(x: Tensor, level: Level, towards: Tensor, away: Tensor, s: float) -> Tensor:
        share = level.alpha + chart * level.sigma
        if not share:
            return _plain(x, level, towards, away, s)
        c, u = x - share * towards, x - share * away
        cc, cu, uu = _dot(c, c), _dot(c, u), _dot(u, u)
        middle, apart = (cc + uu) / 2, (cc - uu) ** 2 / 4
        top = middle + (apart + cu**2).sqrt()
        axis = cu * c + (top - cc) * u
        length = _dot(u, axis) / _dot(axis, axis)
        on_axis = length.nan_to_num(0.0) * axis
        return (x - on_axis - s * (c - on_axis)) / share

    return cfg(cond, uncond, scale, rule=rule, **options)


def cfg_norm(cond: Predict, uncond: Predict | None, scale: Scale, **options: Any) -> Predict:
    """Guidance, with the `options` of `cfg`, that lengthens no pixel: its norm over the channels (dimension 1) is at
    most that of cond (Qwen-Image)."""

    def rule(x: Tensor, level: Level, towards: Tensor, away: Tensor, s: float) -> Tensor:
        x0 = _plain(x, level, towards, away, s)
        ratio = towards.norm(dim=1, keepdim=True) / (x0.norm(dim=1, keepdim=True) + 1e-8)
        return x0 * ratio.clamp(max=1.0)

    return cfg(cond, uncond, scale, rule=rule, **options)


MODES: dict[str, Callable[..., Predict]] = {
    "cfg": cfg,
    "apg": apg,
    "cfg_zero": cfg_zero,
    "tcfg": tcfg,
    "cfg_norm": cfg_norm,
}
"""Ways to guide, by the names of the field."""


def skip_layers(cond: Predict, skipped: Predict, scale: float, *, interval: tuple[float, float] = (0, 1)) -> Predict:
    """Skip-layer guidance (Hyung et al. 2024, arXiv:2411.18664): x0 = cond + scale * (cond - skipped), where `skipped`
    is the same network without some of its layers."""
    return cfg(cond, skipped, 1 + scale, interval=interval)


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


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each item, (B, 1, ..., 1)."""
    return (a * b).sum(tuple(range(1, a.ndim)), keepdim=True)


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


def windows(predict: Predict, width: int, hop: int) -> Predict:
    """Prediction of states longer than the `width` that a network was trained on, along the last dimension, in windows
    that overlap (MultiDiffusion, Bar-Tal et al. 2023, arXiv:2302.08113).

    `predict` is given the windows of `window_starts` as one batch, those of an item after one another, so that an
    item's condition is repeated by `repeat_interleave`. Each estimate is the mean of the windows' at that place, which
    count less towards their ends."""
    ramp = [min(k + 1, width - k) for k in range(width)]

    def predicted(x: Tensor, level: Level) -> Denoised:
        length = x.shape[-1]
        starts = window_starts(length, width, hop)
        places = [slice(start, start + width) for start in starts]
        weights = x.new_tensor(ramp)
        total = x.new_zeros(length)
        for place in places:
            total[place] += weights

        def joined(estimate: Tensor) -> Tensor:
            parts = estimate.unflatten(0, (-1, len(places)))
            whole = x.new_zeros(x.shape)
            for k, place in enumerate(places):
                share = weights / total[place]
                whole[..., place] += share * parts[:, k]
            return whole

        columns = [[*range(start, start + width)] for start in starts]
        parts = x[..., columns].movedim(-2, 1)
        out = predict(parts.flatten(0, 1), level)
        x0 = joined(out.x0)
        spread = None if out.spread is None else joined(out.spread)
        free = None if out.free is None else joined(out.free)
        return Denoised(x0, spread, free)

    return predicted


def window_starts(length: int, width: int, hop: int) -> list[int]:
    """Where the windows of a state of `length` begin: `hop` apart, the last one at its end. Raises ValueError if it is
    shorter than a window."""
    if not 0 < hop <= width <= length:
        raise ValueError(f"a length of {length} has no windows of {width}, {hop} apart")
    return [*range(0, length - width, hop), length - width]


def _each(out: Denoised, change: Callable[[Tensor], Tensor]) -> Denoised:
    """The prediction with its estimates changed, the unconditional one too."""
    free = None if out.free is None else change(out.free)
    return out._replace(x0=change(out.x0), free=free)
