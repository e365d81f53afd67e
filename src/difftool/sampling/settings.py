"""Settings of commands with a sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.grid import SPACINGS
from ..core.guide import MODES
from ..core.solve import SAMPLERS
from ..errors import DifftoolError, Exit, pick
from ..limits import MAX_COUNT
from ..settings import SAMPLING, knows, plain, setting
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


@knows(lambda: MODES)
def known_mode(name: str) -> str:
    """The name of a guidance mode. Raises DifftoolError 2 for an unknown one."""
    key = plain(name).removesuffix("*").removesuffix("_star")
    if key in ("cfg_pp", "cfg++", "cfgpp"):
        raise DifftoolError(Exit.USAGE, "CFG++ is a sampler, not a guidance mode", "use --sampler euler_cfg_pp")
    return pick("guidance mode", key, {mode: mode for mode in MODES})


def interval_of(interval: str | Sequence[float]) -> tuple[float, float]:
    """(low, high) of LO,HI, or of such a pair. Raises DifftoolError 2 unless 0 <= low < high <= 1."""
    parts = interval.split(",") if isinstance(interval, str) else interval
    try:
        low, high = (float(part) for part in parts)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 <= low < high <= 1:
        message = f"guidance-interval must be two rising numbers from 0 to 1, not {interval}"
        raise DifftoolError(Exit.USAGE, message, "try --guidance-interval 0.2,0.8")
    return low, high


@dataclass(frozen=True)
class GuidanceSettings:
    """How the two predictions of guidance are combined, and where."""

    guidance_mode: str = setting(
        "cfg", f"Guidance mode: {', '.join(MODES)}.", panel=SAMPLING, check=known_mode, per_prompt=True
    )
    guidance_interval: tuple[float, float] | None = setting(
        None,
        "Guide only at these shares of noise (0 to 1).",
        metavar="LO,HI",
        panel=SAMPLING,
        typed=str | None,
        read=interval_of,
        per_prompt=True,
    )
    guidance_rescale: float = setting(
        0.0,
        "Keep unguided contrast.",
        panel=SAMPLING,
        least=0,
        most=1,
        per_prompt=True,
    )


@dataclass(frozen=True)
class AverageSettings:
    """Which weights of a run are used."""

    ema: float | None = setting(
        None,
        "Average the weights over this share of the run, such as 0.05; for runs of `train --keep-averages`; "
        "default: as trained.",
        panel=SAMPLING,
        above=0,
        most=0.28,
    )


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


@dataclass(frozen=True)
class ChurnSettings(SamplerSettings):
    """A sampler that may also add noise."""

    churn: float | None = setting(
        None,
        "Noise added before the steps and removed by them, in total; for euler, heun and dpm2; default: 0.",
        panel=SAMPLING,
        least=0,
        most=MAX_COUNT,
        per_prompt=True,
    )
