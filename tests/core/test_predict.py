from __future__ import annotations

import pytest
import torch

from difftool.core import TARGETS, DiscreteVP, Flow, Level, betas, denoiser

LEVELS = [DiscreteVP(betas("cosine")).level(u) for u in (0, 10.5, 500, 990)] + [
    Flow().level(u) for u in (0.001, 0.5, 0.99)
]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("level", LEVELS)
def test_the_right_answer_gives_the_data_back(name: str, level: Level) -> None:
    x0, eps = torch.randn(2, 3, 5, 7, dtype=torch.float64), torch.randn(2, 3, 5, 7, dtype=torch.float64)
    a, b = TARGETS[name](level)
    predict = denoiser(lambda x, t: a * eps + b * x0, TARGETS[name])
    out = predict(level.alpha * x0 + level.sigma * eps, level).x0
    torch.testing.assert_close(out, x0, rtol=1e-7, atol=1e-7)


def test_what_the_network_is_given() -> None:
    seen = {}

    def net(x: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        seen.update(x=x, t=t, label=label)
        return x

    x = torch.randn(3, 1, 4, 4)
    out = denoiser(net, TARGETS["v"], dtype=torch.bfloat16, cond={"label": torch.tensor([1, 2, 3])})(x, LEVELS[2])
    assert seen["x"].dtype == torch.bfloat16
    assert seen["t"].dtype == torch.float32
    assert seen["t"].tolist() == [500.0] * 3
    assert seen["label"].tolist() == [1, 2, 3]
    assert out.x0.dtype == torch.float32


def test_noise_from_pure_noise_is_an_error() -> None:
    predict = denoiser(lambda x, t: x, TARGETS["eps"])
    with pytest.raises(ValueError, match="prediction of eps says nothing about the data at alpha = 0"):
        predict(torch.zeros(1, 2), Level(999, 0.0, 1.0))
    for name in ("v", "x0", "flow"):
        denoiser(lambda x, t: x, TARGETS[name])(torch.zeros(1, 2), Level(999, 0.0, 1.0))
