"""The settings of `difftool sample`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..audio import AUTO, VOCODERS
from ..core.grid import SPACINGS
from ..device import MachineSettings
from ..errors import DifftoolError, Exit
from ..limits import GUIDANCE, MAX_COUNT
from ..sampling.settings import AverageSettings, ChurnSettings, GuidanceSettings, known_sampler, known_schedule
from ..settings import MACHINE, SAMPLING, SOUND, knows, one_of, setting

COUNT = 16
"""Default number of pictures or sounds."""
LONGEST = 600
"""Maximum seconds of a sound."""


@knows(lambda: SPACINGS)
def known_schedules(names: str) -> str:
    """Names of schedules, separated by commas. Raises DifftoolError 2 for an unknown one."""
    for name in names.split(","):
        known_schedule(name)
    return names


def span_of(span: str | Sequence[float]) -> tuple[float, float]:
    """(first, last) second of FROM-TO, or of such a pair. Raises DifftoolError 2 unless 0 <= first < last."""
    parts = span.split("-") if isinstance(span, str) else span
    try:
        first, last = (float(part) for part in parts)
    except (TypeError, ValueError):
        first = last = math.nan
    if not 0 <= first < last < math.inf:
        message = f"mask must be two rising numbers of seconds, not {span}"
        raise DifftoolError(Exit.USAGE, message, "try --mask 2.0-3.5")
    return first, last


def two_seeds(seeds: Sequence[int]) -> tuple[int, int]:
    """Such a pair. Raises DifftoolError 2 for anything else."""
    if not isinstance(seeds, (list, tuple)) or [*map(type, seeds)] != [int, int]:
        raise DifftoolError(Exit.USAGE, f"between must be two whole numbers, not {seeds}", "try --between 3 7")
    return seeds[0], seeds[1]


@dataclass(frozen=True)
class SoundSettings:
    """Settings of models of sounds."""

    seconds: float | None = setting(
        None,
        "Length; longer sounds than those of the training are generated in overlapping windows; default: that of "
        "--init, or of the model.",
        panel=SOUND,
        above=0,
        most=LONGEST,
    )
    init: Path | None = setting(None, "Sound to start from; any media file.", panel=SOUND)
    strength: float | None = setting(
        None,
        "Denoising strength for --init; 1 generates all of it anew; default: 0.5, and 1 with --mask.",
        panel=SOUND,
        above=0,
        most=1,
    )
    mask: tuple[float, float] | None = setting(
        None,
        "Generate only these seconds of --init, such as 2.0-3.5, and keep the rest.",
        metavar="FROM-TO",
        panel=SOUND,
        typed=str | None,
        read=span_of,
    )
    vocoder: str = setting(
        AUTO,
        f"What makes sound of spectrograms: {', '.join(VOCODERS)}; auto is a network of the store that fits the "
        "model, or Griffin-Lim.",
        panel=SOUND,
        check=one_of("vocoder", VOCODERS),
    )


@dataclass(frozen=True)
class Settings(SoundSettings, AverageSettings, ChurnSettings, GuidanceSettings, MachineSettings):
    """Settings of `sample`. `model`, `autoguide`: a run folder, model folder or diffusers folder; None: the bundled
    digits, and no autoguidance."""

    model: str | Path | None = setting(
        None,
        "Run folder, model folder, diffusers folder, or a bundled model: digits (the default) or tones.",
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
        "Number of pictures or sounds; default: 16, 4 with --compare, or 1 with -o FILE.wav.",
        panel=SAMPLING,
        least=1,
        most=MAX_COUNT,
        filled=True,
    )
    seed: int = setting(0, "Random seed; item k uses SEED + k.", panel=SAMPLING)
    between: tuple[int, int] | None = setting(
        None,
        "Generate the items on the way from the starting noise of one seed to that of another.",
        metavar="SEED SEED",
        panel=SAMPLING,
        check=two_seeds,
    )
    batch_size: int | None = setting(
        None, "Batch size; results agree up to rounding.", panel=MACHINE, least=1, most=MAX_COUNT, filled=True
    )
    low_vram: bool = setting(False, "Use less GPU memory: one picture or sound at a time.", panel=MACHINE, stored=False)
    models_dir: Path | None = setting(
        None, "Folder of models, for --vocoder; default: in the user data folder.", panel=MACHINE
    )

    exclusive: ClassVar = (*MachineSettings.exclusive, ("batch_size", "low_vram"))
    requires: ClassVar = {"strength": "init", "mask": "init"}

    def seed_of(self, index: int) -> int:
        """The seed of an item. Between two seeds it is the first one: nothing but the starting noise changes."""
        return self.seed + index if self.between is None else self.between[0]


@dataclass(frozen=True)
class ForwardSettings:
    """A picture and the levels that it visits."""

    init: Path | None = setting(None, "The picture.", filled=True)
    model: str | Path | None = setting(None, "The model whose path and size are used; None: the bundled digits' path.")
    steps: int | None = setting(None, "Number of steps.", least=1, most=MAX_COUNT, filled=True)
    schedule: str | None = setting(None, "Noise schedule.", check=known_schedule, filled=True)
    seed: int = setting(0, "Random seed of the noise.")
