from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from difftool.core import EMA, posthoc
from difftool.core.ema import gamma, misfit


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


def test_against_edm2(golden: dict[str, Any]) -> None:
    """Exponents, betas and post-hoc coefficients of its authors' code."""
    stored = golden["edm2_posthoc_ema"]
    for std, exponent in stored["std_to_exp"].items():
        assert gamma(float(std)) == pytest.approx(exponent, rel=1e-9)
    for exponent, std in stored["exp_to_std"].items():
        assert gamma(std) == pytest.approx(float(exponent), rel=1e-9)
    for case in stored["beta"]:
        ema = EMA([torch.zeros(1, dtype=torch.float64)], case["std"])
        ema.update([torch.ones(1, dtype=torch.float64)], case["t_next"] / case["t_delta"])
        assert 1 - float(ema.params[0]) == pytest.approx(case["beta"], rel=1e-9, abs=1e-12)
    solve = stored["solve"]
    found = [posthoc(solve["in_ofs"], solve["in_std"], solve["out_ofs"], std) for std in solve["out_std"]]
    for row, expected in zip(zip(*found, strict=True), solve["coeffs"], strict=True):
        assert row == pytest.approx(expected, abs=1e-9)


def test_a_width_that_was_not_kept() -> None:
    """From snapshots of two averages along the run, the one of another width to 1 %; of the same width, exactly."""
    n, weight = 1000, torch.zeros(1, dtype=torch.float64)
    kept, wanted = [EMA([weight], 0.05), EMA([weight], 0.1)], EMA([weight], 0.075)
    steps, stds, snapshots = [], [], []
    for step in range(1, n + 1):
        weight.fill_(math.sin(step / 90) + step / 500)
        for ema in (*kept, wanted):
            ema.update([weight], step)
        if step % 125 == 0:
            steps += [step, step]
            stds += [0.05, 0.1]
            snapshots += [float(ema.params[0]) for ema in kept]
    made = sum(c * value for c, value in zip(posthoc(steps, stds, n, 0.075), snapshots, strict=True))
    assert made == pytest.approx(float(wanted.params[0]), rel=0.01)
    same = sum(c * value for c, value in zip(posthoc(steps, stds, n, 0.1), snapshots, strict=True))
    assert same == pytest.approx(float(kept[1].params[0]), rel=1e-9)


def test_the_misfit_of_what_is_combined() -> None:
    """By the integral over time; zero for an average that is itself among those stored."""
    steps, stds, time = [0.5, 1, 1], [0.1, 0.1, 0.05], torch.linspace(0, 1, 100_001, dtype=torch.float64)

    def weights(step: float, std: float) -> torch.Tensor:
        g = gamma(std)
        return torch.where(time <= step, (g + 1) / step * (time / step) ** g, 0.0)

    for std in (0.02, 0.07, 0.2):
        shares = posthoc(steps, stds, 1, std)
        made = sum(c * weights(*stored) for c, stored in zip(shares, zip(steps, stds, strict=True), strict=True))
        expected = float((made - weights(1, std)).norm() / weights(1, std).norm())
        assert misfit(steps, stds, 1, std, shares) == pytest.approx(expected, rel=1e-3)
    assert misfit(steps, stds, 1, 0.05, posthoc(steps, stds, 1, 0.05)) == pytest.approx(0, abs=1e-6)
