"""The settings of `difftool sample`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..core.grid import SPACINGS
from ..device import MachineSettings
from ..limits import GUIDANCE, MAX_COUNT
from ..sampling.settings import AverageSettings, ChurnSettings, GuidanceSettings, known_sampler, known_schedule
from ..settings import MACHINE, SAMPLING, knows, setting

COUNT = 16
"""Default number of pictures."""


@knows(lambda: SPACINGS)
def known_schedules(names: str) -> str:
    """Names of schedules, separated by commas. Raises DifftoolError 2 for an unknown one."""
    for name in names.split(","):
        known_schedule(name)
    return names


@dataclass(frozen=True)
class Settings(AverageSettings, ChurnSettings, GuidanceSettings, MachineSettings):
    """Settings of `sample`. `model`, `autoguide`: a run folder, model folder or diffusers folder; None: the bundled
    digits, and no autoguidance."""

    model: str | Path | None = setting(
        None,
        "Run folder, model folder or diffusers folder; default: the bundled digits model.",
        argument=True,
        metavar="MODEL",
        typed=str | None,
        filled=True,
    )
    sampler: str | None = setting(
        None,
        "Sampler, by any of its names; default: ddim. --list-samplers lists all.",
        panel=SAMPLING,
        check=known_sampler,
        filled=True,
    )
    steps: int | None = setting(
        None,
        "Number of steps; default: 25, all levels for ddpm, 4 for lcm.",
        panel=SAMPLING,
        least=1,
        most=MAX_COUNT,
        filled=True,
    )
    schedule: str | None = setting(
        None,
        f"Noise schedule: {', '.join(SPACINGS)}; default: the model's own. --list-schedules explains them, and takes "
        "several separated by commas.",
        panel=SAMPLING,
        check=known_schedules,
        filled=True,
    )
    label: str | Sequence[str] | None = setting(
        None,
        "Class label (case-insensitive), or several separated by commas; `any` is no class; default: all in turn.",
        panel=SAMPLING,
        typed=str | None,
    )
    guidance: float = setting(
        1.0, "Classifier-free guidance scale; 1 is off.", "--guidance", "--cfg", panel=SAMPLING, **GUIDANCE
    )
    autoguide: str | Path | None = setting(
        None,
        "Worse version of the model, such as one trained for a shorter time, to guide away from (autoguidance).",
        metavar="MODEL",
        panel=SAMPLING,
        typed=str | None,
    )
    dynamic_threshold: float | None = setting(
        None,
        "Dynamic thresholding at this quantile, such as 0.995, instead of clipping; for large guidance scales.",
        panel=SAMPLING,
        above=0,
        most=1,
    )
    count: int | None = setting(
        None,
        "Number of pictures; default: 16, or 4 with --compare.",
        panel=SAMPLING,
        least=1,
        most=MAX_COUNT,
        filled=True,
    )
    seed: int = setting(0, "Random seed; picture k uses SEED + k.", panel=SAMPLING)
    batch_size: int | None = setting(
        None, "Batch size; results agree up to rounding.", panel=MACHINE, least=1, most=MAX_COUNT, filled=True
    )
    low_vram: bool = setting(False, "Use less GPU memory: one picture at a time.", panel=MACHINE, stored=False)

    exclusive: ClassVar = (*MachineSettings.exclusive, ("batch_size", "low_vram"))


@dataclass(frozen=True)
class ForwardSettings:
    """A picture and the levels that it visits."""

    init: Path | None = setting(None, "The picture.", filled=True)
    model: str | Path | None = setting(None, "The model whose path and size are used; None: the bundled digits' path.")
    steps: int | None = setting(None, "Number of steps.", least=1, most=MAX_COUNT, filled=True)
    schedule: str | None = setting(None, "Noise schedule.", check=known_schedule, filled=True)
    seed: int = setting(0, "Random seed of the noise.")
