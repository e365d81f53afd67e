"""Solvers: from noise to data along a grid of levels, as generators: ``for state in solver(predict, x, levels, ...)``.

They call nothing back. Their arguments are those that `step` describes; the first order is here, `slopes` has the
classical methods, `exponential` the ones over lam, and SAMPLERS names them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .exponential import deis, er_sde, multistep, sa_solver, seeds, singlestep, unipc
from .paths import Path, require
from .predict import Predict
from .slopes import Churn as Churn
from .slopes import dpm2, euler_ge, heun, heunpp, ipndm, lms, pndm
from .slopes import euler as euler
from .step import Draw, Levels, Solver, Start, State, begin, need, split, step


def first_order(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    eta: float = 0.0,
    variance: str = "small",
    renoise: bool = False,
    plus: bool = False,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """One call of the network a step: ``x <- r x + (alpha_q - alpha_p r) x0 + std z`` from p to q with r = s / sigma_p,
    s^2 = sigma_q^2 - std^2, std = eta sigma_q sqrt(1 - rho^2), rho = (alpha_p sigma_q) / (alpha_q sigma_p). eta = 0 is
    DDIM (Song et al. 2020, arXiv:2010.02502, eq. 12), which equals Euler's method in sigma / alpha and on a flow;
    eta = 1 is DDPM with the smaller variance and equals Euler ancestral. `variance` keeps that mean and multiplies std
    by (sigma_p / sigma_q)^f: f is 0 for small, 1 for large and the network's `Denoised.spread` for learned. `renoise`
    draws all noise anew, std = sigma_q (consistency models). `plus` is CFG++ (Chung et al. 2024, arXiv:2406.08070): the
    noise that stays is that of the unconditional estimate, alpha_p r free for alpha_p r x0, which equals a scale of
    guidance of s / (1 - rho) in this step; without `Denoised.free` it changes nothing."""
    powers = {"small": 0.0, "large": 1.0, "learned": None}
    require(variance in powers, f"unknown variance {variance!r}")
    now, first, _ = begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0, spread, free = predict(now, p)
        if renoise:
            to, std = q._replace(sigma=0.0), q.sigma
        else:
            to, std = split(p, q, eta)
        now = step(now, x0, p, to)
        if plus and free is not None:
            now.add_(x0 - free, alpha=p.alpha * to.sigma / p.sigma)
        if std:
            power = powers[variance]
            if power is None:
                power = need(spread, "a learned variance")
            fresh = need(noise, "noise")(i, 0)
            now.add_(fresh * (p.sigma / q.sigma) ** power, alpha=std)
        yield State(i + 1, q, now, x0)


class Sampler(NamedTuple):
    """A row of `SAMPLERS`: a solver with its keyword arguments, the name used by other tools, and the default number of
    steps (None: every level). `eta` or `sde` among the `defaults` is the strength of fresh noise."""

    solver: Solver
    defaults: dict[str, Any]
    title: str
    steps: int | None = 25


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler(first_order, {"eta": 1.0}, "DDPM", steps=None),
    "ddim": Sampler(first_order, {"eta": 0.0}, "DDIM"),
    "euler": Sampler(first_order, {"eta": 0.0}, "Euler"),
    "euler_a": Sampler(first_order, {"eta": 1.0}, "Euler a"),
    "euler_ge": Sampler(euler_ge, {"gamma": 2.0}, "Euler GE"),
    "euler_cfg_pp": Sampler(first_order, {"eta": 0.0, "plus": True}, "Euler CFG++"),
    "euler_a_cfg_pp": Sampler(first_order, {"eta": 1.0, "plus": True}, "Euler a CFG++"),
    "euler_ge_cfg_pp": Sampler(euler_ge, {"gamma": 2.0, "plus": True}, "Euler GE CFG++"),
    "heun": Sampler(heun, {}, "Heun"),
    "heunpp2": Sampler(heunpp, {}, "Heun++ 2"),
    "dpm2": Sampler(dpm2, {}, "DPM2"),
    "dpm2_a": Sampler(dpm2, {"eta": 1.0}, "DPM2 a"),
    "lms": Sampler(lms, {}, "LMS"),
    "lms_x0": Sampler(lms, {"ends_clean": True}, "LMS x0"),
    "pndm": Sampler(pndm, {}, "PLMS"),
    "ipndm": Sampler(ipndm, {"order": 4}, "iPNDM"),
    "deis": Sampler(deis, {"order": 3}, "DEIS"),
    "dpmpp_2s_a": Sampler(singlestep, {"eta": 1.0}, "DPM++ 2S a"),
    "dpmpp_2m": Sampler(multistep, {"order": 2}, "DPM++ 2M"),
    "dpmpp_2m_cfg_pp": Sampler(multistep, {"order": 2, "lower_end": False, "plus": True}, "DPM++ 2M CFG++"),
    "dpmpp_3m": Sampler(multistep, {"order": 3}, "DPM++ 3M"),
    "dpmpp_sde": Sampler(singlestep, {"eta": 1.0, "noisy_midpoint": True}, "DPM++ SDE"),
    "dpmpp_2m_sde": Sampler(multistep, {"order": 2, "sde": 1.0}, "DPM++ 2M SDE"),
    "dpmpp_3m_sde": Sampler(multistep, {"order": 3, "sde": 1.0, "kind": "heun", "lower_end": False}, "DPM++ 3M SDE"),
    "unipc": Sampler(unipc, {"order": 2}, "UniPC"),
    "res_multistep": Sampler(multistep, {"kind": "heun", "lower_end": False}, "RES multistep"),
    "res_multistep_a": Sampler(multistep, {"sde": 1.0, "kind": "heun", "lower_end": False}, "RES multistep a"),
    "res_multistep_cfg_pp": Sampler(
        multistep, {"kind": "heun", "lower_end": False, "plus": True}, "RES multistep CFG++"
    ),
    "res_multistep_a_cfg_pp": Sampler(
        multistep, {"sde": 1.0, "kind": "heun", "lower_end": False, "plus": True}, "RES multistep a CFG++"
    ),
    "res_2s": Sampler(seeds, {"points": (1 / 2,)}, "RES 2S"),
    "exp_heun": Sampler(seeds, {"points": (1.0,)}, "Exp Heun"),
    "exp_heun_sde": Sampler(seeds, {"points": (1.0,), "sde": 1.0}, "Exp Heun SDE"),
    "seeds_2": Sampler(seeds, {"points": (1 / 2,), "phi": 1, "sde": 1.0}, "SEEDS-2"),
    "seeds_3": Sampler(seeds, {"points": (1 / 3, 2 / 3), "sde": 1.0}, "SEEDS-3"),
    "sa_solver": Sampler(sa_solver, {"order": 3, "corrector": 4, "sde": 1.0}, "SA-Solver"),
    "sa_solver_pece": Sampler(sa_solver, {"order": 3, "corrector": 4, "sde": 1.0, "pece": True}, "SA-Solver PECE"),
    "er_sde": Sampler(er_sde, {"stages": 3, "eta": 1.0}, "ER SDE"),
    "lcm": Sampler(first_order, {"renoise": True}, "LCM", steps=4),
}
