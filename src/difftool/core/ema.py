"""Averages of the weights over training whose length grows with the run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from .paths import require


class EMA:
    """The power-function average of Karras et al. 2023 (arXiv:2312.02696, section 3.1): after step t it weighs the
    past by ``(tau / t)^gamma``. It has no warm-up, and `std` is its width as a share of the training so far."""

    def __init__(self, params: Iterable[Tensor], std: float) -> None:
        """Starts as a copy of `params`. Raises ValueError unless 0 < std <= 0.28 (0.289 is the plain mean)."""
        self.params = [p.detach().clone() for p in params]
        self.gamma = gamma(std)

    @torch.no_grad()
    def update(self, params: Iterable[Tensor], step: int) -> None:
        """Updates the average with the weights after update number `step`, counted from 1."""
        beta = (1 - 1 / step) ** (self.gamma + 1)
        torch._foreach_lerp_(self.params, [p.detach() for p in params], 1 - beta)  # pyright: ignore[reportPrivateImportUsage]


def gamma(std: float) -> float:
    """The exponent of a power-function average of relative width `std` (arXiv:2312.02696, eq. 126), by bisection."""
    require(0 < std <= 0.28, f"the width of an average must be above 0 and at most 0.28 of the run, not {std}")
    lo, hi = 0.0, 1e6
    while lo < (mid := (lo + hi) / 2) < hi:
        width = (mid + 1) ** 0.5 / (mid + 2) / (mid + 3) ** 0.5
        if width > std:
            lo = mid
        else:
            hi = mid
    return mid


def posthoc(steps: Sequence[float], stds: Sequence[float], step: float, std: float) -> list[float]:
    """Coefficients that combine stored averages into an average of width `std` after `step`.

    The stored averages have the widths `stds` and were saved after `steps`. The coefficients are the least-squares fit
    of the weights over time, scaled to sum to 1 (arXiv:2312.02696, section 3.2)."""
    stored = list(zip(steps, map(gamma, stds), strict=True))
    wanted = (step, gamma(std))
    normal = torch.tensor([[_overlap(a, b) for b in stored] for a in stored], dtype=torch.float64)
    right = torch.tensor([[_overlap(a, wanted)] for a in stored], dtype=torch.float64)
    shares = torch.linalg.solve(normal, right)[:, 0]
    return (shares / shares.sum()).tolist()


def misfit(steps: Sequence[float], stds: Sequence[float], step: float, std: float, shares: Sequence[float]) -> float:
    """How far stored averages, combined by these `shares`, are from the one of width `std` after `step`: the distance
    of the weights over time, relative to their norm."""
    wanted = (step, gamma(std))
    stored = zip(steps, map(gamma, stds), strict=True)
    parts = [(-1.0, wanted), *zip(shares, stored, strict=True)]
    square = sum(a * b * _overlap(one, other) for a, one in parts for b, other in parts)
    return max(square / _overlap(wanted, wanted), 0.0) ** 0.5


def _overlap(first: tuple[float, float], second: tuple[float, float]) -> float:
    """The integral of the product of two averages' weights (g + 1) / t * (tau / t)^g over the time tau they share."""
    (t, g), (s, h) = sorted((first, second))
    whole = (g + 1) * (h + 1) / (g + h + 1)
    return whole * (t / s) ** h / s
