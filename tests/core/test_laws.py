"""What must hold of the engine whatever is sampled: identities, orders of convergence, independence of batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from difftool.core import (
    EPS,
    SAMPLERS,
    START,
    Churn,
    Denoised,
    DiscreteVP,
    Flow,
    Karras,
    Level,
    Noise,
    Path,
    Predict,
    State,
    betas,
    cfg,
    clip,
    deis,
    denoiser,
    dpm2,
    er_sde,
    first_order,
    grid,
    heun,
    ipndm,
    lms,
    multistep,
    pndm,
    sa_solver,
    seeds,
    singlestep,
)

SHAPES = [(4, 3, 8, 8), (2, 100, 48), (2, 48, 100)]
PATHS: dict[str, Path] = {
    "linear": DiscreteVP(betas("linear")),
    "scaled_linear": DiscreteVP(betas("scaled_linear")),
    "cosine": DiscreteVP(betas("cosine")),
    "sigmoid": DiscreteVP(betas("sigmoid")),
    "flow": Flow(),
    "flow shifted": Flow(3.0, clock=lambda s: 1000 * s),
}
KARRAS = Karras()
STD = 0.5


def gaussian(x: Tensor, p: Level) -> Denoised:
    """The exact denoiser of data from N(0, STD^2)."""
    return Denoised(x * (p.alpha * STD**2 / (p.alpha**2 * STD**2 + p.sigma**2)))


def mixture(x: Tensor, p: Level) -> Denoised:
    """The exact denoiser of data from 0.5 N(-1, 0.3^2) + 0.5 N(1, 0.3^2)."""
    total = 0.09 * p.alpha**2 + p.sigma**2
    return Denoised((0.09 * p.alpha * x + p.sigma**2 * torch.tanh(p.alpha * x / total)) / total)


def end(states: Iterator[State]) -> Tensor:
    *_, state = states
    return state.x


def tensor(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return Noise(range(seed, seed + shape[0]), shape[1:], dtype=dtype)(START)


def run(name: str, predict: Predict, x: Tensor | State, levels: list[Level], path: Path, **options: Any) -> list[State]:
    row = SAMPLERS[name]
    return list(row.solver(predict, x, levels, **{**row.defaults, **options}, path=path))


def silent(name: str) -> dict[str, Any]:
    """The options that make a sampler deterministic."""
    return {key: 0.0 for key in ("eta", "sde") if key in SAMPLERS[name].defaults}


def noise_of(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Noise:
    return Noise(range(shape[0]), shape[1:], dtype=dtype)


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("spacing", ["trailing", "leading", "linspace", "beta"])
def test_names_that_are_one_method(kind: str, spacing: str) -> None:
    """DDIM is Euler, and DDPM is Euler ancestral, where they visit the same levels: against both written out as their
    authors do, in the coordinate sigma / alpha."""
    path = PATHS[kind]
    levels = grid(path, 12, spacing)
    x = tensor((4, 3, 8, 8)) * levels[0].sigma
    noise = noise_of((4, 3, 8, 8))
    same = {
        name: run(name, gaussian, x, levels, path, noise=noise)[-1].x for name in ("ddim", "euler", "ddpm", "euler_a")
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


ORDERS = {
    "ddim": 1,
    "euler": 1,
    "heun": 2,
    "dpm2": 2,
    "lms": 3,
    "pndm": 2,
    "dpmpp_2s_a": 2,
    "dpmpp_2m": 2,
    "dpmpp_3m": 2,  # its authors' weights of the second difference leave it at 2, with a smaller error
    "dpmpp_sde": 2,
    "unipc": 2,
    "euler_ge": 1,
    "euler_cfg_pp": 1,
    "euler_ge_cfg_pp": 1,
    "heunpp2": 1,
    "dpmpp_2m_cfg_pp": 2,
    "res_multistep_cfg_pp": 2,
    "lms_x0": 3,
    "ipndm": 2,
    "deis": 2,
    "res_multistep": 2,
    "res_2s": 2,
    "exp_heun": 2,
    "seeds_2": 2,
    "seeds_3": 2,
    "sa_solver": 2,
    "sa_solver_pece": 2,
    "er_sde": 2,
}


def test_every_deterministic_method_has_its_order_tested() -> None:
    noisy = {name for name, row in SAMPLERS.items() if {"eta", "sde", "renoise"} & row.defaults.keys()}
    assert SAMPLERS.keys() - noisy <= ORDERS.keys(), "add the order of the new method to ORDERS"


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("kind", [*PATHS, "karras"])
def test_order_on_a_gaussian(name: str, kind: str) -> None:
    """The probability flow of a Gaussian has a closed form; the error falls by 2^order when the steps double."""
    path = PATHS.get(kind, KARRAS)
    start, stop = path.at(-math.log(20)), path.at(math.log(1 / 0.01))
    x = tensor((1, 1000)) * start.sigma
    scale = math.sqrt((stop.alpha * STD) ** 2 + stop.sigma**2) / math.sqrt((start.alpha * STD) ** 2 + start.sigma**2)
    errors = []
    for n in (32, 64, 128, 256):
        levels = [start, *(path.at(lam) for lam in ramp(start.lam, stop.lam, n)[1:])]
        # pndm looks midway in the index of a discrete path, between whose levels lam has kinks
        between = Indexless(path) if name == "pndm" and isinstance(path, DiscreteVP) else path
        ended = run(name, gaussian, x, levels, between, **silent(name))[-1].x
        errors.append(float((ended - x * scale).abs().max() / (x * scale).abs().max()))
    assert errors[-1] < 0.05 / 4 ** (ORDERS[name] - 1)
    assert math.log2(errors[0] / errors[-1]) / 3 > ORDERS[name] - 0.2, errors


@pytest.mark.parametrize("name", ORDERS)
def test_order_on_a_mixture(name: str) -> None:
    """Against an adaptive Runge-Kutta method of order 8 on the same exact denoiser."""
    from scipy.integrate import solve_ivp

    def slope(k: float, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return (y - mixture(torch.from_numpy(y), Level(0, 1.0, k)).x0.numpy()) / k

    x = torch.linspace(-12, 12, 41, dtype=torch.float64)
    truth = torch.from_numpy(solve_ivp(slope, (10, 0.2), x.numpy(), method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1])
    errors = []
    for n in (64, 128, 256):
        levels = [Level(0, 1.0, math.exp(-lam)) for lam in ramp(-math.log(10), -math.log(0.2), n)]
        ended = run(name, mixture, x, levels, KARRAS, **silent(name))[-1].x
        errors.append(float((ended - truth).abs().mean()))
    assert math.log2(errors[0] / errors[-1]) / 2 > ORDERS[name] - 0.2, errors


@pytest.mark.parametrize(("order", "rate"), [(1, 2), (2, 3), (3, 3.7)])
def test_unipc_corrects_by_one_order(order: int, rate: float) -> None:
    """Where the last steps, of lower order, count for little: near clean data."""
    x, errors = tensor((1, 1000)) * 10, []
    start, stop = Level(0, 1.0, 10.0), Level(0, 1.0, 0.002)
    truth = x * math.sqrt((STD**2 + stop.sigma**2) / (STD**2 + start.sigma**2))
    for n in (64, 256):
        levels = [Level(0, 1.0, math.exp(-lam)) for lam in ramp(start.lam, stop.lam, n)]
        errors.append(float((run("unipc", gaussian, x, levels, KARRAS, order=order)[-1].x - truth).abs().max()))
    assert math.log2(errors[0] / errors[1]) / 2 > rate - 0.1, errors


FROM_PURE_NOISE = (
    *("ddim", "heun", "dpm2", "pndm", "dpmpp_2s_a", "dpmpp_2m", "unipc", "euler_ge", "euler_cfg_pp", "ipndm", "deis"),
    *("res_multistep", "res_2s", "exp_heun", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece", "er_sde"),
)


@pytest.mark.parametrize("name", FROM_PURE_NOISE)
@pytest.mark.parametrize("kind", ["flow", "zero snr"])
def test_order_from_pure_noise(name: str, kind: str) -> None:
    """alpha = 0 at the start costs no order, or a logarithm: the first steps of lam are long however many there are."""
    path = PATHS["flow"] if kind == "flow" else DiscreteVP(betas("cosine", 4000)).zero_snr()
    stop = path.at(math.log(1 / 0.05))
    x, errors = tensor((1, 1000)), []
    truth = x * math.sqrt((stop.alpha * STD) ** 2 + stop.sigma**2)
    for n in (32, 64, 128):
        levels = arc_to(path, n, stop)
        assert levels[0].alpha == 0
        errors.append(float((run(name, gaussian, x, levels, path, **silent(name))[-1].x - truth).abs().max()))
    assert math.log2(errors[0] / errors[-1]) / 2 > ORDERS[name] - (0.35 if name == "unipc" else 0.2), errors


def ramp(a: float, b: float, n: int) -> list[float]:
    return [a + (b - a) * i / n for i in range(n + 1)]


def arc_to(path: Path, n: int, stop: Level) -> list[Level]:
    """Smooth steps from the noisiest level to `stop`: even in the angle atan(sigma / alpha), which is finite on every
    path."""
    a, b = (math.atan2(level.sigma, level.alpha) for level in (path.level(path.hi), stop))
    angles = [a + (b - a) * i / n for i in range(1, n)]
    return [path.level(path.hi), *(path.at(math.log(1 / math.tan(angle))) for angle in angles), stop]


@pytest.mark.parametrize("name", SAMPLERS)
def test_paths_are_charts_of_one_problem(name: str) -> None:
    """A VP run, a VE run and a flow run that visit the same sigma / alpha end in the same data, with noise or
    without."""
    vp = grid(PATHS["cosine"], 20)
    noise = noise_of((3, 50))
    z = tensor((3, 50), seed=9)
    charts = {
        "cosine": vp,
        "karras": [Level(0.0, 1.0, p.sigma / p.alpha) for p in vp],
        "flow": [Level(0.0, p.alpha / (p.alpha + p.sigma), p.sigma / (p.alpha + p.sigma)) for p in vp],
    }
    if name == "pndm":  # its midpoints lie midway in the index of a discrete path, which the others have not
        paths = {kind: Flow() for kind in charts} | {"cosine": Indexless(PATHS["cosine"]), "karras": KARRAS}
    else:
        paths = {"cosine": PATHS["cosine"], "karras": KARRAS, "flow": PATHS["flow"]}
    ends = [
        run(name, gaussian, z * chart[0].sigma, chart, paths[kind], noise=noise)[-1].x for kind, chart in charts.items()
    ]
    for other in ends[1:]:
        torch.testing.assert_close(other, ends[0], rtol=1e-9, atol=1e-11)


class Indexless(DiscreteVP):
    """A VP path that does not say it has whole levels."""

    discrete = False

    def __init__(self, path: DiscreteVP) -> None:
        self.__dict__ = path.__dict__


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", PATHS)
def test_every_sampler_on_every_shape(shape: tuple[int, ...], name: str, kind: str) -> None:
    levels, noise = grid(PATHS[kind], 10), noise_of(shape, torch.float32)
    states = run(name, clip(gaussian), levels[0].sigma * noise(START), levels, PATHS[kind], noise=noise)
    assert [state.i for state in states] == list(range(1, 11))
    assert [state.level for state in states] == levels[1:]
    assert states[-1].x.shape == shape
    assert states[-1].x.isfinite().all()
    if SAMPLERS[name].solver in (
        heun,
        dpm2,
        lms,
        pndm,
    ):  # a sum of slopes, which ends there but for rounding, or near with its past
        assert name in ("lms", "pndm") or torch.allclose(states[-1].x, states[-1].x0, atol=1e-5)
    else:
        assert torch.equal(states[-1].x, states[-1].x0)  # the last step returns the estimate itself, without noise
        assert states[-1].x.abs().max() <= 1


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", ["flow", "flow shifted", "zero snr"])
def test_starts_from_pure_noise(name: str, kind: str) -> None:
    """alpha = 0: a flow at u = 1 and a zero-terminal-SNR path are finite and end in the data's distribution."""
    path = DiscreteVP(betas("scaled_linear")).zero_snr() if kind == "zero snr" else PATHS[kind]
    levels = grid(path, 100)
    assert levels[0].alpha == 0
    assert levels[0].lam == -math.inf
    x = tensor((4, 1000))
    states = run(name, gaussian, x, levels, path, noise=noise_of((4, 1000)))
    assert all(state.x.isfinite().all() for state in states)
    if name != "lcm":  # which draws the mean of the data, and so shrinks
        assert float(states[-1].x.std()) == pytest.approx(STD, rel=0.1)
    if SAMPLERS[name].solver is first_order and not SAMPLERS[name].defaults.get("eta", 1):
        torch.testing.assert_close(states[0].x, x * levels[1].sigma / levels[0].sigma)  # its x0 is 0


