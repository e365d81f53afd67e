"""What a network is trained on: times, noise and the loss, all functions of (seed, number of the picture)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TypeAlias

import torch
from torch import Tensor

from .noise import Device, keys, uniform
from .paths import Level, Path
from .predict import Cond, Net, Target

Weight: TypeAlias = Callable[[Level], Tensor]
Density: TypeAlias = Callable[[Path, float], Level]

NOISE, TIMES, DROP = 0, 1, 2
"""Stages of a training step's draws, so that no two of them share numbers."""


def times(seed: int, start: int, n: int, batches: int = 1, *, stratified: bool = True) -> list[float]:
    """Times in (0, 1] for `batches` of `n` pictures numbered from `start`: independent ones, or one in each of n equal
    strata, rising, as data come in random order (Kingma et al. 2021, arXiv:2107.00630, appendix I.1)."""
    numbers = torch.arange(start, start + n * batches)
    seeds = keys([seed] * n * batches)
    jitter = uniform(seeds, numbers, TIMES, 1)[:, 0].tolist()
    if not stratified:
        return jitter
    return [(k % n + u) / n for k, u in enumerate(jitter)]


def even(path: Path, time: float) -> Level:
    """A uniform density over the path's clock, or over the levels of a discrete path."""
    u = path.clean + time * (path.hi - path.clean)
    if path.discrete:
        u = min(max(float(math.ceil(u)), path.lo), path.hi)
    return path.level(u)


def _normal(time: float) -> float:
    inside = min(max(time, 1e-10), 1 - 1e-10)
    return NormalDist().inv_cdf(inside)


DENSITIES: dict[str, Callable[..., Density]] = {
    "even": lambda: even,
    # log(sigma / alpha) is normal (Karras et al. 2022, arXiv:2206.00364, table 1, for data of deviation 0.5)
    "log_normal": lambda mean=-1.2, std=1.2: lambda path, time: path.at(-mean - std * _normal(time)),
    # log(u / (1 - u)) is normal, u the share of the path's clock (Esser et al. 2024, arXiv:2403.03206, eq. 19)
    "logit_normal": lambda mean=0.0, std=1.0: lambda path, u: even(path, 1 / (1 + math.exp(-mean - std * _normal(u)))),
}
"""Where a time in (0, 1] lies on a path; `DENSITIES[name](...)` is one for `training_level`."""


def training_level(
    path: Path, times: Sequence[float], ndim: int, device: Device = "cpu", density: Density = even
) -> Level:
    """The levels that `density` assigns to `times`: a Level of float32 tensors (B, 1, ..., 1), `ndim` dimensions."""
    levels = [density(path, time) for time in times]
    table = torch.tensor(levels, dtype=torch.float32).to(device)  # (B, 3)
    shape = (-1, *[1] * (ndim - 1))
    return Level(*(column.reshape(shape) for column in table.unbind(1)))


WEIGHTS: dict[str, Callable[..., Weight]] = {
    # min(SNR, gamma) (Hang et al. 2023, arXiv:2303.09556)
    "min_snr": lambda gamma=5.0: lambda level: level.snr.clamp(max=gamma),
    # SNR / (k + SNR)^gamma (Choi et al. 2022, arXiv:2204.00227, eq. 8)
    "p2": lambda gamma=1.0, k=1.0: lambda level: level.snr / (k + level.snr) ** gamma,
    # 1 / c_out^2, which is 1 for the error of EDM's network (Karras et al. 2022, table 1)
    "edm": lambda sigma_data=0.5: lambda level: level.snr + 1 / sigma_data**2,
}
"""What the error of x0 counts at a level; `WEIGHTS[name](...)` is one for `loss`."""


def loss(
    net: Net,
    target: Target,
    x0: Tensor,
    level: Level,
    eps: Tensor,
    *,
    weight: Weight | None = None,
    to: Level | None = None,
    cond: Cond = None,
) -> Tensor:
    """The mean squared error of each item's net(alpha x0 + sigma eps) against its target a eps + b x0, (B,).

    `weight` is the weight of the error in x0, whatever the network predicts: the error of the network's output is
    (a alpha - b sigma) / sigma times that of x0. None gives the error of the output the weight 1. With `to`, the levels
    after a step of DDPM, the network returns twice the channels, and the second half enters the `bound`: the hybrid
    loss (arXiv:2102.09672, eq. 16, 0.001 of 1,000 steps)."""
    a, b = target(level)
    x = level.alpha * x0 + level.sigma * eps
    delta = a * level.alpha - b * level.sigma
    out = net(x, level.t.flatten(), **(cond or {}))
    extra = 0.0
    if to is not None:
        out, spread = out.chunk(2, dim=1)
        estimate = (a * x - level.sigma * out.detach()) / delta
        extra = bound(spread, x0 - estimate, level, to)
    counts = 1.0
    if weight is not None:
        counts = weight(level) * (level.sigma / delta) ** 2
    error = out - (a * eps + b * x0)
    return (counts * error.square() + extra).flatten(1).mean(1)


def bound(spread: Tensor, error: Tensor, level: Level, to: Level) -> Tensor:
    """The KL divergence in bits between the true step and DDPM's step from `level` to `to` (arXiv:2102.09672, eq. 4,
    15), with an `error` in x0 and a variance (spread + 1) / 2 of the way from small to large. It is 0 for the step to
    clean data."""
    leads_on = to.sigma > 0
    ratio = torch.where(leads_on, torch.log(level.sigma / to.sigma), 0.0)
    gained = torch.where(leads_on, to.snr - level.snr, 0.0)
    wide = ratio * (spread + 1)
    miss = gained * error.square()
    return (wide + (1 + miss) * torch.exp(-wide) - 1) / (2 * math.log(2))
