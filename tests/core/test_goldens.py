"""The samplers against stored runs of the code that users know: diffusers, Tortoise, stable-diffusion.cpp (float32),
k-diffusion, ComfyUI and EDM (float64)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from difftool.core import (
    CLEAN,
    EDM,
    EPS,
    FLOW,
    SAMPLERS,
    Denoised,
    DiscreteVP,
    Flow,
    Karras,
    Level,
    Path,
    Predict,
    State,
    V,
    betas,
    cfg,
    clip,
    deis,
    denoiser,
    edm_scale,
    first_order,
    grid,
    heun,
    solve,
)

NAMES = {
    "DDPMScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_a",
    "FlowMatchEulerDiscreteScheduler": "euler",
    "HeunDiscreteScheduler": "heun",
    "FlowMatchHeunDiscreteScheduler": "heun",
    "KDPM2DiscreteScheduler": "dpm2",
    "KDPM2AncestralDiscreteScheduler": "dpm2_a",
    "LMSDiscreteScheduler": "lms",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "UniPCMultistepScheduler": "unipc",
}
UPSTREAM_BUGS = ("x_ddim10_sd_linspace", "x_dpm_sde10", "x_unipc2_10_sd_bh1")
"""DDIM on linspace steps by T // n instead of its own grid, the Brownian tree is another package's random numbers,
and bh1 is NaN."""
TARGETS = {"epsilon": EPS, "v_prediction": V, "flow_prediction": FLOW}
KINDS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}


def ramp(dtype: torch.dtype) -> Tensor:
    """The dummy sample of the file: (4, 3, 8, 8), from 0 to 1."""
    return (torch.arange(768, dtype=dtype).reshape(3, 8, 8, 4) / 768).permute(3, 0, 1, 2)


def cases(golden: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for case in golden["cases"]:
        if not case["id"].startswith(UPSTREAM_BUGS):
            yield case


def path_and_levels(case: dict[str, Any]) -> tuple[Path, list[Level]]:
    config, n, name = case["config"], case["num_inference_steps"], case["scheduler"]
    if name.startswith("FlowMatch"):
        path = Flow(clock=lambda s: 1000 * s)
        if "shift1.0" in case["id"]:
            return path, grid(path, n, case["id"].rpartition("_")[2])
        # shift 3 is applied twice here, which is no rule of ours
        return path, [Level(1000 * s, 1 - s, s) for s in dict.fromkeys(case["sigmas"])]
    if config.get("use_flow_sigmas"):
        path = Flow(config["flow_shift"], clock=lambda s: float(int(1000 * s)))
        if name.startswith("UniPC"):
            return path, _without_last(path, n)
        return path, grid(path, n, start=0.999)
    ends = () if config["beta_schedule"] == "squaredcos_cap_v2" else (config["beta_start"], config["beta_end"])
    path = DiscreteVP(betas(KINDS[config["beta_schedule"]], config["num_train_timesteps"], *ends))
    path = path.zero_snr() if config.get("rescale_betas_zero_snr") else path
    end = path.level(0) if config.get("set_alpha_to_one") is False else CLEAN
    named = [rule for rule in ("karras", "exponential", "beta") if config.get(f"use_{rule}_sigmas")]
    spacing = "lu" if config.get("use_lu_lambdas") else [*named, config["timestep_spacing"]][0]
    multistep = name in ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
    if multistep and spacing == "linspace":
        return path, _without_last(path, n)
    levels = grid(path, n, spacing, end=end)
    if multistep:  # these tell the network whole times, though their levels lie between
        whole = int if spacing in ("exponential", "beta") else round
        levels = [level._replace(t=float(whole(level.t - 1e-6 if level.t else 0))) for level in levels]
    return path, levels


def _without_last(path: Path, n: int) -> list[Level]:
    """The grid of diffusers' multistep schedulers: n + 1 points from end to end in whole times, the last left out."""
    levels = grid(path, n + 1, "linspace")[:-2]
    if path.discrete:
        return [*(path.level(round(level.t)) for level in levels), CLEAN]
    return [Level(999.0, 1e-6, 1 - 1e-6), *levels[1:], CLEAN]  # they keep off pure noise


def from_generator(
    seed: int, dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (4, 3, 8, 8)
) -> Callable[[int, int], Tensor]:
    """The random numbers of the stored run, in its order."""
    generator = torch.Generator().manual_seed(seed)
    return lambda i, j: torch.randn(shape, generator=generator, dtype=dtype)


