"""What a network is trained on: times, noise and the loss, all functions of (seed, number of the picture)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .level import Level, Path
from .noise import keys, uniform
from .predict import Target


def times(seed: int, start: int, n: int) -> list[float]:
    """`n` times in (0, 1] for the pictures numbered from `start`: one in each of n equal strata, in rising order.

    Stratified sampling (Kingma et al. 2021, arXiv:2107.00630, appendix I.1) makes the loss of a batch less noisy than n
    independent draws; the order is harmless because the data come in random order.
    """
    jitter = uniform(keys([seed] * n), torch.arange(start, start + n), TIMES, 1)[:, 0].tolist()
    return [(k + u) / n for k, u in enumerate(jitter)]


NOISE, TIMES, DROP = 0, 1, 2
"""Stages of a training step's draws, so that no two of them share numbers."""


def training_level(path: Path, times: Sequence[float], ndim: int, device: torch.device | str = "cpu") -> Level:
    """One `Level` of tensors (B, 1, ..., 1), float32, for states of `ndim` dimensions: the path at `times` in (0,
    1]."""
    span = path.hi - path.clean
    clocks = (path.clean + t * span for t in times)
    levels = [path.level(min(max(float(-(-u // 1)), path.lo), path.hi) if path.discrete else u) for u in clocks]
    table = torch.tensor(levels, dtype=torch.float32).to(device)  # (B, 3)
    return Level(*(column.reshape(-1, *[1] * (ndim - 1)) for column in table.unbind(1)))


def loss(
    net: Callable[..., Tensor],
    target: Target,
    x0: Tensor,
    level: Level,
    eps: Tensor,
    *,
    cond: Mapping[str, Any] | None = None,
) -> Tensor:
    """Mean squared error of the network's output for each item, (B,): |net(alpha x0 + sigma eps) - (a eps + b
    x0)|^2."""
    a, b = target(level)
    out = net(level.alpha * x0 + level.sigma * eps, level.t.flatten(), **(cond or {}))
    return (out - (a * eps + b * x0)).square().flatten(1).mean(1)
