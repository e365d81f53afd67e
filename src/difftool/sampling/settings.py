"""Settings of commands with a sampler."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.grid import SPACINGS
from ..core.solve import SAMPLERS
from ..limits import MAX_COUNT
from ..settings import SAMPLING, knows, setting
from . import aliases


@knows(lambda: SAMPLERS)
def known_sampler(name: str) -> str:
    """The name of a sampler. Raises DifftoolError 2 for an unknown one."""
    aliases.sampler(name)
    return name


@knows(lambda: SPACINGS)
def known_schedule(name: str) -> str:
    """The name of a schedule. Raises DifftoolError 2 for an unknown one."""
    aliases.schedule(name)
    return name


@dataclass(frozen=True)
class SamplerSettings:
    """A sampler and its options; None is the default of the sampler or the model."""

    sampler: str | None = setting(
        None, "Sampler, by any of its names.", panel=SAMPLING, check=known_sampler, filled=True, per_prompt=True
    )
    steps: int | None = setting(
        None, "Number of sampling steps.", panel=SAMPLING, least=1, most=MAX_COUNT, filled=True, per_prompt=True
    )
    schedule: str | None = setting(
        None,
        f"Noise schedule: {', '.join(SPACINGS)}; default: the model's own.",
        panel=SAMPLING,
        check=known_schedule,
        filled=True,
        per_prompt=True,
    )
    eta: float | None = setting(
        None,
        "Amount of noise added at each step: 0 is none, 1 is full.",
        panel=SAMPLING,
        least=0,
        most=1,
        per_prompt=True,
    )