def last(states: Iterator[State]) -> Tensor:
    *_, end = states
    return end.x


def difference(x: Tensor, result: dict[str, Any]) -> float:
    """The project's measure: difference over the larger of the reference itself and its mean size."""
    mean = result["mean_abs"]
    flat = x.double()
    worst = abs(float(flat.abs().mean()) - mean) / mean
    ends = {"first8": flat[(0,) * (x.ndim - 1)][:8], "last8": flat[(-1,) * (x.ndim - 1)][-8:]}
    for key, values in ends.items():
        for value, reference in zip(values.tolist(), result[key], strict=True):
            worst = max(worst, abs(value - reference) / max(abs(reference), mean))
    return worst


def test_diffusers(golden: dict[str, Any]) -> None:
    seen = 0
    for case in cases(golden):
        config, dtype = case["config"], torch.float32
        path, levels = path_and_levels(case)
        name = NAMES[case["scheduler"]]
        target = FLOW if case["scheduler"].startswith("FlowMatch") else TARGETS[config["prediction_type"]]
        x = ramp(dtype)
        if case["init"] == "init_noise_sigma":
            x = x * levels[0].sigma  # their state is x / alpha, and starts at sigma / alpha times x
        predict = denoiser(lambda x, t: x * (t / (t + 1))[:, None, None, None], target)
        if config.get("clip_sample"):
            predict = clip(predict)
        row = SAMPLERS["dpmpp_2m_sde" if config.get("algorithm_type") == "sde-dpmsolver++" else name]
        options = {**row.defaults, **(case["step_kwargs"] or {})}
        if name in ("dpmpp_2m", "unipc"):
            options["order"] = config["solver_order"]
        if name == "dpmpp_2m":
            options["kind"] = config["solver_type"]
        noise = None if case["seed"] is None else from_generator(case["seed"], dtype)
        end = last(row.solver(predict, x, levels, **options, noise=noise, path=path))
        assert difference(end, case["result"]) <= 1e-4, case["id"]
        seen += 1
    assert seen == 44


LINEAR, STABLE = DiscreteVP(betas("linear")), DiscreteVP(betas("scaled_linear"))


@pytest.mark.parametrize(
    ("name", "path", "levels", "options", "total"),
    [
        ("pndm", LINEAR, grid(LINEAR, 10, "leading", end=LINEAR.level(0)), {}, 198.1318),
        ("ddpm", LINEAR, grid(LINEAR, 1000), {"clipped": True}, 258.9606),
        ("ddim", LINEAR, grid(LINEAR, 10, "leading"), {"clipped": True}, 172.0067),
        ("lcm", STABLE, grid(STABLE, 1), {}, 18.7097),
        ("lcm", STABLE, grid(STABLE, 10), {}, 197.7616),
        ("dpmpp_2m", LINEAR, [*_without_last(LINEAR, 10)[:-1], LINEAR.level(0)], {"lower_end": False}, 253.5514),
        ("unipc", LINEAR, [*_without_last(LINEAR, 10)[:-1], LINEAR.level(0)], {}, 189.2318),
    ],
)
def test_figures_that_diffusers_publishes(
    name: str, path: Path, levels: list[Level], options: dict[str, Any], total: float
) -> None:
    """Sums of |x| in its own tests, or its output for the settings of these, where no case is stored."""
    predict = denoiser(lambda x, t: x * (t / (t + 1))[:, None, None, None], EPS)
    predict = clip(predict) if options.get("clipped") else predict
    options = {**SAMPLERS[name].defaults, **{key: value for key, value in options.items() if key != "clipped"}}
    states = SAMPLERS[name].solver(predict, ramp(torch.float32), levels, **options, noise=from_generator(0), path=path)
    assert float(last(states).double().abs().sum()) == pytest.approx(total, rel=1e-5)


def test_the_figure_that_diffusers_publishes_for_edm() -> None:
    """EDMEulerScheduler, sigma 80 to 0.002 in 10 steps: the network is fed x in units of unit variance."""
    levels = grid(Karras(), 10)
    predict = denoiser(lambda x, t: x * (t / (t + 1))[:, None, None, None], EDM(), scale=edm_scale())
    end = last(first_order(predict, ramp(torch.float32) * math.sqrt(80**2 + 1), levels))
    assert float(end.double().abs().sum()) == pytest.approx(34.1855, rel=1e-5)