def test_zero_snr_with_a_prediction_of_the_noise_is_an_error() -> None:
    path = DiscreteVP(betas("scaled_linear")).zero_snr()
    predict = denoiser(lambda x, t: x, EPS)
    for name in SAMPLERS:
        with pytest.raises(ValueError, match="prediction of eps says nothing about the data at alpha = 0"):
            run(name, predict, tensor((2, 8)), grid(path, 10), path, noise=noise_of((2, 8)))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", ["cosine", "flow", "karras"])
def test_goes_on_from_any_state(name: str, kind: str) -> None:
    path = PATHS.get(kind, KARRAS)
    for n in (9, 17):  # short runs lower their order
        levels, noise = grid(path, n), cache(noise_of((2, 3, 4, 4), torch.float32))
        states = run(name, gaussian, levels[0].sigma * noise(START), levels, path, noise=noise)
        for state in states[:-1]:
            assert torch.equal(run(name, gaussian, state, levels, path, noise=noise)[-1].x, states[-1].x)
        assert run(name, gaussian, states[-1], levels, path, noise=noise) == []


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_run_keeps_the_states_it_gave(name: str) -> None:
    """No step writes into an earlier state, its estimate or its past, nor into the start or what the network said."""
    levels, noise = grid(PATHS["cosine"], 8), noise_of((2, 8), torch.float32)
    start = noise(START)
    kept, said = [(start, start.clone())], []

    def predict(x: Tensor, p: Level) -> Denoised:
        out = gaussian(x, p)
        said.append((out.x0, out.x0.clone()))
        return out

    row = SAMPLERS[name]
    for state in row.solver(predict, start, levels, **row.defaults, noise=noise, path=PATHS["cosine"]):
        assert state.x0 is not None
        kept += [(given, given.clone()) for given in (state.x, state.x0, *state.past)]
    assert all(torch.equal(given, copy) for given, copy in [*kept, *said])


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", ["scaled_linear", "flow", "karras"])
def test_float32_follows_float64(name: str, kind: str) -> None:
    path = PATHS.get(kind, KARRAS)
    draws = [cache(noise_of((2, 3, 8, 8), dtype)) for dtype in (torch.float32, torch.float64)]
    levels = grid(path, 25)
    for predict in (gaussian, mixture):
        ends = [
            run(name, predict, levels[0].sigma * noise(START), levels, path, noise=noise)[-1].x.double()
            for noise in draws
        ]
        assert (ends[0] - ends[1]).norm() / ends[1].norm() < 1e-4


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_run_does_not_depend_on_its_batch(name: str) -> None:
    """Each item alone ends where it ends among others."""
    path, shape = PATHS["cosine"], (3, 8, 8)
    levels, whole = grid(path, 10), noise_of((5, *shape))
    together = run(name, gaussian, levels[0].sigma * whole(START), levels, path, noise=whole)[-1].x
    for k in reversed(range(5)):
        alone = Noise([k], shape, dtype=torch.float64)
        x = run(name, gaussian, levels[0].sigma * alone(START), levels, path, noise=alone)[-1].x
        torch.testing.assert_close(x[0], together[k], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "lcm"])
