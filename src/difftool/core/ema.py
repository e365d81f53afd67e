"""Averages of the weights over training whose length grows with the run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class EMA:
    """The power-function average of Karras et al. 2023 (arXiv:2312.02696, section 3.1): after step t it weighs the
    past by ``(tau / t)^gamma``. It has no warm-up, and `std` is its width as a share of the training so far."""

    def __init__(self, params: Iterable[Tensor], std: float) -> None:
        """Starts as a copy of `params`. Raises ValueError unless 0 < std <= 0.28 (0.289 is the plain mean)."""
        self.params = [p.detach().clone() for p in params]
        self.gamma = gamma(std)

    @torch.no_grad()
    def update(self, params: Iterable[Tensor], step: int) -> None:
        """Takes in the weights after `step` updates, counted from 1."""
        beta = (1 - 1 / step) ** (self.gamma + 1)
        torch._foreach_lerp_(self.params, [p.detach() for p in params], 1 - beta)  # pyright: ignore[reportPrivateImportUsage]


def gamma(std: float) -> float:
    """The exponent of a power-function average of relative width `std` (arXiv:2312.02696, eq. 126), by bisection."""
    if not 0 < std <= 0.28:
        raise ValueError(f"the width of an average must lie above 0 and up to 0.28 of the run, not {std}")
    lo, hi = 0.0, 1e6
    for _ in range(100):
        mid = (lo + hi) / 2
        width = (mid + 1) ** 0.5 / (mid + 2) / (mid + 3) ** 0.5
        lo, hi = (mid, hi) if width > std else (lo, mid)
    return (lo + hi) / 2
