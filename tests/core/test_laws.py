"""What must hold of the engine whatever is sampled: identities, orders of convergence, independence of batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from difftool.core import (
    CLEAN,
    SAMPLERS,
    SPACINGS,
    START,
    Denoised,
    DiscreteVP,
    Flow,
    Level,
    Noise,
    Path,
    Predict,
    State,
    betas,
    cfg,
    clip,
    first_order,
    grid,
)

SHAPES = [(4, 3, 8, 8), (2, 100, 48), (2, 48, 100)]
PATHS: dict[str, Path] = {
    "linear": DiscreteVP(betas("linear")),
    "scaled_linear": DiscreteVP(betas("scaled_linear")),
    "cosine": DiscreteVP(betas("cosine")),
    "flow": Flow(),
    "flow shifted": Flow(3.0, clock=lambda s: 1000 * s),
}
STD = 0.5


def gaussian(x: Tensor, p: Level) -> Denoised:
    """The exact denoiser of data from N(0, STD^2)."""
    return Denoised(x * (p.alpha * STD**2 / (p.alpha**2 * STD**2 + p.sigma**2)))


def end(states: Iterator[State]) -> Tensor:
    *_, state = states
    return state.x


def tensor(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return Noise(range(seed, seed + shape[0]), shape[1:], dtype=dtype)(START)


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_names_that_are_one_method(kind: str, spacing: str) -> None:
    """DDIM is Euler, and DDPM is Euler ancestral, where they visit the same levels: against both written out as their
    authors do, in the coordinate sigma / alpha."""
    path = PATHS[kind]
    levels = grid(path, 12, spacing)
    x = tensor((4, 3, 8, 8)) * levels[0].sigma
    noise = Noise(range(4), (3, 8, 8), dtype=torch.float64)
    same = {
        name: end(SAMPLERS[name].solver(gaussian, x, levels, **SAMPLERS[name].defaults, noise=noise))
        for name in SAMPLERS
    }
    assert torch.equal(same["ddim"], same["euler"])
    assert torch.equal(same["ddpm"], same["euler_a"])
    assert not torch.allclose(same["ddim"], same["ddpm"])
    if levels[0].alpha > 0:
        torch.testing.assert_close(same["euler"], k_euler(x, levels, 0.0, noise), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(same["euler_a"], k_euler(x, levels, 1.0, noise), rtol=1e-10, atol=1e-10)


def k_euler(x: Tensor, levels: list[Level], eta: float, noise: Noise) -> Tensor:
    """Euler (ancestral) on sigma / alpha (Karras et al. 2022, algorithm 1 without churn; ancestral steps as in
    k-diffusion)."""
    x = x / levels[0].alpha
    for i, (p, q) in enumerate(itertools.pairwise(levels)):
        here, there = p.sigma / p.alpha, q.sigma / q.alpha
        up = min(there, eta * math.sqrt(max(there**2 * (here**2 - there**2) / here**2, 0.0)))
        down = math.sqrt(there**2 - up**2)
        slope = (x - gaussian(x * p.alpha, p).x0) / here
        x = x + slope * (down - here) + up * noise(i)
    return x


@pytest.mark.parametrize("kind", PATHS)
def test_order_one_on_a_gaussian(kind: str) -> None:
    """The probability flow of a Gaussian has a closed form; the error halves when the steps double."""
    path = PATHS[kind]
    start = path.level(path.hi)
    stop = path.at(math.log(1 / 0.002))
    x = tensor((1, 1000)) * start.sigma
    scale = math.sqrt((stop.alpha * STD) ** 2 + stop.sigma**2) / math.sqrt((start.alpha * STD) ** 2 + start.sigma**2)
    errors = []
    for n in (32, 64, 128, 256):
        levels = arc_to(path, n, stop)
        errors.append(float((end(first_order(gaussian, x, levels)) - x * scale).abs().max() / (x * scale).abs().max()))
    rates = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert errors[-1] < 0.05
    assert 0.9 < rates[-1] < 1.1, (errors, rates)


def arc_to(path: Path, n: int, stop: Level) -> list[Level]:
    """Smooth steps from the noisiest level to `stop`: even in the angle atan(sigma / alpha), which is finite on every
    path."""
    a, b = (math.atan2(level.sigma, level.alpha) for level in (path.level(path.hi), stop))
    angles = [a + (b - a) * i / n for i in range(1, n)]
    return [path.level(path.hi), *(path.at(math.log(1 / math.tan(angle))) for angle in angles), stop]


def test_paths_are_charts_of_one_problem() -> None:
    """A VP run, a VE run and a flow run that visit the same sigma / alpha end in the same data, deterministic or
    not."""
    vp = grid(PATHS["cosine"], 20)[2:]
    noise = Noise(range(3), (50,), dtype=torch.float64)
    z = tensor((3, 50), seed=9)
    for eta in (0.0, 0.5, 1.0):
        charts = [
            vp,
            [Level(0.0, 1.0, p.sigma / p.alpha) for p in vp],
            [Level(0.0, p.alpha / (p.alpha + p.sigma), p.sigma / (p.alpha + p.sigma)) for p in vp],
        ]
        ends = [end(first_order(gaussian, z * chart[0].sigma, chart, eta=eta, noise=noise)) for chart in charts]
        for other in ends[1:]:
            torch.testing.assert_close(other, ends[0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", PATHS)
def test_every_sampler_on_every_shape(shape: tuple[int, ...], name: str, kind: str) -> None:
    row, levels = SAMPLERS[name], grid(PATHS[kind], 10)
    noise = Noise(range(shape[0]), shape[1:])
    predict = clip(gaussian)
    states = list(row.solver(predict, levels[0].sigma * noise(START), levels, **row.defaults, noise=noise))
    assert [state.i for state in states] == list(range(1, 11))
    assert [state.level for state in states] == levels[1:]
    assert states[-1].x.shape == shape
    assert states[-1].x.isfinite().all()
    assert torch.equal(states[-1].x, states[-1].x0)  # the last step returns the estimate itself, without noise
    assert states[-1].x.abs().max() <= 1


def test_starts_from_pure_noise() -> None:
    """alpha = 0: a flow at u = 1 and a zero-terminal-SNR path are finite, and the first step is what its limit says."""
    for path in (Flow(), DiscreteVP([*betas("scaled_linear")[:-1], 1.0])):
        levels = grid(path, 8)
        assert levels[0].alpha == 0
        assert levels[0].lam == -math.inf
        x = tensor((2, 64))
        states = list(first_order(gaussian, x, levels))
        assert all(state.x.isfinite().all() for state in states)
        torch.testing.assert_close(states[0].x, x * levels[1].sigma / levels[0].sigma)  # its x0 is 0
        assert end(first_order(gaussian, x, levels, eta=1.0, noise=Noise(range(2), (64,)))).isfinite().all()


def test_goes_on_from_any_state() -> None:
    levels, noise = grid(PATHS["cosine"], 15), Noise(range(4), (3, 8, 8))
    x = levels[0].sigma * noise(START)
    states = list(first_order(gaussian, x, levels, eta=0.7, noise=noise))
    for state in states[:-1]:
        assert torch.equal(end(first_order(gaussian, state, levels, eta=0.7, noise=noise)), states[-1].x)
    assert list(first_order(gaussian, states[-1], levels)) == []


def test_a_run_keeps_the_states_it_gave() -> None:
    """No step writes into an earlier state, nor into the start."""
    levels, noise = grid(PATHS["cosine"], 5), Noise(range(2), (8,))
    start = noise(START)
    kept = start.clone()
    given, copies = [], []
    for state in first_order(gaussian, start, levels, eta=1.0, noise=noise):
        given.append(state.x)
        copies.append(state.x.clone())
    assert torch.equal(start, kept)
    assert all(torch.equal(a, b) for a, b in zip(given, copies, strict=True))


@pytest.mark.parametrize("name", SAMPLERS)
def test_float32_follows_float64(name: str) -> None:
    row, levels = SAMPLERS[name], grid(PATHS["scaled_linear"], 25)
    ends = []
    for dtype in (torch.float32, torch.float64):
        noise = Noise(range(4), (3, 8, 8), dtype=dtype)
        x = levels[0].sigma * noise(START)
        ends.append(end(row.solver(gaussian, x, levels, **row.defaults, noise=noise)).double())
    assert (ends[0] - ends[1]).norm() / ends[1].norm() < 1e-6


def test_a_run_does_not_depend_on_its_batch() -> None:
    """Each item alone ends where it ends among others."""
    levels = grid(PATHS["cosine"], 10)
    whole = Noise(range(5), (3, 8, 8), dtype=torch.float64)
    together = end(first_order(gaussian, levels[0].sigma * whole(START), levels, eta=1.0, noise=whole))
    for k in reversed(range(5)):
        alone = Noise([k], (3, 8, 8), dtype=torch.float64)
        x = end(first_order(gaussian, levels[0].sigma * alone(START), levels, eta=1.0, noise=alone))
        torch.testing.assert_close(x[0], together[k], rtol=1e-12, atol=1e-12)


def test_larger_variance_of_ddpm() -> None:
    """ "large" keeps the mean of a step and has the standard deviation times sigma_p / sigma_q (Ho et al. 2020,
    section 3.2)."""
    p, q = PATHS["linear"].level(500), PATHS["linear"].level(400)
    x, noise = tensor((1, 10_000)), Noise([3], (10_000,), dtype=torch.float64)
    silent, small, large = (
        end(first_order(gaussian, x, [p, q], eta=1.0, noise=source, variance=kind))
        for source, kind in ((lambda i, j: torch.zeros_like(x), "small"), (noise, "small"), (noise, "large"))
    )
    torch.testing.assert_close((large - silent) / (small - silent), torch.full_like(x, p.sigma / q.sigma))
    beta = 1 - (p.alpha / q.alpha) ** 2
    assert float((large - silent).std()) == pytest.approx(math.sqrt(beta), rel=0.02)


def test_noise_is_needed_for_noise() -> None:
    with pytest.raises(ValueError, match="noise"):
        next(first_order(gaussian, torch.zeros(1, 2), [Level(0, 0, 1), CLEAN], eta=1.0))


def guided(scale: float) -> Predict:
    return cfg(lambda x, p: Denoised(x * 2), lambda x, p: Denoised(x + 1), scale)


def test_guidance() -> None:
    x, level = torch.tensor([[1.0, 3.0]]), Level(10, 0.6, 0.8)
    assert guided(1.0)(x, level).x0.tolist() == [[2.0, 6.0]]
    assert guided(0.0)(x, level).x0.tolist() == [[2.0, 4.0]]
    assert guided(7.0)(x, level).x0.tolist() == [[2.0, 4.0 + 7 * 2.0]]
    by_level = cfg(lambda x, p: Denoised(x * 2), lambda x, p: Denoised(x + 1), lambda p: p.t)
    assert by_level(x, level).x0.tolist() == [[2.0, 4.0 + 10 * 2.0]]


def test_guidance_off_costs_one_call() -> None:
    def never(x: Tensor, p: Level) -> Denoised:
        raise AssertionError("called")

    assert cfg(gaussian, never, 1.0)(torch.ones(1), Level(0, 0.6, 0.8)).x0.shape == (1,)


def test_clip_keeps_the_noise_consistent() -> None:
    """The noise of a step is what remains of x beside the clipped estimate (as OpenAI and Tortoise do)."""
    p, q = Level(0, 0.6, 0.8), Level(0, 0.8, 0.6)
    x = torch.full((1, 4), 3.0, dtype=torch.float64)
    out = next(first_order(clip(lambda x, p: Denoised(x)), x, [p, q])).x
    eps = (3.0 - 0.6 * 1.0) / 0.8
    assert out[0, 0].item() == pytest.approx(0.8 * 1.0 + 0.6 * eps)