def test_draws_follow_the_data(name: str) -> None:
    """Of an exact mixture every sampler draws the two bumps, each with its width."""
    path = PATHS["cosine"]
    levels, noise = grid(path, 100), noise_of((1, 20_000))
    x = run(name, mixture, levels[0].sigma * noise(START), levels, path, noise=noise)[-1].x
    right = x[x > 0]
    assert len(right) / x.numel() == pytest.approx(0.5, abs=0.02)
    assert float(right.mean()) == pytest.approx(1, abs=0.03)
    assert float(right.std()) == pytest.approx(0.3, abs=0.04)


def test_inversion_and_back() -> None:
    """DDIM with the levels in rising order finds the noise that leads back to the picture."""
    path = PATHS["cosine"]
    x = tensor((2, 500)) * STD
    up = [path.level(u) for u in ramp(0, 990, 400)]
    there = run("ddim", gaussian, x, up, path)[-1].x
    assert float(there.std()) == pytest.approx(1, abs=0.05)
    back = run("ddim", gaussian, there, up[::-1], path)[-1].x
    assert (back - x).norm() / x.norm() < 0.01


ONE_METHOD: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("euler_ge", {"gamma": 1.0}, "ipndm", {"order": 1}),
    ("euler_ge", {"gamma": 1.5}, "ipndm", {"order": 2}),
    ("ipndm", {"order": 1}, "euler", {}),
    ("deis", {"order": 1}, "euler", {}),
    ("dpmpp_2m", {"kind": "heun", "lower_end": False}, "res_multistep", {}),
    ("dpmpp_2m_sde", {"kind": "heun", "lower_end": False}, "res_multistep_a", {}),
    ("seeds_2", {"sde": 0.0}, "dpmpp_2s_a", {"eta": 0.0}),
    ("exp_heun_sde", {"sde": 0.0}, "exp_heun", {}),
    ("sa_solver", {"order": 1, "corrector": 0, "sde": 0.0}, "euler", {}),
    ("sa_solver", {"order": 1, "corrector": 0}, "euler_a", {}),
    ("sa_solver", {"corrector": 0}, "sa_solver_pece", {"corrector": 0}),
    ("er_sde", {"stages": 1, "eta": 0.0}, "euler", {}),
    ("er_sde", {"stages": 1, "growth": lambda k: k}, "euler_a", {}),
    ("er_sde", {"stages": 1, "growth": lambda k: k, "eta": 0.5}, "dpmpp_2m_sde", {"order": 1, "sde": 0.5}),
    ("euler_cfg_pp", {}, "euler", {}),  # without guidance
    ("euler_a_cfg_pp", {}, "euler_a", {}),
    ("euler_ge_cfg_pp", {}, "euler_ge", {}),
    ("res_multistep_cfg_pp", {}, "res_multistep", {}),
    ("res_multistep_a_cfg_pp", {}, "res_multistep_a", {}),
    ("dpmpp_2m_cfg_pp", {}, "dpmpp_2m", {"lower_end": False}),
]


