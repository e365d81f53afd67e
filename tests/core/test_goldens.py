"""The samplers against stored runs of the code that users know: diffusers (float32) and k-diffusion (float64)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from difftool.core import (
    CLEAN,
    EPS,
    FLOW,
    SAMPLERS,
    Denoised,
    DiscreteVP,
    Flow,
    Level,
    Path,
    State,
    V,
    betas,
    clip,
    denoiser,
    grid,
)

NAMES = {
    "DDPMScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_a",
    "FlowMatchEulerDiscreteScheduler": "euler",
}
TARGETS = {"epsilon": EPS, "v_prediction": V}
KINDS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}


def ramp(dtype: torch.dtype) -> Tensor:
    """The dummy sample of the file: (4, 3, 8, 8), from 0 to 1."""
    return (torch.arange(768, dtype=dtype).reshape(3, 8, 8, 4) / 768).permute(3, 0, 1, 2)


def zero_snr(plain: list[float]) -> list[float]:
    """Betas rescaled so that the last level is pure noise (Lin et al. 2023, arXiv:2305.08891, algorithm 1)."""
    roots = [math.sqrt(math.prod(1 - b for b in plain[: i + 1])) for i in range(len(plain))]
    first, last = roots[0], roots[-1]
    abar = [((root - last) * first / (first - last)) ** 2 for root in roots]
    return [1 - abar[0], *(1 - b / a for a, b in itertools.pairwise(abar))]


def cases(golden: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What this engine covers; DDIM on linspace is left out, where diffusers steps by T // n instead of its own
    grid."""
    for case in golden["cases"]:
        if case["scheduler"] in NAMES and not case["id"].startswith("x_ddim10_sd_linspace"):
            yield case


def path_and_levels(case: dict[str, Any]) -> tuple[Path, list[Level]]:
    config, n = case["config"], case["num_inference_steps"]
    if case["scheduler"].startswith("FlowMatch"):
        flow = Flow(clock=lambda s: 1000 * s)
        if case["id"].endswith("shift1.0_karras"):
            return flow, grid(flow, n, "karras")
        # the other grids of this class follow no rule of ours: shift 3 is applied twice there
        return flow, [Level(1000 * s, 1 - s, s) for s in case["sigmas"]]
    ends = () if config["beta_schedule"] == "squaredcos_cap_v2" else (config["beta_start"], config["beta_end"])
    table = betas(KINDS[config["beta_schedule"]], config["num_train_timesteps"], *ends)
    path = DiscreteVP(zero_snr(table) if config["rescale_betas_zero_snr"] else table)
    spacing = "karras" if config.get("use_karras_sigmas") else config["timestep_spacing"]
    end = path.level(0) if config.get("set_alpha_to_one") is False else CLEAN
    return path, grid(path, n, spacing, end=end)


def from_generator(seed: int, dtype: torch.dtype) -> Callable[[int, int], Tensor]:
    """The random numbers of the stored run, in its order."""
    generator = torch.Generator().manual_seed(seed)
    return lambda i, j: torch.randn((4, 3, 8, 8), generator=generator, dtype=dtype)


def last(states: Iterator[State]) -> Tensor:
    *_, end = states
    return end.x


def assert_holds(x: Tensor, result: dict[str, Any], bound: float) -> None:
    """The project's measure: difference over the larger of the reference itself and its mean size."""
    mean = result["mean_abs"]
    flat = x.double()
    assert abs(float(flat.abs().mean()) - mean) <= bound * mean
    for key, values in (("first8", flat[0, 0, 0, :8]), ("last8", flat[-1, -1, -1, -8:])):
        for value, reference in zip(values.tolist(), result[key], strict=True):
            assert abs(value - reference) <= bound * max(abs(reference), mean), key


def test_diffusers(golden: dict[str, Any]) -> None:
    seen = 0
    for case in cases(golden):
        _, levels = path_and_levels(case)
        flow = case["scheduler"].startswith("FlowMatch")
        target = FLOW if flow else TARGETS[case["config"]["prediction_type"]]
        x = ramp(torch.float32)
        if case["init"] == "init_noise_sigma":
            x = x * levels[0].sigma  # their state is x / alpha, and starts at sigma / alpha times x
        predict = denoiser(lambda x, t: x * (t / (t + 1))[:, None, None, None], target)
        if case["config"].get("clip_sample"):
            predict = clip(predict)
        row = SAMPLERS[NAMES[case["scheduler"]]]
        options = {**row.defaults, **(case["step_kwargs"] or {})}
        noise = None if case["seed"] is None else from_generator(case["seed"], torch.float32)
        assert_holds(last(row.solver(predict, x, levels, **options, noise=noise)), case["result"], 1e-4)
        seen += 1
    assert seen == 20


def test_grids_visit_the_stored_times(golden: dict[str, Any]) -> None:
    for case in cases(golden):
        path, levels = path_and_levels(case)
        ours, theirs = [level.t for level in levels[:-1]], case["timesteps_used"]
        if not isinstance(path, Flow) and case["config"].get("set_alpha_to_one") is False:
            theirs = [t for t in theirs if t > 0]  # the step from level 0 to level 0 has no length
        assert ours == pytest.approx(theirs, rel=1e-4, abs=2e-3), case["id"]


def exact(model: str) -> Callable[[Tensor, Level], Denoised]:
    """The denoisers of the k-diffusion cases, in the coordinate x0 + sigma * eps."""
    if model == "mix":
        return lambda x, p: Denoised(
            (0.09 * x + p.sigma**2 * torch.tanh(x / (0.09 + p.sigma**2))) / (0.09 + p.sigma**2)
        )
    return lambda x, p: Denoised(x * 0.25 / (0.25 + p.sigma**2))


def test_k_diffusion(golden: dict[str, Any]) -> None:
    seen = 0
    for case in golden["kdiffusion"]["cases"]:
        if case["sampler"] not in ("euler", "euler_ancestral"):
            continue
        levels = [Level(s, 1.0, s) for s in case["sigmas"]]
        row = SAMPLERS[case["sampler"].replace("ancestral", "a")]
        options = {**row.defaults, **({"eta": case["eta"]} if "eta" in case else {})}
        x = (ramp(torch.float64) * 2 - 1) * levels[0].sigma
        states = row.solver(exact(case["model"]), x, levels, **options, noise=from_generator(0, torch.float64))
        assert_holds(last(states), case["result"], 1e-9)
        seen += 1
    assert seen == 8


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("linear_1000", ("linear", 1000)),
        ("linear_1100", ("linear", 1100)),
        ("sd_scaled_linear_1000", ("scaled_linear", 1000)),
        ("squaredcos_cap_v2_1000", ("cosine", 1000)),
        ("openai_cosine_100", ("cosine", 100)),
        ("openai_cosine_4000", ("cosine", 4000)),
        ("openai_linear_4000", ("linear", 4000, 1e-4 * 1000 / 4000, 0.02 * 1000 / 4000)),
    ],
)
def test_alphas(golden: dict[str, Any], name: str, table: tuple[Any, ...]) -> None:
    stored, path = golden["schedules"][name], DiscreteVP(betas(*table))
    abar = [path.level(i).alpha ** 2 for i in stored["index"]]
    # diffusers keeps its tables in float32, and near pure noise the cosine's last beta eats the digits
    assert abar == pytest.approx(stored["alphas_cumprod"], rel=3e-5 if name.startswith("openai") else 2e-4)
