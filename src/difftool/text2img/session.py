"""The plan of `txt2img`: an opened pipeline, and settings checked against it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..core.guide import skip_layers
from ..core.predict import Predict
from ..device import machine_used
from ..errors import DifftoolError, Exit, pip_install
from ..pictures.images import rgb
from ..presets import preset
from ..sampling import aliases
from ..sampling.choice import Choice, choose_sampler, preset_steps, refuse_pure_noise
from ..sampling.guidance import check_guidance, guided, started
from ..settings import checked, fields_of, from_call
from .loading import open_pipeline
from .lora import Loras, existing_lora, lora_in_store
from .offload import Offload
from .pipeline import Pipeline
from .prompts import MOST_WEIGHT, Prompt, begun_from, parse_prompt
from .settings import BUNDLED, ModelSettings, Settings
from .vocabulary import unknown_words

if TYPE_CHECKING:
    from ..core.paths import Path as NoisePath

log = logging.getLogger(__name__)

BATCH_PIXELS, BATCH_ITEMS = 2**20, 64
"""Most pixels and pictures in a default batch: four of 512x512."""
STRENGTH = 0.75
"""Default strength with an initial picture."""
SKIP_SCALE, SKIPPED = 2.8, 0.2
"""Scale of skip-layer guidance, and the share of the steps at which it ends, as in diffusers for SD 3.5."""


class Session:
    """An opened pipeline, with its active LoRAs and the placement of its parts."""

    def __init__(self, model: str | Path = BUNDLED[0], **settings: Any) -> None:
        """Opens a model with these `ModelSettings`, see `open_pipeline`."""
        asked = checked(from_call(ModelSettings, model=model, **settings))
        device, dtype = asked.machine()
        automatic = asked.dtype == "auto" and not asked.half
        if automatic and device.type == "cuda" and dtype == torch.float32:
            dtype = torch.float16  # these models are made for it, on GPUs without bf16
        self.pipeline = open_pipeline(asked.model, device, dtype, asked.models_dir, asked.prediction)
        self.loras = Loras(self.pipeline)
        self.offload = Offload(self.pipeline, low=asked.low_vram)
        self.settings = replace(asked, model=self.pipeline.source, **machine_used(device, dtype))
        """The settings that open it again."""

    @classmethod
    def opened(cls, settings: ModelSettings) -> Session:
        """Opens the model of these settings, which may include those of a prompt."""
        return cls(**fields_of(settings, ModelSettings))


class PromptPlan(NamedTuple):
    """A run with every default filled in."""

    session: Session
    choice: Choice
    prompt: Prompt
    negative: Prompt | None
    loras: dict[Path, float]
    """Files and their weights, from the settings and the prompt."""
    settings: Settings
    """The settings that give this plan again."""

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
        """The guidance scale, for the embedding of guidance-distilled networks."""
        assert self.settings.guidance is not None
        return self.settings.guidance

    @property
    def scale(self) -> float:
        """The scale of classifier-free guidance."""
        assert self.settings.true_cfg is not None
        return self.settings.true_cfg if self.session.pipeline.embedded else self.guidance

    @property
    def is_guided(self) -> bool:
        """Whether there is a prediction for the negative prompt."""
        return self.scale != 1 or self.choice.needs_uncond

    @property
    def calls(self) -> int:
        """Calls of the network for one batch."""
        layers = self.settings.skip_layers
        return self.choice.counted(lambda net: self.guided(net, net if layers else None, net if layers else None))

    def guided(self, cond: Predict, uncond: Predict | None = None, skipped: Predict | None = None) -> Predict:
        """The prediction for the prompt, guided away from that for the negative prompt, which `cond` makes too where
        there is no `uncond`, and from that of the network without the skipped layers."""
        settings, choice, predict = self.settings, self.choice, cond
        if skipped is not None:
            levels, n = choice.levels, choice.steps
            first, last = min(1, n - 1), max(1, math.ceil(SKIPPED * n) - 1)
            interval = levels[min(last, n - 1)].share, levels[first].share
            # guidance multiplies what is added to cond
            predict = skip_layers(cond, skipped, SKIP_SCALE / self.scale, interval=interval)
        if self.is_guided:
            channels, factor = self.session.pipeline.channels, self.session.pipeline.factor
            values = channels * (self.width // factor) * (self.height // factor)
            predict = guided(settings, choice, predict, uncond, self.scale, values)
        return started(settings, choice, predict)

    @property
    def batches(self) -> list[range]:
        count, size = self.settings.count, self.settings.batch_size or self.settings.count
        return [range(first, min(first + size, count)) for first in range(0, count, size)]


def plan_prompt_with(session: Session, prompt: str, **settings: Any) -> PromptPlan:
    """`plan_prompt` with these `Settings`."""
    return plan_prompt(session, from_call(Settings, prompt=prompt, **settings))


def plan_prompt(session: Session, settings: Settings) -> PromptPlan:
    """Checks the settings of a prompt, without drawing; None is the default in presets/txt2img.toml for this kind of
    model. Settings of the model are the session's. Raises DifftoolError 2 for settings that do not fit, 4 for a file
    that cannot be read."""
    settings = checked(settings)
    pipeline = session.pipeline
    preset_row = preset("txt2img", settings.preset or pipeline.kind)
    prompt, negative = _prompts(pipeline, settings)
    strength = _strength(settings)
    size = _size(pipeline, settings)
    _check_clip_skip(pipeline, settings.clip_skip)
    _check_skip_layers(pipeline, settings.skip_layers)
    _check_mask(settings.mask, size)
    sampling = _sampling(pipeline, settings, preset_row, size, strength)
    scales = _scales(pipeline, settings, 1.0 if sampling.needs_uncond else preset_row["guidance"])
    loras = _applied(settings.loras, prompt, session.settings.models_dir)
    used = replace(settings, **fields_of(session.settings, ModelSettings), **sampling.settings, **scales)
    used = replace(used, size=size, strength=strength, batch_size=_batch_size(settings, size))
    plan = PromptPlan(
        session, sampling, prompt, negative if negative.plain.strip() else None, loras, _with_absolute_paths(used)
    )
    if settings.skip_layers and plan.scale == 0:
        raise DifftoolError(Exit.USAGE, "--skip-layers has no effect at guidance 0", "use --guidance 1 or more")
    hint = "add --true-cfg 2" if pipeline.embedded else "add --guidance 5"
    check_guidance(settings, sampling, pipeline.name, plan.scale != 1, hint)
    if plan.negative is not None and not plan.is_guided:
        log.warning("the negative prompt has no effect without guidance")
    return plan


def _with_absolute_paths(settings: Settings) -> Settings:
    """The settings with absolute paths."""
    init = None if settings.init is None else settings.init.absolute()
    mask = None if settings.mask is None else settings.mask.absolute()
    loras = tuple((file.absolute(), float(weight)) for file, weight in settings.loras)
    return replace(settings, init=init, mask=mask, loras=loras)


def _prompts(pipeline: Pipeline, settings: Settings) -> tuple[Prompt, Prompt]:
    """The parsed prompt and negative prompt; warns of words that the bundled model does not know."""
    prompt, negative = parse_prompt(settings.prompt or ""), parse_prompt(settings.negative or "", empty=True)
    if negative.loras:
        hint = "use it in the prompt, or pass it with --lora"
        raise DifftoolError(Exit.USAGE, "the negative prompt contains a LoRA", hint)
    unknown = unknown_words(f"{prompt.plain} {negative.plain}") if pipeline.source in BUNDLED else []
    if unknown:
        noun = "word" if len(unknown) == 1 else "words"
        words = ", ".join(unknown)
        log.warning(f"unknown {noun} for {pipeline.name}: {words}; see difftool txt2img --help for its vocabulary")
    return prompt, negative


def _scales(pipeline: Pipeline, settings: Settings, preset_guidance: float) -> dict[str, float]:
    """The two guidance scales; the default guidance is that of the preset."""
    if settings.true_cfg is not None and not pipeline.embedded:
        message = f"--true-cfg is only for guidance-distilled models, and {pipeline.name} is not one"
        raise DifftoolError(Exit.USAGE, message, "use --guidance")
    guidance = preset_guidance if settings.guidance is None else settings.guidance
    true_cfg = 1.0 if settings.true_cfg is None else settings.true_cfg
    return {"guidance": float(guidance), "true_cfg": float(true_cfg)}


def _check_clip_skip(pipeline: Pipeline, clip_skip: int) -> None:
    """Raises DifftoolError 2 for a layer that the text encoder does not have."""
    layers = getattr(pipeline.parts["text_encoder"].config, "num_hidden_layers", 12)
    if clip_skip >= max(layers, 2):  # all have a last one
        message = f"clip-skip is {clip_skip}, but the text encoder has {layers} layers"
        raise DifftoolError(Exit.USAGE, message, "try --clip-skip 2")
    if clip_skip > 1 and pipeline.family == "flux":
        message = "FLUX uses only the last layer of CLIP"
        raise DifftoolError(Exit.USAGE, message, "leave out --clip-skip")


def _check_skip_layers(pipeline: Pipeline, layers: Sequence[int] | None) -> None:
    """Raises DifftoolError 2 for layers that the network does not have or cannot skip."""
    if layers is None:
        return
    if pipeline.family != "sd3":
        message = f"--skip-layers is for Stable Diffusion 3, and {pipeline.name} is not one"
        raise DifftoolError(Exit.USAGE, message, "leave out --skip-layers")
    if "skip_layers" not in signature(type(pipeline.net).forward).parameters:
        message = "this version of diffusers cannot skip layers"
        raise DifftoolError(Exit.USAGE, message, f"run {pip_install('diffusers>=0.32')}")
    count = len(pipeline.net.transformer_blocks)
    if max(layers) >= count:
        message = f"skip-layers contains {max(layers)}, but the network has layers 0 to {count - 1}"
        raise DifftoolError(Exit.USAGE, message, "use smaller numbers")


def _check_mask(mask: Path | None, frame: tuple[int, int]) -> None:
    """Raises DifftoolError 2 for a mask without white pixels."""
    if mask is not None and not white(mask, frame).any():
        message = f"the mask has no white parts: {mask}"
        raise DifftoolError(Exit.USAGE, message, "paint the parts to redraw in white (255, not 1)")


def _sampling(
    pipeline: Pipeline,
    settings: Settings,
    preset_row: Mapping[str, Any],
    size: tuple[int, int],
    strength: float | None,
) -> Choice:
    """The sampler and its grid; defaults are those of the preset."""
    path = pipeline.path(*size)
    name = preset_row["sampler"] if settings.sampler is None else settings.sampler
    named = aliases.sampler(name)
    schedule, steps = settings.schedule, settings.steps
    if schedule is None:
        schedule = named.schedule or _spacing(pipeline, path, preset_row["schedule"])
    if steps is None:
        steps = preset_steps(settings.sampler, preset_row["sampler"], preset_row["steps"])
    chosen = choose_sampler(path, name, steps, schedule, settings.eta, start=strength or 1.0, churn=settings.churn)
    refuse_pure_noise(pipeline.name, pipeline.target, chosen)
    return chosen


def _batch_size(settings: Settings, size: tuple[int, int]) -> int:
    """Number of pictures drawn at once."""
    fitting = max(1, min(BATCH_PIXELS // math.prod(size), BATCH_ITEMS))
    default = 1 if settings.low_vram else fitting
    return min(settings.batch_size or default, settings.count)


def _applied(files: Sequence[tuple[Path, float]], prompt: Prompt, models_dir: Path | None) -> dict[Path, float]:
    """The LoRAs of the settings and the prompt, with their weights. Raises DifftoolError 2 for a weight beyond
    MOST_WEIGHT, 4 for a missing file."""
    loras: dict[Path, float] = {}
    for file, weight in [*files, *((lora_in_store(name, models_dir), weight) for name, weight in prompt.loras)]:
        if not abs(weight) <= MOST_WEIGHT:
            message = f"the weight of {file} must be between -{MOST_WEIGHT:g} and {MOST_WEIGHT:g}, not {weight}"
            raise DifftoolError(Exit.USAGE, message, "try 1")
        path = existing_lora(file)
        loras[path] = loras.get(path, 0.0) + weight
    return loras


def _strength(settings: Settings) -> float | None:
    """The share of the initial picture that is redrawn; None without one."""
    if not begun_from(settings) or settings.init is None:
        return None
    strength = STRENGTH if settings.strength is None else settings.strength
    if not 0 < strength <= 1:
        message = f"strength must be above 0 and at most 1, not {strength}"
        raise DifftoolError(Exit.USAGE, message, "try --strength 0.75")
    if settings.mask is not None and rgb(settings.mask).size != rgb(settings.init).size:
        sizes = ["x".join(map(str, rgb(file).size)) for file in (settings.mask, settings.init)]
        message = f"the mask is {sizes[0]}, but the picture is {sizes[1]}"
        raise DifftoolError(Exit.USAGE, message, "make a mask of the picture's size; white parts are redrawn")
    return strength


def _spacing(pipeline: Pipeline, path: NoisePath, preset_schedule: str) -> str:
    """The schedule of a preset, or the path's own if it ends in pure noise: karras needs some signal."""
    pure = path.level(path.hi).alpha == 0
    return path.spacing if pure or pipeline.scheduler.get("timestep_spacing") == "trailing" else preset_schedule


