from __future__ import annotations

import pytest
import torch
from torch import Tensor

from difftool.core import (
    EPS,
    SAMPLERS,
    START,
    Denoised,
    DiscreteVP,
    Level,
    Noise,
    V,
    autoguide,
    betas,
    cfg,
    clip,
    denoiser,
    dynamic_threshold,
    grid,
    inpaint,
)

PATH = DiscreteVP(betas("cosine"))
LEVEL = PATH.level(500)


def says(x0: Tensor):
    return lambda x, level: Denoised(x0)


def test_guidance_is_the_same_on_x0_and_on_what_the_network_returns() -> None:
    """As diffusers and others do it, on the noise or on v."""
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    cond, free = torch.randn_like(x), torch.randn_like(x)
    for target in (EPS, V):
        on_x0 = cfg(denoiser(lambda x, t: cond, target), denoiser(lambda x, t: free, target), 7.5)(x, LEVEL).x0
        on_output = denoiser(lambda x, t: free + 7.5 * (cond - free), target)(x, LEVEL).x0
        torch.testing.assert_close(on_x0, on_output, rtol=1e-9, atol=1e-9)


def test_the_spread_is_the_conditional_one() -> None:
    spread = torch.full((1, 2), 0.3)
    cond = lambda x, level: Denoised(x * 2, spread)  # noqa: E731
    assert cfg(cond, says(torch.zeros(1, 2)), 3.0)(torch.ones(1, 2), LEVEL).spread is spread


def test_one_call_answers_for_both() -> None:
    """Guidance by two calls, and by one that is given every item twice; of both only the conditional spread is kept."""
    x, spread = torch.randn(2, 3, 8, 8), torch.rand(4, 3, 8, 8)
    gain = torch.tensor([3.0, 5.0, 1.0, 2.0]).reshape(4, 1, 1, 1)

    def both(x: Tensor, level: Level) -> Denoised:
        return Denoised(x * gain, spread)

    found = cfg(both, None, 2.5)(x, LEVEL)
    wanted = cfg(says(x * gain[:2]), says(x * gain[2:]), 2.5)(x, LEVEL)
    assert torch.equal(found.x0, wanted.x0)
    assert torch.equal(found.spread, spread[:2])
    assert torch.equal(cfg(both, None, 1.0)(x, LEVEL).x0, x * gain[:2])
    assert cfg(lambda x, level: Denoised(x), None, 2.0)(x, LEVEL).spread is None


@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
def test_rescale(phi: float) -> None:
    """Each item's deviation goes the share phi of the way back to that of the conditional estimate."""
    cond, free = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    plain = cfg(says(cond), says(free), 7.5)(cond, LEVEL).x0
    ours = cfg(says(cond), says(free), 7.5, rescale=phi)(cond, LEVEL).x0
    for k in range(4):
        factor = float(cond[k].std() / plain[k].std())
        torch.testing.assert_close(ours[k], plain[k] * (phi * factor + 1 - phi))


def test_interval() -> None:
    def never(x: Tensor, level: Level) -> Denoised:
        raise AssertionError("called")

    x = torch.ones(1, 2)
    inside, outside = Level(0, 0.5, 0.5), Level(0, 0.1, 0.9)
    guided = cfg(says(x * 2), says(x), 3.0, interval=(0.2, 0.8))
    assert guided(x, inside).x0.tolist() == [[4.0, 4.0]]
    assert cfg(says(x * 2), never, 3.0, interval=(0.2, 0.8))(x, outside).x0.tolist() == [[2.0, 2.0]]


def test_autoguidance() -> None:
    x = torch.ones(1, 2)
    assert autoguide(says(x * 2), says(x * 1.5), 3.0)(x, LEVEL).x0.tolist() == [[3.0, 3.0]]


def test_dynamic_threshold() -> None:
    """What lies within [-1, 1] stays; else the quantile of each item becomes 1, and what is larger is cut."""
    small = torch.rand(2, 100) * 2 - 1
    assert torch.equal(dynamic_threshold(says(small))(small, LEVEL).x0, small)
    wide = torch.stack([torch.linspace(-3, 3, 101), torch.linspace(-1, 1, 101)])
    out = dynamic_threshold(says(wide), q=0.5)(wide, LEVEL).x0
    s = wide[0].abs().quantile(0.5)
    torch.testing.assert_close(out[0], wide[0].clamp(-s, s) / s)
    assert torch.equal(out[1], wide[1])
    capped = dynamic_threshold(says(wide), q=1.0, cap=2.0)(wide, LEVEL).x0
    torch.testing.assert_close(capped[0], wide[0].clamp(-2, 2) / 2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_inpainting_keeps_what_is_known(name: str) -> None:
    """Known values come out as they were (lms and pndm end near them), and the rest is drawn to fit, here for a network
    that thinks all values of an item are equal."""
    known = torch.full((2, 1, 4, 8), 0.6)
    mask = torch.zeros(1, 1, 4, 8)
    mask[..., 4:] = 1

    def average(x: Tensor, level: Level) -> Denoised:
        mean = x.mean((1, 2, 3), keepdim=True)
        n = x[0].numel()
        return Denoised((mean * (level.alpha / (level.alpha**2 + level.sigma**2 / n))).expand_as(x))

    noise = Noise(range(2), (1, 4, 8))
    levels = grid(PATH, 50)
    row = SAMPLERS[name]
    for kept in (None, noise(START)):
        predict = clip(inpaint(average, known, mask, kept))
        *_, last = row.solver(predict, levels[0].sigma * noise(START), levels, **row.defaults, noise=noise, path=PATH)
        off = 0.02 if name in ("lms", "pndm") else 1e-5
        assert float((last.x - known)[..., :4].abs().max()) < off
        assert float(last.x[..., 4:].mean()) == pytest.approx(0.6, abs=0.2)


def test_the_network_sees_the_known_part_with_the_given_noise() -> None:
    seen = {}

    def predict(x: Tensor, level: Level) -> Denoised:
        seen["x"] = x
        return Denoised(torch.zeros_like(x))

    x, known, noise = (torch.randn(1, 6) for _ in range(3))
    mask = torch.tensor([[1.0, 1, 1, 0, 0, 0]])
    out = inpaint(predict, known, mask, noise)(x, LEVEL).x0
    torch.testing.assert_close(seen["x"][:, :3], x[:, :3])
    torch.testing.assert_close(seen["x"][:, 3:], (LEVEL.alpha * known + LEVEL.sigma * noise)[:, 3:])
    torch.testing.assert_close(out, torch.cat([torch.zeros(1, 3), known[:, 3:]], dim=1))