def test_grids_visit_the_stored_times(golden: dict[str, Any]) -> None:
    for case in cases(golden):
        path, levels = path_and_levels(case)
        ours, theirs = [level.t for level in levels[:-1]], list(dict.fromkeys(case["timesteps_used"]))
        if case["scheduler"].startswith("KDPM2"):  # these list the midpoints too, and round karras
            theirs = case["timesteps_used"][::2]
            ours = [float(round(t)) for t in ours]
        if not isinstance(path, Flow) and case["config"].get("set_alpha_to_one") is False:
            theirs = [t for t in theirs if t > 0]  # the step from level 0 to level 0 has no length
        assert ours == pytest.approx(theirs, rel=2e-4, abs=2e-3), case["id"]


def exact(model: str) -> Predict:
    """The denoisers of the k-diffusion and EDM cases: of 0.5 N(-1, 0.3^2) + 0.5 N(1, 0.3^2), and of N(0, 0.5^2)."""

    def predict(x: Tensor, p: Level) -> Denoised:
        y = p.alpha * x
        if model == "mix":
            total = 0.09 * p.alpha**2 + p.sigma**2
            return Denoised((0.09 * y + p.sigma**2 * torch.tanh(y / total)) / total)
        return Denoised(0.25 * y / (0.25 * p.alpha**2 + p.sigma**2))

    return predict


def test_k_diffusion(golden: dict[str, Any]) -> None:
    seen = 0
    for case in golden["kdiffusion"]["cases"]:
        if case["sampler"] in ("dpm_fast", "dpm_adaptive"):
            continue
        path = Karras(case["sigmas"][-2], case["sigmas"][0])
        levels = grid(path, 10, "exponential" if "exponential" in case["id"] else "karras")
        assert [level.sigma for level in levels] == pytest.approx(case["sigmas"], rel=1e-12)
        row = SAMPLERS[case["sampler"].replace("ancestral", "a").replace("dpm_2", "dpm2")]
        options = dict(row.defaults)
        if "eta" in case:
            options["sde" if "sde" in options else "eta"] = case["eta"]
        x = (ramp(torch.float64) * 2 - 1) * levels[0].sigma
        noise = from_generator(0, torch.float64)
        end = last(row.solver(exact(case["model"]), x, levels, **options, noise=noise, path=path))
        assert difference(end, case["result"]) <= 1e-9, case["id"]
        seen += 1
    assert seen == 48


def test_grids_of_k_diffusion(golden: dict[str, Any]) -> None:
    stored = golden["kdiffusion"]["grids_float32"]
    path = Karras(0.0291675, 14.614642)
    for name, made in {
        "karras10": grid(path, 10),
        "exponential10": grid(path, 10, "exponential"),
        "polyexp10_rho1_5": grid(path, 10, "polyexponential", rho=1.5),
    }.items():
        assert [level.sigma for level in made] == pytest.approx(stored[name], rel=1e-6)


