from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from difftool.core import (
    DENSITIES,
    TARGETS,
    WEIGHTS,
    DiscreteVP,
    Flow,
    Karras,
    Level,
    betas,
    loss,
    times,
    training_level,
)


def test_times_cover_the_unit_interval() -> None:
    found = times(seed=3, start=1280, n=64)
    assert all(k / 64 < t <= (k + 1) / 64 for k, t in enumerate(found))
    assert found == times(3, 1280, 64)
    assert found != times(3, 1344, 64)
    assert found != times(4, 1280, 64)


def test_training_visits_every_level_of_a_discrete_path_alike() -> None:
    path = DiscreteVP(betas("linear", 10))
    level = training_level(path, [(k + 0.5) / 100 for k in range(100)], ndim=4)
    assert level.t.shape == level.alpha.shape == (100, 1, 1, 1)
    assert level.t.flatten().tolist() == [float(k // 10) for k in range(100)]
    assert training_level(path, [1.0, 1e-9], ndim=2).t.flatten().tolist() == [9.0, 0.0]


def test_training_level_of_a_flow() -> None:
    level = training_level(Flow(clock=lambda s: 1000 * s), [0.25, 1.0], ndim=3)
    assert level.t.flatten().tolist() == [250.0, 1000.0]
    assert level.sigma.flatten().tolist() == [0.25, 1.0]


@pytest.mark.parametrize("name", TARGETS)
def test_loss(name: str) -> None:
    """Zero for the right answer, its square distance otherwise; one number an item."""
    x0, eps = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    level = training_level(DiscreteVP(betas("cosine")), [0.1, 0.4, 0.6, 0.9], ndim=4)
    a, b = TARGETS[name](level)
    seen = {}

    def net(x: torch.Tensor, t: torch.Tensor, label: int) -> torch.Tensor:
        seen.update(x=x, t=t, label=label)
        return a * eps + b * x0 + torch.tensor([0.0, 1.0, 2.0, 3.0])[:, None, None, None]

    found = loss(net, TARGETS[name], x0, level, eps, cond={"label": 5})
    assert found.tolist() == pytest.approx([0, 1, 4, 9], abs=1e-5)
    assert seen["t"].tolist() == level.t.flatten().tolist()
    assert seen["label"] == 5
    torch.testing.assert_close(seen["x"], level.alpha * x0 + level.sigma * eps)


def column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def weighed(name: str, target: str, snrs: list[float], **options: Any) -> list[float]:
    """What the error of the network counts at these SNR of a variance-preserving path."""
    alpha = (column(snrs) / (1 + column(snrs))).sqrt()
    level = Level(torch.zeros_like(alpha), alpha, (1 - alpha**2).sqrt())
    x0, eps = torch.randn(len(snrs), 4, dtype=torch.float64), torch.randn(len(snrs), 4, dtype=torch.float64)
    weight = WEIGHTS[name](**options)
    ratio = [loss(lambda x, t: x * 0.3, TARGETS[target], x0, level, eps, weight=w) for w in (weight, None)]
    return (ratio[0] / ratio[1]).tolist()


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_min_snr(golden: dict[str, Any], target: str) -> None:
    stored = golden["loss_weights"]
    assert weighed("min_snr", target, stored["snr"]) == pytest.approx(stored["min_snr5"][target])


def test_p2() -> None:
    """lambda / (k + SNR)^gamma, lambda the plain weight of the noise (Choi et al. 2022, eq. 8)."""
    snrs = [0.01, 1.0, 30.0]
    assert weighed("p2", "eps", snrs) == pytest.approx([1 / (1 + snr) for snr in snrs])
    assert weighed("p2", "eps", snrs, gamma=0.5, k=2.0) == pytest.approx([(2 + snr) ** -0.5 for snr in snrs])


def test_the_weight_of_edm_is_plain_for_its_network() -> None:
    sigma = column([0.01, 0.5, 20.0])
    level = Level(sigma.log() / 4, torch.ones_like(sigma), sigma)
    x0, eps = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    plain, edm = (
        loss(lambda x, t: x * 0.3, TARGETS["edm"], x0, level, eps, weight=weight) for weight in (None, WEIGHTS["edm"]())
    )
    torch.testing.assert_close(plain, edm)
    on_x0 = loss(lambda x, t: x * 0.3, TARGETS["x0"], x0, level, eps, weight=WEIGHTS["edm"]())
    bare = loss(lambda x, t: x * 0.3, TARGETS["x0"], x0, level, eps)
    torch.testing.assert_close(on_x0 / bare, ((sigma**2 + 0.25) / (sigma * 0.5) ** 2).flatten())


def test_independent_times() -> None:
    found = times(3, 0, 4000, stratified=False)
    assert sorted(found) != found
    assert found == times(3, 0, 4000, stratified=False)
    assert sum(found) / 4000 == pytest.approx(0.5, abs=0.02)


def test_densities() -> None:
    """Quantiles of each: the median of log(sigma) is P_mean, a standard deviation above lies 84 % of the way."""
    path, one = Karras(), 0.8413447460685429
    normal = DENSITIES["log_normal"]()
    assert math.log(normal(path, 0.5).sigma) == pytest.approx(-1.2)
    assert math.log(normal(path, one).sigma) == pytest.approx(0.0, abs=1e-9)
    logit = DENSITIES["logit_normal"](mean=0.5, std=2.0)
    assert math.log(logit(Flow(), one).sigma / logit(Flow(), one).alpha) == pytest.approx(2.5)
    assert logit(DiscreteVP(betas("cosine")), 0.5).t == math.ceil(1000 / (1 + math.exp(-0.5)) - 1)
    for name, density in DENSITIES.items():
        for time in (1e-9, 1.0):
            level = density()(Flow(), time)
            assert 0 <= level.sigma <= 1, name
    level = training_level(path, [0.5, one], ndim=4, density=normal)
    assert level.sigma.flatten().tolist() == pytest.approx([math.exp(-1.2), 1.0])
