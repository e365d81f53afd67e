"""What `difftool sample` can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..device import MachineSettings
from ..limits import GUIDANCE, MOST
from ..sampling.settings import SamplerSettings, known_sampler
from ..settings import MACHINE, SAMPLING, setting

COUNT = 16
"""Pictures where nobody says how many."""


@dataclass(frozen=True)
class Settings(SamplerSettings, MachineSettings):
    """Settings of `sample`. A `model` is a run folder, a model folder, a folder of diffusers, or (None) the digits in
    the package."""

    model: str | Path | None = setting(
        None,
        "A run, model or diffusers folder; none: the digits in the package.",
        argument=True,
        metavar="MODEL",
        typed=str | None,
        filled=True,
    )
    sampler: str | None = setting(
        None,
        "ddim unless told otherwise; --list-samplers names all, by any name they have.",
        panel=SAMPLING,
        check=known_sampler,
        filled=True,
    )
    steps: int | None = setting(
        None, "Steps from noise: 25, every level for ddpm, 4 for lcm.", panel=SAMPLING, least=1, most=MOST, filled=True
    )
    label: str | Sequence[str] | None = setting(
        None, "A class, several with commas, or any.", panel=SAMPLING, typed=str | None
    )
    guidance: float = setting(
        1.0, "Scale of classifier-free guidance; 1 is off.", "--guidance", "--cfg", panel=SAMPLING, **GUIDANCE
    )
    count: int | None = setting(
        None, "How many pictures: 16, or 4 to compare.", panel=SAMPLING, least=1, most=MOST, filled=True
    )
    seed: int = setting(0, "Result k has seed + k.", panel=SAMPLING)
    batch_size: int | None = setting(
        None, "How many at once; results agree to rounding.", panel=MACHINE, least=1, most=MOST, filled=True
    )
    low_vram: bool = setting(False, "One at a time, for little memory.", panel=MACHINE, stored=False)

    exclusive: ClassVar = (*MachineSettings.exclusive, ("batch_size", "low_vram"))
