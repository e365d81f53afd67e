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
from ..sampling.settings import ChurnSettings, GuidanceSettings, known_sampler
from ..settings import MACHINE, SAMPLING, WORDS, one_of, setting

BUNDLED = ("shapes",)
"""Pipelines in the package; the first is the default."""


def _models() -> list[str]:
    from ..store import entries

    return [*BUNDLED, *(name for name, entry in entries().items() if "model_index.json" in entry.files)]


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
            raise DifftoolError(Exit.USAGE, message, "use a file, or a pair of a file and a weight") from error
    name, _, weight = lora.rpartition(":")
    try:
        return (expanded(name), float(weight)) if name else (expanded(lora), 1.0)
    except ValueError:
        return expanded(lora), 1.0


def loras_of(loras: str | Path | Sequence[str | Path | tuple[str | Path, float]]) -> tuple[tuple[Path, float], ...]:
    """`lora_of` each of one or several."""
    return tuple(map(lora_of, [loras] if isinstance(loras, (str, Path)) else loras))


def layers_of(layers: str | Sequence[int]) -> tuple[int, ...]:
    """The numbers of layers of A,B,..., or of such a list. Raises DifftoolError 2 for anything else."""
    parts = layers.split(",") if isinstance(layers, str) else layers
    texts = [str(part).strip() for part in parts]
    if not texts or not all(text.isdecimal() and len(text) < 5 for text in texts):
        message = f"skip-layers must be numbers of layers separated by commas, not {layers}"
        raise DifftoolError(Exit.USAGE, message, "try --skip-layers 7,8,9")
    return tuple(map(int, texts))


@dataclass(frozen=True)
class ModelSettings(MachineSettings):
    """A model, its device and number format."""

    model: str | Path = setting(
        BUNDLED[0],
        "Model: shapes (bundled), a name from models ls, a diffusers folder, or a .safetensors file.",
        "--model",
        "-m",
        panel=WORDS,
        typed=str,
        values=lambda params: _models(),
    )
    prediction: str | None = setting(None, "Override the model's prediction type: eps, v or x0.", panel=WORDS)
    low_vram: bool = setting(False, "Use less memory: one picture and one network at a time.", panel=MACHINE)
    models_dir: Path | None = setting(None, "Folder of models; default: in the user data folder.", panel=MACHINE)


@dataclass(frozen=True)
class Settings(ChurnSettings, GuidanceSettings, ModelSettings):
    """Settings of `txt2img`; None is the default of the preset or the model. `size` is (width, height) in pixels,
    `strength` the share of `init` that is redrawn, within the white parts of `mask`. `loras` are files and their
    weights; `preset` is a row of presets/txt2img.toml instead of the row of the model's kind."""

    prompt: str | None = setting(
        None,
        "Prompt; (word:1.3) sets the weight of a word.",
        argument=True,
        metavar="PROMPT",
        filled=True,
        per_prompt=True,
    )
    negative: str | None = setting(None, "Negative prompt.", "--negative", "-n", panel=WORDS, per_prompt=True)
    loras: tuple[tuple[Path, float], ...] = setting(
        (),
        "LoRA to apply; may be repeated.",
        "--lora",
        metavar="FILE[:WEIGHT]",
        panel=WORDS,
        typed=list[str] | None,
        read=loras_of,
    )
    init: Path | None = setting(None, "Picture to start from (image to image).", panel=WORDS, per_prompt=True)
    strength: float | None = setting(
        None, "Denoising strength for --init; 1 redraws all of it; default: 0.75.", panel=WORDS, per_prompt=True
    )
    mask: Path | None = setting(
        None, "Inpainting mask, the same size as --init; white areas are redrawn.", panel=WORDS, per_prompt=True
    )
    preset: str | None = setting(
        None,
        f"Preset for sampler, steps and guidance: {', '.join(family('txt2img'))}; default: by model.",
        panel=SAMPLING,
        check=one_of("preset", lambda: family("txt2img")),
        per_prompt=True,
    )
    size: tuple[int, int] | None = setting(
        None,
        "Size in pixels; default: the model's own.",
        metavar="WxH",
        panel=SAMPLING,
        typed=str | None,
        read=size_of,
        filled=True,
        per_prompt=True,
    )
    sampler: str | None = setting(
        None,
        "Sampler, by any of its names; default: the preset's.",
        panel=SAMPLING,
        check=known_sampler,
        filled=True,
        per_prompt=True,
    )
    steps: int | None = setting(
        None,
        "Number of steps; default: 25, 16 for shapes, 28 for SD 3 and FLUX, 4 for turbo and LCM.",
        panel=SAMPLING,
        least=1,
        most=MAX_COUNT,
        filled=True,
        per_prompt=True,
    )
    guidance: float | None = setting(
        None,
        "Guidance scale; 1 is off; default: 7, 5 for SDXL, 3.5 for FLUX, 3 for shapes.",
        "--guidance",
        "--cfg",
        panel=SAMPLING,
        filled=True,
        per_prompt=True,
        **GUIDANCE,
    )
    true_cfg: float | None = setting(
        None,
        "Classifier-free guidance scale for guidance-distilled models (FLUX.1 dev, LCM); 1 is off.",
        panel=SAMPLING,
        filled=True,
        per_prompt=True,
        **GUIDANCE,
    )
    skip_layers: tuple[int, ...] | None = setting(
        None,
        "Skip-layer guidance (SD 3): also guide away from the network without these layers.",
        metavar="A,B,...",
        panel=SAMPLING,
        typed=str | None,
        read=layers_of,
        per_prompt=True,
    )
    clip_skip: int = setting(
        1,
        "CLIP layer to use, counted from the end; 1 is the last.",
        panel=SAMPLING,
        least=1,
        most=48,
        per_prompt=True,
    )
    count: int = setting(1, "Number of pictures per prompt.", panel=SAMPLING, least=1, most=MAX_COUNT, per_prompt=True)
    seed: int = setting(0, "Random seed; picture k uses SEED + k.", panel=SAMPLING, per_prompt=True)
    batch_size: int | None = setting(
        None, "Batch size; results agree up to rounding.", panel=MACHINE, least=1, most=MAX_COUNT, filled=True
    )

    exclusive: ClassVar = (*MachineSettings.exclusive, ("batch_size", "low_vram"))
