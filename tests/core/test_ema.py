from __future__ import annotations

import math

import pytest
import torch

from difftool.core import EMA
from difftool.core.ema import gamma


def test_gamma() -> None:
    """sigma_rel 0.05 and 0.10 are gamma 16.97 and 6.94 (Karras et al. 2023, section 3.1)."""
    assert gamma(0.05) == pytest.approx(16.97, abs=0.005)
    assert gamma(0.10) == pytest.approx(6.94, abs=0.005)
    with pytest.raises(ValueError, match="width"):
        gamma(0.3)


def test_it_weighs_the_past_by_a_power_of_time() -> None:
    """Of a ramp 1, 2, ..., n it keeps the mean of t under the density t^gamma on [0, n], and has the width it was
    asked for."""
    n, std = 4000, 0.1
    linear, square = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    first, second = EMA([linear], std), EMA([square], std)
    for step in range(1, n + 1):
        linear.fill_(step)
        square.fill_(step**2)
        first.update([linear], step)
        second.update([square], step)
    g = gamma(std)
    mean, width = float(first.params[0]), math.sqrt(float(second.params[0]) - float(first.params[0]) ** 2)
    assert mean / n == pytest.approx((g + 1) / (g + 2), rel=1e-3)
    assert width / n == pytest.approx(std, rel=1e-2)


def test_the_first_update_takes_the_weights_over() -> None:
    weight = torch.ones(3)
    ema = EMA([weight], 0.1)
    weight.fill_(5)
    assert ema.params[0].tolist() == [1, 1, 1]
    ema.update([weight], 1)
    assert ema.params[0].tolist() == [5, 5, 5]