class TestEDM:
    """The samplers of Karras et al. 2022, with the discretizations and schedules of its table 1."""

    ENDS: ClassVar = {"ve": (0.02, 100.0), "iddpm": (0.002, 81.0), "edm": (0.002, 80.0)}

    @staticmethod
    def vp(time: float, slope: float = 19.9, low: float = 0.1) -> float:
        return math.sqrt(math.expm1(slope * time**2 / 2 + low * time))

    def sigmas(self, kind: str, n: int) -> list[float]:
        shares = [i / (n - 1) for i in range(n)]
        if kind == "vp":
            return [self.vp(1 + share * (1e-3 - 1)) for share in shares]
        lo, hi = self.ENDS[kind]
        if kind == "ve":
            return [hi * (lo / hi) ** share for share in shares]
        if kind == "edm":
            return [(hi ** (1 / 7) + share * (lo ** (1 / 7) - hi ** (1 / 7))) ** 7 for share in shares]
        abar = (0.5 * math.pi * torch.arange(1001) / 1000 / 1.008).sin() ** 2  # in float32, as the stored run
        us = [0.0]
        for j in range(1000, 0, -1):
            us.insert(0, math.sqrt((us[0] ** 2 + 1) / max(float(abar[j - 1] / abar[j]), 0.001) - 1))
        us = [u for u in us if lo <= u <= hi]
        return [us[round((len(us) - 1) * share)] for share in shares]

    def levels_and_chart(self, case: dict[str, Any]) -> tuple[list[Level], Any]:
        sigmas = self.sigmas(case["discretization"], case["num_steps"])
        if case["scaling"] == "none":
            levels = [*(Level(0.0, 1.0, sigma) for sigma in sigmas), CLEAN]
            if case["schedule"] == "linear":
                return levels, 0.0
            return levels, lambda level: (1.0, level.sigma**2, 0.0, 0.5 / level.sigma if level.sigma else math.inf)
        lo, hi = self.ENDS.get(case["discretization"], (self.vp(1e-3), self.vp(1.0)))
        grown = [math.log(sigma**2 + 1) for sigma in (lo, hi)]  # not log1p: the rounding shows
        slope = 2 * (grown[0] / 1e-3 - grown[1]) / (1e-3 - 1)
        low = grown[1] - slope / 2

        def chart(level: Level) -> tuple[float, float, float, float]:
            k, s, time = level.sigma / level.alpha, level.alpha, level.t
            dk = (slope * time + low) * (k**2 + 1) / (2 * k) if k else math.inf
            ds = -k * dk * s**3 if k else 0.0
            return 1.0, time, ds, ds * k + s * dk

        clocks = [(math.sqrt(low**2 + 2 * slope * math.log(sigma**2 + 1)) - low) / slope for sigma in sigmas]
        sigmas = [math.sqrt(math.exp(slope * t**2 / 2 + low * t) - 1) for t in clocks]
        scales = [1 / math.sqrt(1 + sigma**2) for sigma in sigmas]
        return [*(Level(t, s, s * k) for t, s, k in zip(clocks, scales, sigmas, strict=True)), CLEAN], chart

    def test_heun(self, golden: dict[str, Any]) -> None:
        seen = 0
        for case in golden["edm"]["cases"]:
            if "solver" in case:
                continue
            levels, calls = grid(Karras(), case["num_steps"]), []
            predict = exact(case["model"])
            x = (ramp(torch.float64) * 2 - 1) * 80
            end = last(heun(lambda x, p: calls.append(p) or predict(x, p), x, levels))  # noqa: B023
            assert difference(end, case["result"]) <= 1e-9, case["id"]
            assert len(calls) == case["nfe"]
            seen += 1
        assert seen == 4

    def test_ablations(self, golden: dict[str, Any]) -> None:
        seen = 0
        for case in golden["edm"]["cases"]:
            if "solver" not in case:
                continue
            levels, chart = self.levels_and_chart(case)
            x = (ramp(torch.float64) * 2 - 1) * levels[0].sigma
            end = last(getattr(solve, case["solver"])(exact(case["model"]), x, levels, chart=chart))
            # where t -> sigma -> t rounds, the stored run drew noise of the size sqrt(rounding): 2e-8 in these two
            bound = 1e-7 if case["id"].startswith("edm_ablation_edm_vp_vp") else 1e-9
            assert difference(end, case["result"]) <= bound, case["id"]
            seen += 1
        assert seen == 24


def test_tortoise(golden: dict[str, Any]) -> None:
    """Learned variance, guidance that grows towards the end, OpenAI's respacing of 4,000 levels, and clipping."""
    path = DiscreteVP(betas("linear", 4000, 1e-4 / 4, 0.02 / 4))

    def net(x: Tensor, t: Tensor, free: bool = False) -> Tensor:
        eps = x * (t / (t + 1))[:, None, None]
        return torch.cat([0.5 * eps + 0.1 if free else eps, x.clamp(-1, 1)], dim=1)

    for case in golden["tortoise"]["cases"]:
        n = case["steps"]
        levels = grid(path, n, "openai")
        index = {level.t: n - 1 - i for i, level in enumerate(levels[:-1])}
        k = case["cond_free_k"] if case["cond_free"] else 0.0
        cond = denoiser(net, EPS, learned_range=True)
        free = denoiser(net, EPS, learned_range=True, cond={"free": True})
        predict = clip(cfg(cond, free, lambda p: 1 + k * (1 - index[p.t] / n)))  # noqa: B023
        x = (torch.arange(4800, dtype=torch.float32) / 4800 * 2 - 1).reshape(1, 100, 48)
        noise = from_generator(0, torch.float32, (1, 100, 48))
        options = {**SAMPLERS[case["sampler"]].defaults, "variance": "learned"}
        end = last(first_order(predict, x, levels, **options, noise=noise))
        assert difference(end, case["result"]) <= 1e-4, case["id"]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("linear_1000", ("linear", 1000)),
        ("linear_1100", ("linear", 1100)),
        ("sd_scaled_linear_1000", ("scaled_linear", 1000)),
        ("squaredcos_cap_v2_1000", ("cosine", 1000)),
        ("openai_cosine_100", ("cosine", 100)),
        ("openai_cosine_1000", ("cosine", 1000)),
        ("openai_cosine_4000", ("cosine", 4000)),
        ("openai_linear_100", ("linear", 100, 1e-4 * 10, 0.02 * 10)),
        ("openai_linear_1000", ("linear", 1000)),
        ("openai_linear_4000", ("linear", 4000, 1e-4 / 4, 0.02 / 4)),
        ("lucidrains_linear_1000", ("linear", 1000)),
        ("lucidrains_cosine_1000", ("cosine", 1000)),
        ("lucidrains_sigmoid_1000", ("sigmoid", 1000)),
    ],
)
def test_alphas(golden: dict[str, Any], name: str, table: tuple[Any, ...]) -> None:
    stored, path = golden["schedules"][name], DiscreteVP(betas(*table))
    abar = [path.level(i).alpha ** 2 for i in stored["index"]]
    # diffusers keeps its tables in float32 and lucidrains its sigmoid's ends; near pure noise the last beta eats digits
    precise = name.startswith(("openai", "lucidrains")) and "sigmoid" not in name
    assert abar == pytest.approx(stored["alphas_cumprod"], rel=1e-9 if precise else 2e-4)


