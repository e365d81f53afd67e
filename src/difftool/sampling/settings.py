"""Settings that every command with a sampler has."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.grid import SPACINGS
from ..limits import MOST
from ..settings import SAMPLING, setting
from . import aliases


def known_sampler(name: str) -> str:
    """The name, if it is one of a sampler. Raises DifftoolError 2 otherwise."""
    aliases.sampler(name)
    return name


def known_schedule(name: str) -> str:
    """The name, if it is one of a schedule. Raises DifftoolError 2 otherwise."""
    aliases.schedule(name)
    return name


@dataclass(frozen=True)
class SamplerSettings:
    """A sampler by its name, and what changes it; None is its own default or the model's."""

    sampler: str | None = setting(
        None, "Sampler, by any of its names.", panel=SAMPLING, check=known_sampler, filled=True, per_prompt=True
    )
    steps: int | None = setting(
        None, "Steps of the sampler.", panel=SAMPLING, least=1, most=MOST, filled=True, per_prompt=True
    )
    schedule: str | None = setting(
        None,
        f"Levels to visit: {', '.join(SPACINGS)}; the model's own unless told otherwise.",
        panel=SAMPLING,
        check=known_schedule,
        filled=True,
        per_prompt=True,
    )
    eta: float | None = setting(
        None, "Fresh noise: 0 none, 1 all of it.", panel=SAMPLING, least=0, most=1, per_prompt=True
    )
