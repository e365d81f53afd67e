"""What the engine itself costs: 1,000 steps with a network that costs nothing, against diffusers' schedulers and
against plain code in the style of k-diffusion.

    python bench/solve.py

All keep the state in float32 on the CPU and make 1,000 steps on Stable Diffusion's path. Each pair visits the same
levels and ends in the same tensor (checked), but for the three whose scheduler has an end or a grid of its own. Rounds
alternate; a figure is the median of the ratios of neighbouring rounds. diffusers is given the network's output, ours
goes through `denoiser`; the plain code and ours are both given the clean data.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_deis_multistep import DEISMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_ipndm import IPNDMScheduler
from diffusers.schedulers.scheduling_sasolver import SASolverScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from difftool.core import EPS, SAMPLERS, Denoised, DiscreteVP, Karras, Level, State, betas, denoiser, grid

STEPS, SHAPE, ROUNDS = 1000, (1, 4, 64, 64), 9
STABLE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "timestep_spacing": "trailing"}
SCHEDULERS = {
    "ddim": lambda: DDIMScheduler(clip_sample=False, **STABLE),
    "euler": lambda: EulerDiscreteScheduler(**STABLE),
    "dpmpp_2m": lambda: DPMSolverMultistepScheduler(**STABLE),
    "unipc": lambda: UniPCMultistepScheduler(**STABLE),
    "deis": lambda: DEISMultistepScheduler(solver_order=3, **STABLE),
    "ipndm": lambda: IPNDMScheduler(),
    "sa_solver": lambda: SASolverScheduler(predictor_order=3, corrector_order=4, **STABLE),
}
OWN_END = ("deis", "ipndm", "sa_solver")


def ours(name: str, x: Tensor, out: Tensor) -> Tensor:
    levels = grid(DiscreteVP(betas("scaled_linear")), STEPS)
    row, z = SAMPLERS[name], torch.randn(SHAPE)
    options = {**row.defaults, "noise": lambda i, j: z}
    return last(row.solver(denoiser(lambda x, t: out, EPS), x, levels, **options))


def last(states: Iterator[State]) -> Tensor:
    state = None
    for state in states:  # noqa: B007
        pass
    assert state is not None
    return state.x


def theirs(name: str, x: Tensor, out: Tensor) -> Tensor:
    scheduler = SCHEDULERS[name]()
    scheduler.set_timesteps(STEPS)
    if name == "euler":  # whose state is x / alpha
        x = x / scheduler.alphas_cumprod[-1].sqrt()
    for t in scheduler.timesteps:
        if name == "euler":
            scheduler.scale_model_input(x, t)
        x = scheduler.step(out, t, x).prev_sample
    return x


def bare(name: str, x: Tensor, x0: Tensor, levels: list[Level], noise: Callable[[int, int], Tensor]) -> Tensor:
    row, twins = SAMPLERS[name], itertools.cycle([x0, x0.clone()])  # no network returns one tensor twice
    return last(row.solver(lambda x, p: Denoised(next(twins)), x, levels, **row.defaults, noise=noise, path=Karras()))


def plain(name: str, x: Tensor, x0: Tensor, levels: list[Level], noise: Callable[[int, int], Tensor]) -> Tensor:
    """The samplers as one writes them down in sigma."""
    sigmas, old, last = [level.sigma for level in levels], None, 0.0
    for i in range(len(sigmas) - 1):
        s, q = sigmas[i], sigmas[i + 1]
        d = (x - x0) / s
        if name == "euler_a":
            up = min(q, (q**2 * (s**2 - q**2) / s**2) ** 0.5)
            x = x + d * ((q**2 - up**2) ** 0.5 - s)
            if q:
                x = x + noise(i, 0) * up
        elif name == "heun" and q:
            ahead = x + d * (q - s)
            x = x + (d + (ahead - x0) / q) / 2 * (q - s)
        elif name == "dpm2" and q:
            mid = math.sqrt(s * q)
            half = x + d * (mid - s)
            x = x + (half - x0) / mid * (q - s)
        elif name == "dpmpp_2m" and q:
            h = math.log(s / q)
            bent = x0 if old is None else (1 + h / (2 * last)) * x0 - h / (2 * last) * old
            x = q / s * x - math.expm1(-h) * bent
            old, last = x0, h
        else:
            x = x + d * (q - s)
    return x


def compared(one: Callable[[], Tensor], other: Callable[[], Tensor]) -> tuple[float, float, float, float]:
    """(milliseconds of each, the ratio, the relative difference of what they make)."""

    def seconds(run: Callable[[], Tensor]) -> float:
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    a, b = one(), other()
    pairs = [(seconds(one), seconds(other)) for _ in range(ROUNDS)]
    times = [statistics.median(pair[k] for pair in pairs) * 1000 for k in range(2)]
    return times[0], times[1], statistics.median(a / b for a, b in pairs), float((a - b).norm() / b.norm())


@torch.inference_mode()
def main() -> None:
    x, out = torch.randn(SHAPE), torch.randn(SHAPE)
    print(f"{STEPS} steps on {SHAPE}, in ms: difftool, the other, the ratio, the difference of the results")
    for name in SCHEDULERS:
        a, b, ratio, error = compared(lambda: ours(name, x, out), lambda: theirs(name, x, out))  # noqa: B023
        same = "" if name in OWN_END else f"{error:.0e}"
        print(f"{name:9} {a:6.1f}  diffusers {b:6.1f}  {ratio:.2f}  {same}")
    levels, z = grid(Karras(0.03, 14.6), STEPS), torch.randn(SHAPE)
    for name in ("euler", "euler_a", "heun", "dpm2", "dpmpp_2m"):
        args = (name, x * levels[0].sigma, out, levels, lambda i, j: z)
        a, b, ratio, error = compared(lambda: bare(*args), lambda: plain(*args))  # noqa: B023
        print(f"{name:9} {a:6.1f}  plain     {b:6.1f}  {ratio:.2f}  {error:.0e}")


if __name__ == "__main__":
    main()
