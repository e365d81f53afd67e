"""Compares samplers: pictures from the same starting noise, each drawn several times."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np

from ..errors import DifftoolError, Exit
from ..files import manifest
from ..pictures.plots import coloured, plot_compared
from ..pictures.sheets import to_pixels
from ..progress import Track, untracked
from ..sampling import aliases
from ..settings import from_call, manifest_of
from .draw import decoded, ended, walk
from .plan import SamplePlan, plan_samples
from .settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from ..pictures import Pixels

STARTS, DRAWS = 4, 4
"""Default number of starts, and the number of draws of each."""
SHOWN = 6
"""Number of starts in the figure."""


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
    """The pictures and figures of a sampler."""

    name: str
    """The sampler, with the schedule and eta implied by the given name."""
    plan: SamplePlan
    seconds: float
    """Per picture, in the batches of this run."""
    diversity: float
    """Spread among draws from the same start, as a share of the spread of all pictures (mean standard deviation of a
    pixel): 0 if the start determines the picture."""
    reproduced: bool
    """Whether repeating the first draw with the same seeds gives bit-identical pictures."""
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
        milliseconds = self.seconds * 1000
        return f"{self.name}\n{self.plan.calls} calls, {milliseconds:.1f} ms\ndiversity {self.diversity:.0%}"


def plans(samplers: Sequence[str], settings: Settings) -> dict[str, SamplePlan]:
    """The plan of each sampler, by its canonical name. Raises DifftoolError 2 if `settings.count` is below 2."""
    settings = replace(settings, count=STARTS if settings.count is None else settings.count)
    if settings.count < 2:  # type: ignore[operator]
        raise DifftoolError(Exit.USAGE, "--compare needs a --count of at least 2", "leave out --count")
    by_name = {}
    for name in samplers:
        by_name[str(aliases.sampler(name))] = plan_samples(replace(settings, sampler=name))
    return by_name


def compare(samplers: Sequence[str], *, track: Track = untracked, **settings: Any) -> list[Compared]:
    """Draws pictures from the same starts with each sampler, each start `DRAWS` times with fresh noise in the steps.
    `settings` are the fields of `Settings`; `count` is the number of starts, at least 2. Raises what `sample` raises.
    """
    return compared(samplers, from_call(Settings, **settings), track=track)


def compared(samplers: Sequence[str], settings: Settings, *, track: Track = untracked) -> list[Compared]:
    """`compare` with an instance of `Settings`."""
    by_name = plans(samplers, settings)
    total = sum((DRAWS + 1) * plan.steps for plan in by_name.values())
    ticks = iter(track(range(total), total))
    results = [_measured(name, plan, ticks) for name, plan in by_name.items()]
    next(ticks, None)  # lets the tracker finish
    return results


def write(path: Path, results: Sequence[Compared], run_id: str) -> Mapping[str, object]:
    """Writes the figure of a comparison and returns the settings that all samplers share."""
    first = results[0].plan
    own = ("sampler", "steps", "schedule", "eta")
    common = {key: value for key, value in manifest_of(first.settings).items() if key not in own}
    note = manifest("compare", run_id, {**common, "draws": DRAWS}, first.model.packages)
    blocks = [(result.caption, _shown(result)) for result in results]
    title = "rows: starts; columns: draws with fresh noise in the steps"
    plot_compared(path, blocks, title, {**note, "compared": [result.row for result in results]})
    return note["settings"]


def _shown(result: Compared) -> Pixels:
    """Some of the pictures of a sampler; of sounds their spectrograms."""
    pixels = result.pixels[:SHOWN]
    if result.plan.sound is None:
        return pixels
    pictures = coloured(pixels.reshape(-1, *pixels.shape[2:]))
    return pictures.reshape(*pixels.shape[:2], *pictures.shape[1:])


def _measured(name: str, plan: SamplePlan, ticks: Iterator[Any]) -> Compared:
    first = _sampled(plan, 0, ticks)  # also warms up
    began = time.monotonic()
    draws = [_sampled(plan, draw, ticks) for draw in range(DRAWS)]
    seconds = (time.monotonic() - began) / (DRAWS * plan.count)
    pixels = np.stack([to_pixels(x) for x in draws], axis=1)
    tones = pixels.astype(float)
    spread = tones.reshape(-1, *tones.shape[2:]).std(0).mean()
    diversity = float(tones.std(1).mean() / spread) if spread else 0.0
    reproduced = bool((first == draws[0]).all())
    return Compared(name, plan, seconds, diversity, reproduced, pixels)


def _sampled(plan: SamplePlan, draw: int, ticks: Iterator[Any]) -> Tensor:
    """The pictures (count, C, H, W) of a draw, on the CPU; draw 0 equals `sample`."""
    import torch

    ends = []
    for _, state in walk(plan, plan.batch_size, fresh=draw << 40):
        if state.i:
            next(ticks)
        if ended(plan, state):
            ends.append(decoded(plan.model, state.x).cpu())
    return torch.cat(ends)
