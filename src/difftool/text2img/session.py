"""What `txt2img` will do: an opened pipeline, and settings that were checked against it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..device import machine_used
from ..errors import DifftoolError, Exit
from ..pictures.images import opened, upright
from ..presets import preset
from ..sampling import aliases
from ..sampling.choice import Choice, choose, preset_steps, refuse_pure_noise
from ..settings import checked, fields_of
from .loading import open_pipeline
from .lora import Loras, stored, there
from .offload import Room
from .pipeline import Pipeline
from .prompts import MOST_WEIGHT, Prompt, begun_from, read
from .settings import BUNDLED, ModelSettings, Settings
from .vocabulary import strangers

if TYPE_CHECKING:
    from PIL import Image

    from ..core.paths import Path as NoisePath

log = logging.getLogger(__name__)

BATCH_PIXELS, BATCH_ITEMS = 2**20, 64
"""Pixels and pictures in a batch where nobody says how large: four of 512x512."""
STRENGTH = 0.75
"""Share of the noise that a picture to begin from is given."""


class Studio:
    """An opened pipeline at work: which LoRAs are applied, and where its parts are."""

    def __init__(self, model: str | Path = BUNDLED[0], **settings: Any) -> None:
        """Opens a model as `ModelSettings` say, see `open_pipeline`."""
        asked = checked(ModelSettings(model=model, **settings))
        device, dtype = asked.machine()
        automatic = asked.dtype == "auto" and not asked.half
        if automatic and device.type == "cuda" and dtype == torch.float32:
            dtype = torch.float16  # what these models are made for, on GPUs that do not compute in bf16
        self.pipeline = open_pipeline(asked.model, device, dtype, asked.models_dir, asked.prediction)
        self.loras = Loras(self.pipeline)
        self.room = Room(self.pipeline, low=asked.low_vram)
        self.settings = replace(asked, model=self.pipeline.source, **machine_used(device, dtype))
        """Those that open it again."""

    @classmethod
    def opened(cls, settings: ModelSettings) -> Studio:
        """The model of these settings, which may be those of a prompt too."""
        return cls(**fields_of(settings, ModelSettings))


class Plan(NamedTuple):
    """A run with every default filled in."""

    studio: Studio
    way: Choice
    prompt: Prompt
    negative: Prompt | None
    loras: dict[Path, float]
    """Files and their weights: those that were named, and those that the prompt names."""
    settings: Settings
    """Those that give this plan again."""

    @property
    def frame(self) -> tuple[int, int]:
        """(width, height) in pixels"""
        assert self.settings.size is not None
        return self.settings.size

    @property
    def width(self) -> int:
        return self.frame[0]

    @property
    def height(self) -> int:
        return self.frame[1]

    @property
    def guidance(self) -> float:
        """That the network is told, where it is told any."""
        assert self.settings.guidance is not None
        return self.settings.guidance

    @property
    def scale(self) -> float:
        """Of classifier-free guidance."""
        assert self.settings.true_cfg is not None
        return self.settings.true_cfg if self.studio.pipeline.embedded else self.guidance

    @property
    def calls(self) -> int:
        """Calls of the network for one batch, as the sampler makes them."""
        return self.way.calls * (1 if self.scale == 1 else 2)

    @property
    def batches(self) -> list[range]:
        count, size = self.settings.count, self.settings.batch_size or self.settings.count
        return [range(first, min(first + size, count)) for first in range(0, count, size)]


def plan(studio: Studio, prompt: str, **settings: Any) -> Plan:
    """`planned` with these `Settings`."""
    return planned(studio, Settings(prompt=prompt, **settings))


def planned(studio: Studio, settings: Settings) -> Plan:
    """Checks the settings of a prompt, without drawing; None is what presets/txt2img.toml says for this kind of model.
    Those that open a model are the studio's. Raises DifftoolError 2 for what does not fit, 4 for a file that cannot be
    read."""
    settings = checked(settings)
    pipeline = studio.pipeline
    start = preset("txt2img", settings.preset or pipeline.kind)
    prompt, negative = _prompts(pipeline, settings)
    scales = _scales(pipeline, settings, start["guidance"])
    strength = _strength(settings)
    size = _size(pipeline, settings)
    _check_clip_skip(pipeline, settings.clip_skip)
    _check_mask(settings.mask, size)
    sampling = _sampling(pipeline, settings, start, size, strength)
    loras = _applied(settings.loras, prompt, studio.settings.models_dir)
    used = replace(settings, **fields_of(studio.settings, ModelSettings), **sampling.settings, **scales)
    used = replace(used, size=size, strength=strength, batch_size=_batch_size(settings, size))
    plan = Plan(studio, sampling, prompt, negative if negative.plain.strip() else None, loras, _found_again(used))
    if plan.negative is not None and plan.scale == 1:
        log.warning("without guidance the negative prompt says nothing")
    return plan


def _found_again(settings: Settings) -> Settings:
    """The settings with the absolute paths of the files that they name."""
    init = None if settings.init is None else settings.init.absolute()
    mask = None if settings.mask is None else settings.mask.absolute()
    loras = tuple((file.absolute(), float(weight)) for file, weight in settings.loras)
    return replace(settings, init=init, mask=mask, loras=loras)


def _prompts(pipeline: Pipeline, settings: Settings) -> tuple[Prompt, Prompt]:
    """The prompt and the negative one, read; warns of words that the model in the package does not know."""
    prompt, negative = read(settings.prompt or ""), read(settings.negative or "", empty=True)
    if negative.loras:
        hint = "name it in the prompt, or with --lora"
        raise DifftoolError(Exit.USAGE, "a LoRA is named in the negative prompt", hint)
    strange = strangers(f"{prompt.plain} {negative.plain}") if pipeline.source in BUNDLED else []
    if strange:
        words = ", ".join(strange)
        log.warning(f"{pipeline.name} was never told of {words}; difftool txt2img --help says what it knows")
    return prompt, negative


def _scales(pipeline: Pipeline, settings: Settings, usual: float) -> dict[str, float]:
    """The two scales of guidance; `usual` is that of the preset."""
    if settings.true_cfg not in (None, 1) and not pipeline.embedded:
        what = f"{pipeline.name} is not told its guidance, so that it has no other"
        raise DifftoolError(Exit.USAGE, what, "use --guidance")
    guidance = usual if settings.guidance is None else settings.guidance
    true_cfg = 1.0 if settings.true_cfg is None else settings.true_cfg
    return {"guidance": float(guidance), "true_cfg": float(true_cfg)}


def _check_clip_skip(pipeline: Pipeline, clip_skip: int) -> None:
    """Raises DifftoolError 2 for a layer that the text encoder does not have."""
    layers = getattr(pipeline.parts["text_encoder"].config, "num_hidden_layers", 12)
    if clip_skip >= max(layers, 2):  # all have a last one
        what = f"its text encoder has {layers} layers, not {clip_skip} to skip"
        raise DifftoolError(Exit.USAGE, what, "try --clip-skip 2")
    if clip_skip > 1 and pipeline.family == "flux":
        what = "FLUX reads none of CLIP's layers but the last"
        raise DifftoolError(Exit.USAGE, what, "leave out --clip-skip")


def _check_mask(mask: Path | None, frame: tuple[int, int]) -> None:
    """Raises DifftoolError 2 for a mask that asks for nothing."""
    if mask is not None and not white(mask, frame).any():
        what = f"nothing in the mask is white: {mask}"
        raise DifftoolError(Exit.USAGE, what, "paint white (255, not 1) what is to be drawn anew")


def _sampling(
    pipeline: Pipeline,
    settings: Settings,
    start: Mapping[str, Any],
    size: tuple[int, int],
    strength: float | None,
) -> Choice:
    """The sampler on its grid; what is not said is that of the preset's row `start`."""
    path = pipeline.path(*size)
    name = start["sampler"] if settings.sampler is None else settings.sampler
    named = aliases.sampler(name)
    schedule, steps = settings.schedule, settings.steps
    if schedule is None:
        schedule = named.schedule or _spacing(pipeline, path, start["schedule"])
    if steps is None:
        steps = preset_steps(settings.sampler, start["sampler"], start["steps"])
    chosen = choose(path, name, steps, schedule, settings.eta, start=strength or 1.0)
    refuse_pure_noise(pipeline.name, pipeline.target, chosen)
    return chosen


