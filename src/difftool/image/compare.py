"""What a sampler's noise does: pictures from the same start, drawn several times."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..pictures import to_pixels
from .pixels import Plan, Track, batches, plan, states, untracked

if TYPE_CHECKING:
    from ..pictures import Pixels

DRAWS = 4
"""Times that each start is drawn."""


class Compared(NamedTuple):
    """One sampler's pictures and figures."""

    sampler: str
    steps: int
    network_calls: int
    """For one picture."""
    seconds: float
    """For one picture, in the batches of this run."""
    diversity: float
    """How much of the spread of all these pictures (the mean standard deviation of a pixel) is there among draws from
    the same start: 0 where the start decides everything."""
    reproduced: bool
    """Whether the first draw, made again from the same seeds, came out the same to the last bit."""
    pixels: Pixels
    """uint8 (starts, draws, H, W, C)"""
    plan: Plan


def compare(samplers: Sequence[str], *, track: Track = untracked, **settings: Any) -> list[Compared]:
    """Draws pictures from the same starts with each sampler, every start `DRAWS` times with fresh noise in the steps.

    `settings` are those of `pixels.plan`, but for `sampler`; `count` is the number of starts. Raises what `sample`
    does.
    """
    plans = [plan(sampler=sampler, **settings) for sampler in samplers]
    total = sum((DRAWS + 1) * (len(one.levels) - 1) * len(batches(one, one.settings["batch_size"])) for one in plans)
    ticks = iter(track(range(total), total))
    return [_compared(one, ticks) for one in plans]


def _compared(plan: Plan, ticks: Iterator[Any]) -> Compared:
    began = time.monotonic()
    draws = [_drawn(plan, draw, ticks) for draw in range(DRAWS)]
    seconds = (time.monotonic() - began) / (DRAWS * plan.settings["count"])
    again = _drawn(plan, 0, ticks)
    pixels = np.stack([to_pixels(x) for x in draws], axis=1)
    tones = pixels.astype(float)
    spread = tones.reshape(-1, *tones.shape[2:]).std(0).mean()
    return Compared(
        plan.settings["sampler"],
        plan.settings["steps"],
        plan.calls,
        seconds,
        float(tones.std(1).mean() / spread) if spread else 0.0,
        bool((again == draws[0]).all()),
        pixels,
        plan,
    )


def _drawn(plan: Plan, draw: int, ticks: Iterator[Any]) -> Any:
    settings, ends = plan.settings, []
    for batch in batches(plan, settings["batch_size"]):
        seeds = [settings["seed"] + k for k in batch]
        options = {key: settings[key] for key in ("sampler", "eta", "guidance")}
        fresh = [seed + (draw << 40) for seed in seeds]  # draw 0 is the picture that `sample` draws
        x = None
        for state in states(plan.model, plan.levels, seeds, [plan.labels[k] for k in batch], **options, fresh=fresh):
            if state.i:
                next(ticks)
            x = state.x
        ends.append(x)
    return torch.cat(ends)