def test_zero_terminal_snr(golden: dict[str, Any]) -> None:
    stored, path = golden["schedules"]["sd_scaled_linear_1000_ztsnr"], DiscreteVP(betas("scaled_linear")).zero_snr()
    abar = [path.level(i).alpha ** 2 for i in stored["index"]]
    assert abar == pytest.approx(stored["alphas_cumprod"], rel=2e-4)
    assert path.level(999) == Level(999.0, 0.0, 1.0)


def test_openai_respacing(golden: dict[str, Any]) -> None:
    for name, steps in golden["openai_space_timesteps"].items():
        total, _, rule = name.partition(":")
        path = DiscreteVP(betas("linear", int(total)))
        if rule.startswith("ddim"):
            levels = grid(path, int(rule[4:]), "ddim")
        else:
            levels = grid(path, [int(count) for count in rule.strip("[]").split(",")], "openai")
        assert [level.t for level in reversed(levels[:-1])] == steps, name


def test_align_your_steps(golden: dict[str, Any]) -> None:
    path = DiscreteVP(betas("scaled_linear"))
    for spacing, name in (("ays", "StableDiffusion"), ("ays_sdxl", "StableDiffusionXL")):
        levels = grid(path, 10, spacing)
        assert [p.sigma / p.alpha for p in levels] == pytest.approx(golden["ays"][f"{name}Sigmas"], rel=1e-4)
        assert [p.t for p in levels[:-1]] == pytest.approx(golden["ays"][f"{name}Timesteps"], abs=0.6)


def test_grids_of_f5(golden: dict[str, Any]) -> None:
    stored, path = golden["f5"], Flow(clock=lambda s: 1 - s)
    assert [level.t for level in grid(path, 32, "sway")[:-1]] == pytest.approx(stored["sway_32_cminus1"][:-1])
    for n, times in stored["epss"].items():
        assert [level.t for level in grid(path, int(n), "epss")[:-1]] == [k / 32 for k in times[:-1]]


def test_sway_of_f5_on_top_of_its_tables() -> None:
    """As f5-tts does with 5, 6, 7, 10, 12 and 16 steps."""
    path = Flow(clock=lambda s: 1 - s, sway=-1.0)
    times = [level.alpha for level in grid(path, 7, "epss")]
    assert times == pytest.approx([0, 0.00482, 0.01921, 0.04306, 0.07612, 0.29289, 0.61732, 1], abs=5e-6)
    straight = Flow(clock=lambda s: 1 - s)
    for n in (5, 6, 10, 12, 16):
        table = [level.t for level in grid(straight, n, "epss")]
        swayed = [1 - math.cos(math.pi / 2 * t) for t in table[:-1]]
        assert [level.t for level in grid(path, n, "epss")[:-1]] == pytest.approx(swayed, abs=1e-12)
    for found, wanted in zip(grid(path, 32, "trailing"), grid(straight, 32, "sway"), strict=True):
        assert found == pytest.approx(wanted, abs=1e-12)