def _batch_size(settings: Settings, size: tuple[int, int]) -> int:
    """How many pictures are drawn at once."""
    fitting = max(1, min(BATCH_PIXELS // math.prod(size), BATCH_ITEMS))
    usual = 1 if settings.low_vram else fitting
    return min(settings.batch_size or usual, settings.count)


def _applied(named: Sequence[tuple[Path, float]], prompt: Prompt, models_dir: Path | None) -> dict[Path, float]:
    """The LoRAs that are applied, those that were named and those of the prompt, and their weights. Raises
    DifftoolError 2 for a weight beyond all, 4 for one that is not there."""
    loras: dict[Path, float] = {}
    for file, weight in [*named, *((stored(name, models_dir), weight) for name, weight in prompt.loras)]:
        if not abs(weight) <= MOST_WEIGHT:
            what = f"the weight of {file} lies between -{MOST_WEIGHT:g} and {MOST_WEIGHT:g}, not at {weight}"
            raise DifftoolError(Exit.USAGE, what, "try 1")
        path = there(file)
        loras[path] = loras.get(path, 0.0) + weight
    return loras


def _strength(settings: Settings) -> float | None:
    """How much of a picture to begin from is drawn anew; None without one."""
    if not begun_from(settings) or settings.init is None:
        return None
    strength = STRENGTH if settings.strength is None else settings.strength
    if not 0 < strength <= 1:
        raise DifftoolError(Exit.USAGE, f"strength lies above 0 and up to 1, not at {strength}", "try --strength 0.75")
    if settings.mask is not None and rgb(settings.mask).size != rgb(settings.init).size:
        sizes = ["x".join(map(str, rgb(file).size)) for file in (settings.mask, settings.init)]
        what = f"the mask has the size {sizes[0]}, and the picture {sizes[1]}"
        raise DifftoolError(Exit.USAGE, what, "make a mask of the picture's size: white is drawn anew")
    return strength


def _spacing(pipeline: Pipeline, path: NoisePath, wanted: str) -> str:
    """The schedule of a preset, or where the path ends in pure noise its own: karras needs some signal."""
    pure = path.level(path.hi).alpha == 0
    return path.spacing if pure or pipeline.scheduler.get("timestep_spacing") == "trailing" else wanted


def _size(pipeline: Pipeline, settings: Settings) -> tuple[int, int]:
    """(width, height); of a picture to begin from its own, made smaller where the model draws smaller ones."""
    step = pipeline.step
    if settings.size is not None:
        width, height = settings.size
    elif settings.init is not None:
        own = rgb(settings.init).size
        less = min(1.0, math.sqrt(math.prod(pipeline.native) / math.prod(own)))
        width, height = (max(round(side * less / step), 1) * step for side in own)
    else:
        width, height = pipeline.native
    if width % step or height % step:
        near = f"{max(round(width / step), 1) * step}x{max(round(height / step), 1) * step}"
        what = f"{pipeline.name} draws sizes that are multiples of {step}, not {width}x{height}"
        raise DifftoolError(Exit.USAGE, what, f"try --size {near}")
    if not (step <= width <= pipeline.largest and step <= height <= pipeline.largest):
        what = f"sides are at least {step} and at most {pipeline.largest:,} pixels, not {width}x{height}"
        raise DifftoolError(Exit.USAGE, what, f"try --size {pipeline.native[0]}x{pipeline.native[1]}")
    return width, height


def rgb(path: Path) -> Image.Image:
    """A picture in RGB, where it is transparent on white. Raises DifftoolError 4 where it cannot be read."""
    from PIL import Image

    with opened(path, "name a picture") as file:
        image = upright(file).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def white(mask: Path, frame: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(H, W): where a mask is white, brought to (width, height). Raises DifftoolError 4 where it cannot be read."""
    return np.asarray(rgb(mask).convert("L").resize(frame)) > 127
