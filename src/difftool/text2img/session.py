"""What `txt2img` will do: an opened pipeline, and settings that were checked against it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..device import choose, name_of
from ..errors import DifftoolError, Exit
from ..limits import GUIDANCE, MOST
from ..pictures.images import opened, upright
from ..presets import preset
from ..sampling import aliases, choice
from ..sampling.choice import Choice
from .loading import open_pipeline
from .lora import Loras, stored, there
from .offload import Room
from .pipeline import BUNDLED, Pipeline
from .prompts import MOST_WEIGHT, Prompt, begun_from, read
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

    def __init__(
        self,
        model: str | Path = BUNDLED[0],
        *,
        prediction: str | None = None,
        device: str | torch.device = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        models_dir: Path | None = None,
        low_vram: bool = False,
    ) -> None:
        """Opens a model: see `open_pipeline`."""
        where, number = choose(device, dtype, threads)
        if dtype == "auto" and where.type == "cuda" and number == torch.float32:
            number = torch.float16  # what these models are made for, on GPUs that do not compute in bf16
        self.pipeline = open_pipeline(model, where, number, models_dir, prediction)
        self.loras = Loras(self.pipeline)
        self.models_dir = models_dir
        self.settings = {
            "model": self.pipeline.source,
            "models_dir": None if models_dir is None else str(models_dir.absolute()),
            "prediction": prediction,
            "device": str(where),
            "dtype": name_of(number),
            "threads": torch.get_num_threads(),
            "low_vram": low_vram,
        }
        """The arguments that open it again."""
        self.room = Room(self.pipeline, low=low_vram)


class Plan(NamedTuple):
    """A run with every default filled in."""

    studio: Studio
    way: Choice
    prompt: Prompt
    negative: Prompt | None
    loras: dict[Path, float]
    """Files and their weights: those that were named, and those that the prompt names."""
    width: int
    height: int
    settings: dict[str, Any]

    @property
    def frame(self) -> tuple[int, int]:
        """(width, height) in pixels"""
        return self.width, self.height

    @property
    def scale(self) -> float:
        """Of classifier-free guidance."""
        return self.settings["true_cfg" if self.studio.pipeline.embedded else "guidance"]

    @property
    def calls(self) -> int:
        """Calls of the network for one batch, as the sampler makes them."""
        return self.way.calls * (1 if self.scale == 1 else 2)

    @property
    def batches(self) -> list[range]:
        count, size = self.settings["count"], self.settings["batch_size"]
        return [range(first, min(first + size, count)) for first in range(0, count, size)]


def plan(
    studio: Studio,
    prompt: str,
    *,
    negative: str | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    schedule: str | None = None,
    eta: float | None = None,
    guidance: float | None = None,
    true_cfg: float | None = None,
    size: tuple[int, int] | None = None,
    count: int = 1,
    seed: int = 0,
    init: Path | None = None,
    strength: float | None = None,
    mask: Path | None = None,
    loras: Sequence[tuple[Path, float]] = (),
    clip_skip: int = 1,
    batch_size: int | None = None,
) -> Plan:
    """Checks the settings of a prompt, without drawing; None is what presets/txt2img.toml says for this kind of model.
    `size` is (width, height) in pixels, `strength` the share of the noise that `init` is given; only what is white in
    `mask` is drawn. Raises DifftoolError 2 for what does not fit, 4 for a file that cannot be read."""
    pipeline = studio.pipeline
    start = preset("txt2img", pipeline.kind)
    said, against = read(prompt), read(negative or "", empty=True)
    if against.loras:
        raise DifftoolError(
            Exit.USAGE, "a LoRA is named in the negative prompt", "name it in the prompt, or with --lora"
        )
    if pipeline.source in BUNDLED and (unknown := strangers(f"{said.plain} {against.plain}")):
        log.warning(
            f"{pipeline.name} was never told of {', '.join(unknown)}; difftool txt2img --help says what it knows"
        )
    if true_cfg is not None and not pipeline.embedded:
        what = f"{pipeline.name} is not told its guidance, so that it has no other"
        raise DifftoolError(Exit.USAGE, what, "use --guidance")
    scales = {
        "guidance": float(start["guidance"] if guidance is None else guidance),
        "true_cfg": 1.0 if true_cfg is None else float(true_cfg),
    }
    for name, value in scales.items():
        if not GUIDANCE["least"] <= value <= GUIDANCE["most"]:
            raise DifftoolError(Exit.USAGE, f"{name} must be a number, not {value}", "leave it out")
    if not 1 <= count <= MOST:
        raise DifftoolError(Exit.USAGE, f"count must be at least 1 and at most {MOST:,}, not {count}", "try --count 4")
    strength = _strength(init, mask, strength)
    width, height = _size(pipeline, size, init)
    layers = getattr(pipeline.parts["text_encoder"].config, "num_hidden_layers", 12)
    if not 1 <= clip_skip < max(layers, 2):  # all have a last one
        what = f"its text encoder has {layers} layers, not {clip_skip} to skip"
        raise DifftoolError(Exit.USAGE, what, "try --clip-skip 2")
    if clip_skip > 1 and pipeline.family == "flux":
        what = "FLUX reads none of CLIP's layers but the last"
        raise DifftoolError(Exit.USAGE, what, "leave out --clip-skip")
    if mask is not None and not white(mask, (width, height)).any():
        what = f"nothing in the mask is white: {mask}"
        raise DifftoolError(Exit.USAGE, what, "paint white (255, not 1) what is to be drawn anew")
    path, name = pipeline.path(width, height), start["sampler"] if sampler is None else sampler
    if schedule is None:
        schedule = aliases.sampler(name).schedule or _spacing(pipeline, path, start["schedule"])
    if steps is None:
        steps = choice.preset_steps(sampler, start["sampler"], start["steps"])
    way = choice.choose(path, name, steps, schedule, eta, start=strength or 1.0)
    choice.refuse_pure_noise(pipeline.name, pipeline.target, way)
    fitting = max(1, min(BATCH_PIXELS // (width * height), BATCH_ITEMS))
    settings = {
        **studio.settings,
        "prompt": prompt,
        "negative": negative,
        **way.settings,
        **scales,
        "size": [width, height],
        "count": count,
        "seed": seed,
        "init": None if init is None else str(init.absolute()),
        "strength": strength,
        "mask": None if mask is None else str(mask.absolute()),
        "loras": [[str(file.absolute()), weight] for file, weight in loras],
        "clip_skip": clip_skip,
        "batch_size": min(fitting if batch_size is None else batch_size, count),
    }
    applied: dict[Path, float] = {}
    for file, weight in [*loras, *((stored(name, studio.models_dir), weight) for name, weight in said.loras)]:
        if not abs(weight) <= MOST_WEIGHT:
            what = f"the weight of {file} lies between -{MOST_WEIGHT:g} and {MOST_WEIGHT:g}, not at {weight}"
            raise DifftoolError(Exit.USAGE, what, "try 1")
        applied[there(file)] = applied.get(there(file), 0.0) + weight
    found = Plan(studio, way, said, against if against.plain.strip() else None, applied, width, height, settings)
    if found.negative is not None and found.scale == 1:
        log.warning("without guidance the negative prompt says nothing")
    return found


def _strength(init: Path | None, mask: Path | None, strength: float | None) -> float | None:
    """How much of a picture to begin from is drawn anew; None without one."""
    if not begun_from(init, mask, strength):
        return None
    assert init is not None
    strength = STRENGTH if strength is None else strength
    if not 0 < strength <= 1:
        raise DifftoolError(Exit.USAGE, f"strength lies above 0 and up to 1, not at {strength}", "try --strength 0.75")
    if mask is not None and rgb(mask).size != rgb(init).size:
        sizes = ["x".join(map(str, rgb(one).size)) for one in (mask, init)]
        what = f"the mask has the size {sizes[0]}, and the picture {sizes[1]}"
        raise DifftoolError(Exit.USAGE, what, "make a mask of the picture's size: white is drawn anew")
    return strength


def _spacing(pipeline: Pipeline, path: NoisePath, wanted: str) -> str:
    """The schedule of a preset, or where the path ends in pure noise its own: karras needs some signal."""
    pure = path.level(path.hi).alpha == 0
    return path.spacing if pure or pipeline.scheduler.get("timestep_spacing") == "trailing" else wanted


def _size(pipeline: Pipeline, size: tuple[int, int] | None, init: Path | None) -> tuple[int, int]:
    """(width, height); of a picture to begin from its own, made smaller where the model draws smaller ones."""
    step = pipeline.step
    if size is None and init is not None:
        own = rgb(init).size
        less = min(1.0, math.sqrt(math.prod(pipeline.native) / math.prod(own)))
        width, height = (max(round(side * less / step), 1) * step for side in own)
    else:
        width, height = pipeline.native if size is None else size
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


def again(settings: dict[str, Any]) -> Plan:
    """The plan that has these settings. Raises DifftoolError 2 where they are none."""
    kinds = [[type(part) for part in row] if isinstance(row, list) else [] for row in settings["loras"]]
    fits = [type(side) for side in settings["size"]] == [int, int]
    if not fits or not all(kind in ([str, float], [str, int]) for kind in kinds):
        raise DifftoolError(Exit.USAGE, "its size or its LoRAs are none", "take another copy of it")
    width, height = settings["size"]
    loras = [(Path(path), float(weight)) for path, weight in settings["loras"]]
    opening = {key: settings[key] for key in ("model", "prediction", "device", "dtype", "threads", "low_vram")}
    folder = settings["models_dir"]
    studio = Studio(**opening, models_dir=None if folder is None else Path(folder))
    rest = {key: value for key, value in settings.items() if key not in studio.settings}
    files = {key: None if rest[key] is None else Path(rest[key]) for key in ("init", "mask")}
    true_cfg = rest["true_cfg"] if studio.pipeline.embedded else None
    return plan(studio, **{**rest, **files, "size": (width, height), "loras": loras, "true_cfg": true_cfg})