@pytest.mark.parametrize("kind", ["cosine", "flow", "karras"])
@pytest.mark.parametrize("case", ONE_METHOD, ids=lambda case: f"{case[0]}-{case[2]}-{len(case[1])}")
def test_options_that_make_one_method_of_two(case: tuple[str, dict[str, Any], str, dict[str, Any]], kind: str) -> None:
    path = PATHS.get(kind, KARRAS)
    levels, noise = grid(path, 17), cache(noise_of((2, 30)))
    name, options, other, others = case
    ours = run(name, mixture, levels[0].sigma * noise(START), levels, path, noise=noise, **options)
    theirs = run(other, mixture, levels[0].sigma * noise(START), levels, path, noise=noise, **others)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.x, two.x, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("order", [2, 3])
def test_a_predictor_alone_is_a_multistep_method(order: int) -> None:
    """SA-Solver without its corrector, up to where its order falls."""
    levels, noise = grid(PATHS["cosine"], 12), noise_of((2, 30))
    x = noise(START)
    ours = sa_solver(mixture, x, levels, order=order, corrector=0, noise=noise)
    theirs = multistep(mixture, x, levels, order=order, kind="heun", sde=1.0, lower_end=False, noise=noise)
    for one, two in itertools.islice(zip(ours, theirs, strict=True), 10 if order == 2 else 2):
        torch.testing.assert_close(one.x, two.x)