STORED = json.loads((FilePath(__file__).parents[1] / "golden" / "samplers2.json").read_text())
"""`meta` in the file says how its cases were made, and `no_reference` which are none for this engine."""
ROWS = {
    "gradient_estimation": "euler_ge",
    "res_multistep_ancestral": "res_multistep_a",
    "gradient_estimation_cfg_pp": "euler_ge_cfg_pp",
    "res_multistep_ancestral_cfg_pp": "res_multistep_a_cfg_pp",
    "euler_ancestral_cfg_pp": "euler_a_cfg_pp",
    "exp_heun_2_x0": "exp_heun",
    "exp_heun_2_x0_sde": "exp_heun_sde",
}
"""Rows under another name there."""
OPTIONS = {
    "ge_gamma": "gamma",
    "gamma": "gamma",
    "max_order": "order",
    "max_stage": "stages",
    "predictor_order": "order",
    "corrector_order": "corrector",
    "simple_order_2": "simple",
}
"""Our names of options."""


def addressed(i: int, j: int) -> Tensor:
    """The noise of the second file."""
    generator = torch.Generator().manual_seed(1000 * i + j)
    return torch.randn((4, 3, 8, 8), generator=generator, dtype=torch.float64)


def references(section: list[dict[str, Any]]) -> list[Any]:
    kept = [case for case in section if "no_reference" not in case]
    return [pytest.param(case, id=case["id"]) for case in kept]


def options_of(case: dict[str, Any], name: str) -> dict[str, Any]:
    options = {**SAMPLERS[name].defaults, **{OPTIONS[key]: case[key] for key in OPTIONS.keys() & case.keys()}}
    if "eta" in case and name != "euler_ge":
        options["eta" if "eta" in options else "sde"] = case["eta"]
    if "tau" in case:
        strength = case["tau"] ** 2
        low, high = sorted(case.get("tau_sigmas", (0, math.inf)))
        options["sde"] = lambda p: strength if low <= p.sigma <= high else 0.0
    if "scaler" in case:
        options["growth"] = lambda k: k ** (case["scaler"] - 1)
    return options


@pytest.mark.parametrize("case", references(STORED["kdiffusion"]["cases"] + STORED["sdcpp"]["cases"]))
def test_comfyui_and_stable_diffusion_cpp(case: dict[str, Any]) -> None:
    """The end, and what the network saw at each of its calls."""
    sampler = case.get("also", case["sampler"])
    name = ROWS.get(sampler, sampler)
    is_flow = case["path"] == "flow"
    sigmas = [case.get("first_sigma_used", case["sigmas"][0]), *case["sigmas"][1:]]
    levels = [Level(sigma, 1 - sigma if is_flow else 1.0, sigma) for sigma in sigmas]
    towards, _, away = case["model"].partition("|")
    seen = []

    def predict(x: Tensor, p: Level) -> Denoised:
        seen.append((p.sigma, float(x.abs().mean())))
        if away:
            return cfg(exact(towards), exact(away), case["cfg"], keep=True)(x, p)
        return exact(towards)(x, p)

    x = (ramp(torch.float64) * 2 - 1) * case["sigmas"][0]
    path = Flow() if is_flow else Karras()
    solver = SAMPLERS[name].solver
    end = last(solver(predict, x, levels, **options_of(case, name), noise=addressed, path=path))
    tolerance = case.get("tolerance", 1e-9)
    assert difference(end, case["result"]) <= tolerance
    assert seen == [pytest.approx(call, rel=tolerance) for call in case["calls"]]


@pytest.mark.parametrize("case", references(STORED["cases"]))
def test_more_of_diffusers(case: dict[str, Any]) -> None:
    """The end, and the state after each step."""
    config, n = case["config"], case["num_inference_steps"]
    path = DiscreteVP(betas("scaled_linear"))
    levels = grid(path, n, "trailing") if config["timestep_spacing"] == "trailing" else _without_last(path, n)
    predict = denoiser(lambda x, t: x * (t / (t + 1))[:, None, None, None], TARGETS[config["prediction_type"]])
    x = ramp(torch.float32)
    if case["scheduler"] == "DEISMultistepScheduler":  # which ends at the cleanest level
        runs = deis(predict, x, [*levels[:-1], path.level(0)], order=config["solver_order"])
    else:
        runs = first_order(predict, x, levels, eta=1.0, noise=lambda i, j: addressed(i, j).float())
    states = list(runs)
    assert [level.t for level in levels[:-1]] == case["timesteps_used"]
    assert difference(states[-1].x, case["result"]) <= 1e-4
    assert [float(state.x.double().abs().mean()) for state in states] == pytest.approx(case["steps"], rel=1e-4)


def test_how_many_cases_are_references() -> None:
    counts = [len(references(STORED[part]["cases"])) for part in ("kdiffusion", "sdcpp")]
    assert [len(references(STORED["cases"])), *counts] == [9, 106, 20]
