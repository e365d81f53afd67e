"""What the engine itself costs: 1,000 DDIM steps with a network that costs nothing, against diffusers' DDIMScheduler.

    python bench/solve.py

Both keep the state in float32 on the CPU, take the same betas and the same 1,000 trailing steps, and end in the same
tensor (checked). Rounds alternate; the figure is the median of the ratios of neighbouring rounds.
"""

from __future__ import annotations

import statistics
import time

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from difftool.core import EPS, DiscreteVP, betas, denoiser, first_order, grid

STEPS, SHAPE, ROUNDS = 1000, (1, 4, 64, 64), 11


def ours(x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    levels = grid(DiscreteVP(betas("scaled_linear")), STEPS)
    *_, state = first_order(denoiser(lambda x, t: out, EPS), x, levels)
    return state.x


def theirs(x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        x = scheduler.step(out, t, x).prev_sample
    return x


def seconds(run, x: torch.Tensor, out: torch.Tensor) -> float:
    began = time.perf_counter()
    run(x, out)
    return time.perf_counter() - began


@torch.inference_mode()
def main() -> None:
    x, out = torch.randn(SHAPE), torch.randn(SHAPE)
    error = float((ours(x, out) - theirs(x, out)).norm() / theirs(x, out).norm())
    pairs = [(seconds(ours, x, out), seconds(theirs, x, out)) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{STEPS} DDIM steps on {SHAPE}, relative difference of the results {error:.1e}")
    print(f"difftool  {statistics.median(a for a, _ in pairs) * 1000:7.1f} ms")
    print(f"diffusers {statistics.median(b for _, b in pairs) * 1000:7.1f} ms")
    print(f"ratio     {ratio:7.3f}")


if __name__ == "__main__":
    main()
