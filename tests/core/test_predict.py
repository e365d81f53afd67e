from __future__ import annotations

import pytest
import torch

from difftool.core import EDM, EPS, TARGETS, DiscreteVP, Flow, Karras, Level, betas, denoiser, edm_scale

LEVELS = [
    *(DiscreteVP(betas("cosine")).level(u) for u in (0, 10.5, 500, 990)),
    *(Flow().level(u) for u in (0.001, 0.5, 0.99)),
    *(Karras().level(u) for u in (0.002, 1.0, 80.0)),
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
    for name in ("v", "x0", "flow", "flow_rev", "edm"):
        denoiser(lambda x, t: x, TARGETS[name])(torch.zeros(1, 2), Level(999, 0.0, 1.0))


def test_edm_as_its_authors_write_it() -> None:
    """D(x) = c_skip x + c_out F(c_in x; log(sigma) / 4), Karras et al. 2022, eq. 7 and table 1."""
    data = 0.7
    level, x = Karras().level(3.0), torch.randn(4, 3, dtype=torch.float64)

    def net(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(x) + t[:, None]

    c_skip, c_out = data**2 / (9 + data**2), 3 * data / (9 + data**2) ** 0.5
    t = torch.full((4,), level.t, dtype=torch.float64)
    expected = c_skip * x + c_out * net(x / (9 + data**2) ** 0.5, t)
    predict = denoiser(net, EDM(data), scale=edm_scale(data))
    torch.testing.assert_close(predict(x, level).x0, expected, rtol=1e-12, atol=1e-12)


def test_a_learned_range_is_split_off() -> None:
    """The second half of the channels, in [-1, 1], is the spread in [0, 1]."""
    x, level = torch.randn(2, 3, 4, 4), LEVELS[2]

    def net(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.cat([x * 0.1, torch.full_like(x, 0.5)], dim=1)

    out = denoiser(net, EPS, learned_range=True)(x, level)
    plain = denoiser(lambda x, t: x * 0.1, EPS)(x, level)
    assert torch.equal(out.x0, plain.x0)
    assert out.spread is not None
    assert torch.equal(out.spread, torch.full_like(x, 0.75))
    assert plain.spread is None