def _size(pipeline: Pipeline, settings: Settings) -> tuple[int, int]:
    """(width, height); by default that of the initial picture, reduced to the model's native area."""
    multiple = pipeline.step
    if settings.size is not None:
        width, height = settings.size
    elif settings.init is not None:
        initial = rgb(settings.init).size
        factor = min(1.0, math.sqrt(math.prod(pipeline.native) / math.prod(initial)))
        width, height = (max(round(side * factor / multiple), 1) * multiple for side in initial)
    else:
        width, height = pipeline.native
    if width % multiple or height % multiple:
        near = f"{max(round(width / multiple), 1) * multiple}x{max(round(height / multiple), 1) * multiple}"
        message = f"width and height must be multiples of {multiple} for {pipeline.name}, not {width}x{height}"
        raise DifftoolError(Exit.USAGE, message, f"try --size {near}")
    if not (multiple <= width <= pipeline.largest and multiple <= height <= pipeline.largest):
        message = f"width and height must be from {multiple} to {pipeline.largest:,} pixels, not {width}x{height}"
        raise DifftoolError(Exit.USAGE, message, f"try --size {pipeline.native[0]}x{pipeline.native[1]}")
    return width, height


def white(mask: Path, frame: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """(H, W): where a mask is white, scaled to (width, height). Raises DifftoolError 4 if it cannot be read."""
    return np.asarray(rgb(mask).convert("L").resize(frame)) > 127