def test_cfg_pp_is_a_schedule_of_scales() -> None:
    """Euler with the guidance scale s / (1 - rho) in each step."""
    for path in (PATHS["cosine"], PATHS["flow"], KARRAS):
        levels = grid(path, 12)
        x = tensor((2, 30)) * levels[0].sigma
        after = dict(itertools.pairwise(levels))
        factor: Callable[[Level], float] = lambda p: 0.8 / (1 - math.exp(p.lam - after[p].lam))  # noqa: B023, E731
        plus = run("euler_cfg_pp", cfg(mixture, gaussian, 0.8, keep=True), x, levels, path)
        scaled = run("euler", cfg(mixture, gaussian, factor), x, levels, path)
        for one, two in zip(plus, scaled, strict=True):
            torch.testing.assert_close(one.x, two.x)


def test_seeds_2_is_dpmpp_sde_on_one_brownian_path() -> None:
    """The end remembers the noise of the midpoint: the same, if DPM++ SDE draws both of one path."""
    path = PATHS["cosine"]
    levels, noise = grid(path, 12), noise_of((2, 30))

    def linked(i: int, j: int) -> Tensor:
        if j == 1:
            return noise(i, 1)
        h = levels[i + 1].lam - levels[i].lam
        half = math.exp(-h / 2)
        walked = half * math.sqrt(1 - half**2) * noise(i, 1) + math.sqrt(1 - half**2) * noise(i, 0)
        return walked / math.sqrt(1 - half**4)

    x = noise(START)
    ours = run("seeds_2", mixture, x, levels, path, noise=noise)
    for one, two in zip(ours, run("dpmpp_sde", mixture, x, levels, path, noise=linked), strict=True):
        torch.testing.assert_close(one.x, two.x)


