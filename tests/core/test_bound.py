"""The learned variance against DDPM's own posterior, written out."""

from __future__ import annotations

import math

import pytest
import torch

from difftool.core.objective import bound, even, loss, training_level
from difftool.core.paths import CLEAN, DiscreteVP, Level, betas
from difftool.core.predict import TARGETS

PATH = DiscreteVP(betas("cosine"))


def below(path: DiscreteVP, time: float) -> Level:
    level = even(path, time)
    return path.level(level.t - 1) if level.t else CLEAN


def normal(mean: float, variance: float) -> torch.distributions.Normal:
    return torch.distributions.Normal(*torch.tensor([mean, math.sqrt(variance)], dtype=torch.float64))


@pytest.mark.parametrize("spread", [-1.0, -0.3, 1.0])
@pytest.mark.parametrize("t", [1, 400, 999])
def test_it_is_the_divergence_of_the_two_normals(t: int, spread: float) -> None:
    p, q = PATH.level(t), PATH.level(t - 1)
    beta = 1 - (p.alpha / q.alpha) ** 2
    small, large = beta * q.sigma**2 / p.sigma**2, beta
    f = (spread + 1) / 2
    true = normal(0.0, small)
    # the mean of the posterior moves by sqrt(abar_q) beta / (1 - abar_p) for each error of x0
    off = q.alpha * beta / p.sigma**2 * 0.1
    guess = normal(off, large**f * small ** (1 - f))
    expected = torch.distributions.kl_divergence(true, guess) / math.log(2)
    level, to = (Level(*(torch.tensor([value], dtype=torch.float64) for value in one)) for one in (p, q))
    found = bound(torch.tensor([spread], dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64), level, to)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_the_last_step_costs_nothing_and_has_a_gradient() -> None:
    times = [1e-9, 0.5]
    level, to = (training_level(PATH, times, 4, density=density) for density in (even, below))
    assert to.sigma[0] == 0
    spread = torch.zeros(2, 1, 2, 2, requires_grad=True)
    found = bound(spread, torch.ones(2, 1, 2, 2), level, to)
    assert (found[0] == 0).all()
    found.sum().backward()
    assert spread.grad is not None
    assert spread.grad.isfinite().all()
    assert (spread.grad[0] == 0).all()


def test_the_hybrid_loss_teaches_the_mean_nothing_of_the_bound() -> None:
    """The gradient that reaches the first half of the channels is that of the plain loss (Nichol & Dhariwal 2021)."""
    torch.manual_seed(0)
    x0, eps, out = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4), torch.randn(2, 2, 4, 4, requires_grad=True)
    level, to = (training_level(PATH, [0.2, 0.9], 4, density=density) for density in (even, below))
    hybrid = loss(lambda x, t: out, TARGETS["v"], x0, level, eps, to=to)
    hybrid.sum().backward()
    assert out.grad is not None
    both = out.grad.clone()
    out.grad = None
    plain = loss(lambda x, t: out[:, :1], TARGETS["v"], x0, level, eps)
    plain.sum().backward()
    assert torch.allclose(both[:, :1], out.grad[:, :1])
    assert (both[:, 1:] != 0).all()
    assert (hybrid > plain).all()
