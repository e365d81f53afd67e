from __future__ import annotations

import pytest
import torch

from difftool.core import TARGETS, DiscreteVP, Flow, betas, loss, times, training_level


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