def test_lms_that_ends_clean() -> None:
    """LMS, but for its last step; with exact estimates it comes far closer to where it should."""
    path = PATHS["flow shifted"]
    levels, x = grid(path, 8), tensor((2, 30))
    sums, clean = (run(name, mixture, x, levels, path) for name in ("lms", "lms_x0"))
    assert all(torch.equal(one.x, two.x) for one, two in zip(sums[:-1], clean[:-1], strict=True))
    truth = run("dpmpp_3m", mixture, x, grid(path, 300), path)[-1].x
    far, near = (float((states[-1].x - truth).square().mean().sqrt()) for states in (sums, clean))
    assert near < far / 2


class TestChurn:
    def churned(self, amount: float, **options: Any) -> Tensor:
        levels, noise = grid(KARRAS, 80), noise_of((1, 20_000))
        x = levels[0].sigma * noise(START)
        return run("heun", gaussian, x, levels, KARRAS, churn=Churn(amount, **options), noise=noise)[-1].x

    def test_as_its_authors_write_it(self) -> None:
        """Algorithm 2 of Karras et al. 2022, written out."""
        levels, noise = grid(KARRAS, 10), noise_of((2, 30))
        x = y = levels[0].sigma * noise(START)
        for i, (p, q) in enumerate(itertools.pairwise(levels)):
            grown = min(30 / 10, math.sqrt(2) - 1) if 0.05 <= p.sigma <= 50 else 0.0
            hat = p.sigma * (1 + grown)
            y = y + math.sqrt(hat**2 - p.sigma**2) * 1.007 * noise(i, 1)
            slope = (y - gaussian(y, Level(0, 1.0, hat)).x0) / hat
            ahead = y + (q.sigma - hat) * slope
            if q.sigma:
                slope = (slope + (ahead - gaussian(ahead, q).x0) / q.sigma) / 2
            y = y + (q.sigma - hat) * slope
        ours = run("heun", gaussian, x, levels, KARRAS, churn=Churn(30, 0.05, 50, 1.007), noise=noise)[-1].x
        torch.testing.assert_close(ours, y, rtol=1e-10, atol=1e-12)

    def test_none_is_none(self) -> None:
        assert torch.equal(self.churned(0.0), self.churned(40.0, lo=100.0))
        assert not torch.equal(self.churned(0.0), self.churned(40.0))

    def test_it_keeps_the_distribution(self) -> None:
        assert float(self.churned(40.0).std()) == pytest.approx(STD, rel=0.05)


