"""The settings of `difftool txt2img`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..device import MachineSettings
from ..errors import DifftoolError, Exit
from ..files import expanded
from ..limits import GUIDANCE, MAX_COUNT, size_of
from ..presets import family
from ..sampling.settings import SamplerSettings, known_sampler
from ..settings import MACHINE, SAMPLING, WORDS, one_of, setting

BUNDLED = ("shapes",)
"""Pipelines in the package; the first is the default."""


def lora_of(lora: str | Path | tuple[str | Path, float]) -> tuple[Path, float]:
    """(file, weight) of FILE[:WEIGHT], of a file, or of such a pair. Raises DifftoolError 2 for anything else."""
    if isinstance(lora, Path):
        return expanded(lora), 1.0
    if not isinstance(lora, str):
        try:
            file, number = lora
            return expanded(file), float(number)
        except (TypeError, ValueError) as error:
            message = f"{lora!r} is not a LoRA and its weight"
            raise DifftoolError(Exit.USAGE, message, "name a file, or a pair of a file and a weight") from error
    name, _, weight = lora.rpartition(":")
    try:
        return (expanded(name), float(weight)) if name else (expanded(lora), 1.0)
    except ValueError:
        return expanded(lora), 1.0


def loras_of(loras: str | Path | Sequence[str | Path | tuple[str | Path, float]]) -> tuple[tuple[Path, float], ...]:
    """`lora_of` each of one or several."""
    return tuple(map(lora_of, [loras] if isinstance(loras, (str, Path)) else loras))


@dataclass(frozen=True)
class ModelSettings(MachineSettings):
    """A model, its device and number format."""

    model: str | Path = setting(
        BUNDLED[0],
        "A model of the store, a folder of diffusers, or a .safetensors file; shapes is in the package.",
        "--model",
        "-m",
        panel=WORDS,
        typed=str,
    )
    prediction: str | None = setting(
        None, "Prediction type, if the model's file lacks it or is wrong: eps, v or x0.", panel=WORDS
    )
    low_vram: bool = setting(False, "One at a time, for little memory.", panel=MACHINE)
    models_dir: Path | None = setting(None, "Where models live; your data folder unless given.", panel=MACHINE)


@dataclass(frozen=True)
class Settings(SamplerSettings, ModelSettings):
    """Settings of `txt2img`; None is the default of the preset or the model. `size` is (width, height) in pixels,
    `strength` the share of `init` that is redrawn, within the white parts of `mask`. `loras` are files and their
    weights; `preset` is a row of presets/txt2img.toml instead of the row of the model's kind."""

    prompt: str | None = setting(
        None,
        "What to draw; (word:1.3) weighs a word.",
        argument=True,
        metavar="PROMPT",
        filled=True,
        per_prompt=True,
    )
    negative: str | None = setting(None, "Negative prompt.", "--negative", "-n", panel=WORDS, per_prompt=True)
    loras: tuple[tuple[Path, float], ...] = setting(
        (),
        "A LoRA to apply; may be repeated.",
        "--lora",
        metavar="FILE[:WEIGHT]",
        panel=WORDS,
        typed=list[str] | None,
        read=loras_of,
    )
    init: Path | None = setting(None, "Picture to start from.", panel=WORDS, per_prompt=True)
    strength: float | None = setting(
        None, "Share of --init that is redrawn: 0.75 by default, 1 is all of it.", panel=WORDS, per_prompt=True
    )
    mask: Path | None = setting(
        None, "Mask of the size of --init: only the white parts are redrawn.", panel=WORDS, per_prompt=True
    )
    preset: str | None = setting(
        None,
        f"Default sampler, steps and guidance: {', '.join(family('txt2img'))}; the model's own unless given.",
        panel=SAMPLING,
        check=one_of("preset", lambda: family("txt2img")),
        per_prompt=True,
    )
    size: tuple[int, int] | None = setting(
        None,
        "Size in pixels; the model's own by default.",
        metavar="WxH",
        panel=SAMPLING,
        typed=str | None,
        read=size_of,
        filled=True,
        per_prompt=True,
    )
    sampler: str | None = setting(
        None,
        "Sampler, by any of its names; the preset's by default.",
        panel=SAMPLING,
        check=known_sampler,
        filled=True,
        per_prompt=True,
    )
    steps: int | None = setting(
        None,
        "Sampling steps: 25; 16 for shapes, 28 for SD 3 and FLUX, 4 for turbo and LCM.",
        panel=SAMPLING,
        least=1,
        most=MAX_COUNT,
        filled=True,
        per_prompt=True,
    )
    guidance: float | None = setting(
        None,
        "Scale of guidance: 7, 5 for SDXL, 3.5 for FLUX, 3 for shapes; 1 is off.",
        "--guidance",
        "--cfg",
        panel=SAMPLING,
        filled=True,
        per_prompt=True,
        **GUIDANCE,
    )
    true_cfg: float | None = setting(
        None,
        "Classifier-free guidance of guidance-distilled models (FLUX.1 dev, LCM); 1 is off.",
        panel=SAMPLING,
        filled=True,
        per_prompt=True,
        **GUIDANCE,
    )
    clip_skip: int = setting(
        1,
        "Layer of CLIP to read, counted from its end; 1 is the last.",
        panel=SAMPLING,
        least=1,
        most=48,
        per_prompt=True,
    )
    count: int = setting(1, "Pictures of each prompt.", panel=SAMPLING, least=1, most=MAX_COUNT, per_prompt=True)
    seed: int = setting(0, "Result k has seed + k.", panel=SAMPLING, per_prompt=True)
    batch_size: int | None = setting(
        None, "How many at once; results agree to rounding.", panel=MACHINE, least=1, most=MAX_COUNT, filled=True
    )

    exclusive: ClassVar = (*MachineSettings.exclusive, ("batch_size", "low_vram"))
