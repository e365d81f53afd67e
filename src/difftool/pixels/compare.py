"""What a sampler's noise does: pictures from the same starts, each drawn several times."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np

from ..errors import DifftoolError, Exit
from ..files import manifest
from ..pictures.plots import plot_compared
from ..pictures.sheets import to_pixels
from ..progress import Track, untracked
from ..sampling import aliases
from ..settings import manifest_of
from .draw import ended, walk
from .plan import Plan, planned
from .settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from ..pictures import Pixels

STARTS, DRAWS = 4, 4
"""Starts where nobody says how many, and times that each is drawn."""
SHOWN = 6
"""Starts in the figure."""


class Row(TypedDict):
    """A sampler in the table of a comparison."""

    name: str
    sampler: str | None
    steps: int | None
    schedule: str | None
    eta: float | None
    network_calls: int
    seconds: float
    diversity: float
    reproduced: bool


class Compared(NamedTuple):
    """One sampler's pictures and figures."""

    name: str
    """The sampler's, with the schedule and the eta that came with the name it was given by."""
    plan: Plan
    seconds: float
    """For one picture, in the batches of this run."""
    diversity: float
    """How much of the spread of all these pictures (the mean standard deviation of a pixel) is there among draws from
    the same start: 0 where the start decides everything."""
    reproduced: bool
    """Whether the first draw, made again from the same seeds, came out the same to the last bit."""
    pixels: Pixels
    """uint8 (starts, draws, H, W, C)"""

    @property
    def row(self) -> Row:
        """Its figures, rounded."""
        settings = self.plan.settings
        return {
            "name": self.name,
            "sampler": settings.sampler,
            "steps": settings.steps,
            "schedule": settings.schedule,
            "eta": settings.eta,
            "network_calls": self.plan.calls,
            "seconds": round(self.seconds, 5),
            "diversity": round(self.diversity, 4),
            "reproduced": self.reproduced,
        }

    @property
    def caption(self) -> str:
        calls, milliseconds = f"{self.plan.calls} calls", f"{self.seconds * 1000:.1f} ms"
        return f"{self.name}: {calls}\ndiversity {self.diversity:.0%}, {milliseconds}"


def plans(samplers: Sequence[str], settings: Settings) -> dict[str, Plan]:
    """The plan for each of these samplers, by its name in our words; `settings.count` is at least 2."""
    settings = replace(settings, count=STARTS if settings.count is None else settings.count)
    if settings.count < 2:  # type: ignore[operator]
        raise DifftoolError(Exit.USAGE, "a comparison needs at least 2 starts", "leave out --count")
    return {str(aliases.sampler(name)): planned(replace(settings, sampler=name)) for name in samplers}


def compare(samplers: Sequence[str], *, track: Track = untracked, **settings: Any) -> list[Compared]:
    """Draws pictures from the same starts with each sampler, every start `DRAWS` times with fresh noise in the steps.
    `settings` are the fields of `Settings`, of which `count` is the number of starts, at least 2. Raises what `sample`
    does."""
    return compared(samplers, Settings(**settings), track=track)


def compared(samplers: Sequence[str], settings: Settings, *, track: Track = untracked) -> list[Compared]:
    """`compare` with settings."""
    wanted = plans(samplers, settings)
    total = sum((DRAWS + 1) * one.steps for one in wanted.values())
    ticks = iter(track(range(total), total))
    found = [_measured(name, one, ticks) for name, one in wanted.items()]
    next(ticks, None)  # lets the tracker see its end
    return found


def write(path: Path, results: Sequence[Compared], run_id: str) -> Mapping[str, object]:
    """Writes the figure of a comparison, and returns the settings that all samplers had."""
    first = results[0].plan
    own = ("sampler", "steps", "schedule", "eta")
    common = {key: value for key, value in manifest_of(first.settings).items() if key not in own}
    note = manifest("compare", run_id, {**common, "draws": DRAWS}, first.model.packages)
    blocks = [(result.caption, result.pixels[:SHOWN]) for result in results]
    title = "a row: one start; a column: fresh noise in the steps"
    plot_compared(path, blocks, title, {**note, "compared": [result.row for result in results]})
    return note["settings"]


def _measured(name: str, plan: Plan, ticks: Iterator[Any]) -> Compared:
    first = _drawn(plan, 0, ticks)  # which also warms up
    began = time.monotonic()
    draws = [_drawn(plan, draw, ticks) for draw in range(DRAWS)]
    seconds = (time.monotonic() - began) / (DRAWS * plan.count)
    pixels = np.stack([to_pixels(x) for x in draws], axis=1)
    tones = pixels.astype(float)
    spread = tones.reshape(-1, *tones.shape[2:]).std(0).mean()
    diversity = float(tones.std(1).mean() / spread) if spread else 0.0
    return Compared(name, plan, seconds, diversity, bool((first == draws[0]).all()), pixels)


def _drawn(plan: Plan, draw: int, ticks: Iterator[Any]) -> Tensor:
    """The pictures (count, C, H, W) of one draw, on the CPU; draw 0 is what `sample` draws."""
    import torch

    ends = []
    for _, state in walk(plan, plan.batch_size, fresh=draw << 40):
        if state.i:
            next(ticks)
        if ended(plan, state):
            ends.append(state.x.cpu())
    return torch.cat(ends)