def test_any_time_will_do_for_a_chart() -> None:
    """Heun's method in log(sigma), a chart of one's own, has order 2 too."""
    levels, x, errors = [], tensor((1, 100)) * 10, []
    for n in (64, 128):
        levels = [Level(0, 1.0, math.exp(-lam)) for lam in ramp(-math.log(10), -math.log(0.02), n)]
        chart = lambda p: (1.0, math.log(p.sigma), 0.0, p.sigma)  # noqa: E731
        truth = x * math.sqrt((STD**2 + levels[-1].sigma ** 2) / (STD**2 + 100))
        errors.append(float((run("heun", gaussian, x, levels, KARRAS, chart=chart)[-1].x - truth).abs().max()))
    assert math.log2(errors[0] / errors[1]) > 1.9


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_learned_variance(spread: float) -> None:
    """0 is DDPM's smaller variance, 1 the larger one, and between them it is geometric."""
    p, q = PATHS["linear"].level(500), PATHS["linear"].level(400)
    x = tensor((2, 10))

    def predict(x: Tensor, p: Level) -> Denoised:
        return gaussian(x, p)._replace(spread=torch.full_like(x, spread))

    learned, plain = (
        run("ddpm", predict, x, [p, q], PATHS["linear"], variance=variance, noise=lambda i, j: z)[-1].x  # noqa: B023
        for variance, z in (
            ("learned", torch.ones_like(x)),
            ("small", torch.ones_like(x) * (p.sigma / q.sigma) ** spread),
        )
    )
    torch.testing.assert_close(learned, plain)


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


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_a_sampler_needs_is_said(name: str) -> None:
    row, levels, x = SAMPLERS[name], grid(PATHS["cosine"], 6), torch.zeros(1, 2)
    if {"eta", "sde", "renoise"} & {key for key, value in row.defaults.items() if value}:
        with pytest.raises(ValueError, match="needs noise"):
            list(row.solver(gaussian, x, levels, **row.defaults, path=PATHS["cosine"]))
    if row.solver in (dpm2, pndm, singlestep) or row.defaults.get("points", (1.0,)) != (1.0,):
        with pytest.raises(ValueError, match="needs a path"):
            list(row.solver(gaussian, x, levels, **row.defaults, noise=noise_of((1, 2))))


def test_methods_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="no 'midpiont' rule"):
        next(multistep(gaussian, torch.zeros(1, 2), grid(PATHS["cosine"], 6), kind="midpiont"))
    with pytest.raises(ValueError, match="no 'midpoint' rule of order 4"):
        next(multistep(gaussian, torch.zeros(1, 2), grid(PATHS["cosine"], 6), order=4))
    with pytest.raises(ValueError, match="unknown variance 'fixed_small'"):
        next(first_order(gaussian, torch.zeros(1, 2), grid(PATHS["cosine"], 6), variance="fixed_small"))
    with pytest.raises(ValueError, match="at least 0"):
        next(first_order(gaussian, torch.zeros(1, 2), grid(PATHS["cosine"], 6), eta=-1.0))
    with pytest.raises(ValueError, match="at least 0"):
        next(multistep(gaussian, torch.zeros(1, 2), grid(PATHS["cosine"], 6), sde=-1.0))
    with pytest.raises(ValueError, match="at least 0"):
        next(er_sde(gaussian, torch.zeros(1, 2), grid(PATHS["cosine"], 6), eta=-1.0))
    for solver, option in ((ipndm, "order"), (deis, "order"), (sa_solver, "order"), (er_sde, "stages"), (seeds, "phi")):
        with pytest.raises(ValueError, match=option):
            next(solver(gaussian, torch.zeros(1, 2), grid(PATHS["cosine"], 6), **{option: 0}))
    with pytest.raises(ValueError, match="needs a learned variance"):
        levels = grid(PATHS["cosine"], 6)
        next(first_order(gaussian, torch.zeros(1, 2), levels, eta=1, variance="learned", noise=noise_of((1, 2))))


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
