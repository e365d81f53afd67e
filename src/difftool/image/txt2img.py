"""Pictures from words: what `difftool txt2img` does."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import names, sampling
from ..core.guide import cfg, inpaint
from ..core.noise import START, Noise
from ..core.predict import Predict, denoiser
from ..core.solve import SAMPLERS, Sampler, State
from ..device import choose, name_of
from ..download import digest_of
from ..errors import DifftoolError, Exit
from ..files import manifest
from ..pictures import opened, to_pixels, upright
from ..presets import preset
from ..sampling import Choice
from .families import caller, told
from .lora import Loras, stored, there
from .pipeline import Pipeline, open_pipeline
from .pixels import Track, untracked
from .plan import MOST
from .prompts import MOST as HEAVIEST
from .prompts import Prompt, read
from .room import Room
from .text import Told, joined, repeated

if TYPE_CHECKING:
    from PIL import Image

    from ..core.level import Path as NoisePath
    from ..pictures import Pixels

log = logging.getLogger(__name__)

BATCH_PIXELS, BATCH_ITEMS = 2**20, 64
"""Pixels and pictures in a batch where nobody says how large: four of 512x512."""
STRENGTH = 0.75
"""Share of the noise that a picture to begin from is given."""
USUAL = Sampler._field_defaults["steps"]
PACKAGES = ("torch", "diffusers", "transformers")


class Studio:
    """An opened pipeline at work: which LoRAs are applied, and where its parts are."""

    def __init__(
        self,
        model: str | Path,
        *,
        prediction: str | None = None,
        device: str = "auto",
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


def txt2img(prompt: str, model: Studio | str | Path, **settings: Any) -> Pixels:
    """Pictures (N, H, W, 3) in uint8 of a prompt. `model` is a name of the store, a folder, a file, or a `Studio`,
    which keeps an opened one for many prompts and knows device and number format; `settings` are those of `plan`.

    Raises DifftoolError as `Studio`, `plan` and `draw` do.
    """
    import numpy as np

    studio = model if isinstance(model, Studio) else Studio(model)
    return np.stack([pixels for _, pixels in draw(plan(studio, prompt, **settings))])


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
    if true_cfg is not None and not pipeline.embedded:
        what = f"{pipeline.name} is not told its guidance, so that it has no other"
        raise DifftoolError(Exit.USAGE, what, "use --guidance")
    scales = {
        "guidance": float(start["guidance"] if guidance is None else guidance),
        "true_cfg": 1.0 if true_cfg is None else float(true_cfg),
    }
    for name, value in scales.items():
        if not abs(value) <= 1e30:
            raise DifftoolError(Exit.USAGE, f"{name} must be a number, not {value}", "leave it out")
    if not 1 <= count <= MOST:
        raise DifftoolError(Exit.USAGE, f"count must be at least 1 and at most {MOST:,}, not {count}", "try --count 4")
    strength = _strength(init, mask, strength)
    width, height = _size(pipeline, size, init)
    layers = getattr(pipeline.parts["text_encoder"].config, "num_hidden_layers", 12)
    if not 1 <= clip_skip < layers:
        what = f"its text encoder has {layers} layers, not {clip_skip} to skip"
        raise DifftoolError(Exit.USAGE, what, "try --clip-skip 2")
    if clip_skip > 1 and pipeline.family == "flux":
        what = "FLUX reads none of CLIP's layers but the last"
        raise DifftoolError(Exit.USAGE, what, "leave out --clip-skip")
    path, name = pipeline.path(width, height), start["sampler"] if sampler is None else sampler
    if schedule is None:
        schedule = names.sampler(name).schedule or _spacing(pipeline, path, start["schedule"])
    if steps is None and (sampler is None or SAMPLERS[names.sampler(name).row].steps == USUAL):
        steps = start["steps"]  # the others have a number of their own
    way = sampling.choose(path, name, steps, schedule, eta, start=strength or 1.0)
    first = way.levels[0]
    a, b = pipeline.target(first)
    if a * first.alpha == b * first.sigma:
        what = f"{pipeline.name} predicts the noise, which says nothing at pure noise, where {way.schedule} starts"
        raise DifftoolError(Exit.USAGE, what, "try --schedule leading, which starts a step below it")
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
        if not abs(weight) <= HEAVIEST:
            what = f"the weight of {file} lies between -{HEAVIEST:g} and {HEAVIEST:g}, not at {weight}"
            raise DifftoolError(Exit.USAGE, what, "try 1")
        applied[there(file)] = applied.get(there(file), 0.0) + weight
    found = Plan(studio, way, said, against if against.plain.strip() else None, applied, width, height, settings)
    if found.negative is not None and found.scale == 1:
        log.warning("without guidance the negative prompt says nothing")
    return found


def _strength(init: Path | None, mask: Path | None, strength: float | None) -> float | None:
    """How much of a picture to begin from is drawn anew; None without one."""
    if init is None:
        for value, what in (
            (mask, "a mask says what of a picture is drawn"),
            (strength, "strength belongs to a picture"),
        ):
            if value is not None:
                raise DifftoolError(Exit.USAGE, what, "name the picture with --init")
        return None
    strength = STRENGTH if strength is None else strength
    if not 0 < strength <= 1:
        raise DifftoolError(Exit.USAGE, f"strength lies above 0 and up to 1, not at {strength}", "try --strength 0.75")
    if mask is not None and _opened(mask).size != _opened(init).size:
        sizes = ["x".join(map(str, _opened(one).size)) for one in (mask, init)]
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
        own = _opened(init).size
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


def _opened(path: Path) -> Image.Image:
    """A picture in RGB, where it is transparent on white. Raises DifftoolError 4 where it cannot be read."""
    from PIL import Image

    with opened(path, "name a picture") as file:
        image = upright(file).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


class Known(NamedTuple):
    """A picture to begin from."""

    pixels: Tensor
    """(1, 3, H, W) in [-1, 1]"""
    latents: Tensor
    mask: Tensor | None
    """(1, 1, H, W): 1 where it is drawn anew."""


def draw(
    plan: Plan, *, only: Collection[int] | None = None, track: Track = untracked
) -> Iterator[tuple[dict[str, Any], Pixels]]:
    """({"index", "seed"}, uint8 (H, W, 3)) of each picture, or of `only` those with these indices, in the batches that
    the whole run has.

    Raises DifftoolError: 1 where the network returns NaN, 4 for a LoRA that does not fit, 6 where not even one picture
    finds room.
    """
    studio, room = plan.studio, plan.studio.room
    room.within(lambda: _apply(plan), plan.frame)
    wanted = [batch for batch in plan.batches if only is None or not set(batch).isdisjoint(only)]
    towards, away = room.within(lambda: conditioning(plan), plan.frame)
    known = room.within(lambda: _known(plan), plan.frame)

    def steps() -> Iterator[tuple[range, Tensor | None]]:
        for batch in wanted:
            yield from _batch(plan, batch, towards, away, known)

    total = len(wanted) * plan.way.steps
    for batch, latents in track(steps(), total):
        for k in batch if latents is not None else ():
            if latents is not None and (only is None or k in only):
                z = latents[k - batch.start][None]
                pixels = _finite(room.within(lambda z=z: decoded(studio, z), plan.frame))
                yield {"index": k, "seed": plan.settings["seed"] + k}, _finished(pixels, known)


def _apply(plan: Plan) -> None:
    with plan.studio.room.whole():
        plan.studio.loras.apply(plan.loras)


@torch.inference_mode()
def conditioning(plan: Plan) -> tuple[Told, Told | None]:
    """What the network is told of the prompt and, with guidance, of the other one."""
    pipeline = plan.studio.pipeline
    prompts = [plan.prompt] if plan.scale == 1 else [plan.prompt, plan.negative]
    with plan.studio.room.using(*(part for part in pipeline.encoders if part is not None)):
        found = told(pipeline, prompts, plan.settings["clip_skip"])
    return found[0], found[1] if len(found) > 1 else None


def _known(plan: Plan) -> Known | None:
    import numpy as np

    settings, device = plan.settings, plan.studio.pipeline.device
    if settings["init"] is None:
        return None
    image = _opened(Path(settings["init"])).resize(plan.frame)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    mask = None
    if settings["mask"] is not None:
        grey = _opened(Path(settings["mask"])).convert("L").resize(plan.frame)
        mask = (torch.from_numpy(np.asarray(grey).copy()) > 127).float()[None, None].to(device)
    return Known(pixels, encoded(plan.studio, pixels), mask)


def states(
    plan: Plan, seeds: Sequence[int], towards: Told, away: Told | None, known: Known | None = None
) -> Iterator[State]:
    """The engine's run for one batch of latents: the states after each step."""
    pipeline = plan.studio.pipeline
    shape = (pipeline.channels, plan.height // pipeline.factor, plan.width // pipeline.factor)
    first, noise = plan.way.levels[0], Noise(seeds, shape, pipeline.device)
    start = noise(START)
    predict = predictor(plan, len(seeds), towards, away)
    if known is not None and known.mask is not None:
        # a latent pixel of which any part is to be drawn anew is drawn anew
        mask = F.max_pool2d(known.mask, pipeline.factor)
        predict = inpaint(predict, known.latents, mask, start)
    x = first.sigma * start if known is None else first.alpha * known.latents + first.sigma * start
    yield from plan.way.run(predict, x, noise)


def predictor(plan: Plan, n: int, towards: Told, away: Told | None) -> Predict:
    """What the engine asks about a batch of `n`: the network, told of the prompt, and guided away from the other."""
    pipeline = plan.studio.pipeline
    rows = repeated(towards, n) if away is None else joined([repeated(towards, n), repeated(away, n)])
    cond = {"words": rows.words.to(pipeline.device, pipeline.dtype)}
    if rows.whole is not None:
        cond["whole"] = rows.whole.to(pipeline.device, pipeline.dtype)
    net = torch.inference_mode()(caller(pipeline, plan.width, plan.height, plan.settings["guidance"]))
    predict = denoiser(net, pipeline.target, dtype=pipeline.dtype, cond=cond)
    return predict if away is None else cfg(predict, None, plan.scale)


def _batch(
    plan: Plan, batch: range, towards: Told, away: Told | None, known: Known | None
) -> Iterator[tuple[range, Tensor | None]]:
    """(batch, None) after each step of it but the last, and after that (batch, latents)."""
    room, seeds = plan.studio.room, [plan.settings["seed"] + k for k in batch]
    done: list[Tensor] = []
    while len(done) < len(seeds):
        part = seeds[len(done) :][: room.fitting(len(seeds), plan.frame)]
        try:
            with room.using(plan.studio.pipeline.net):
                for state in states(plan, part, towards, away, known):
                    if state.i == plan.way.steps:
                        done += state.x
                    else:
                        yield batch, None
        except (RuntimeError, MemoryError) as error:
            room.ease(error, plan.frame, len(part))
    yield batch, _finite(torch.stack(done))


def _finite(x: Tensor) -> Tensor:
    if not x.isfinite().all():
        what = "the network returned numbers that are not finite"
        raise DifftoolError(Exit.FAILED, what, "try --dtype fp32, or bf16 where the GPU computes in it")
    return x


@torch.inference_mode()
def encoded(studio: Studio, pixels: Tensor) -> Tensor:
    """Latents (N, C, h, w) of pictures (N, 3, H, W) in [-1, 1]: the middle of what the encoder says of each."""
    pipeline, vae, config = studio.pipeline, studio.pipeline.vae, studio.pipeline.vae.config
    with studio.room.using(vae):
        z = vae.encode(pixels.to(pipeline.device, vae.dtype)).latent_dist.mode().float()
    mean, std = _statistics(config, z)
    return (z - mean) * config.scaling_factor / std


@torch.inference_mode()
def decoded(studio: Studio, latents: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in about [-1, 1] of latents."""
    vae, config = studio.pipeline.vae, studio.pipeline.vae.config
    mean, std = _statistics(config, latents)
    with studio.room.using(vae):
        return vae.decode((latents * std / config.scaling_factor + mean).to(vae.dtype), return_dict=False)[0]


def _statistics(config: Any, like: Tensor) -> tuple[Any, Any]:
    """(mean, deviation) that a decoder wants its latents to have, beside its factor."""
    if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
        rows = [torch.tensor(row).to(like).reshape(1, -1, 1, 1) for row in (config.latents_mean, config.latents_std)]
        return rows[0], rows[1]
    return getattr(config, "shift_factor", None) or 0.0, 1.0


def _finished(pixels: Tensor, known: Known | None) -> Pixels:
    """A picture (H, W, 3); where a mask keeps the picture it began from, that one's pixels."""
    if known is not None and known.mask is not None:
        pixels = torch.where(known.mask.to(pixels.device) > 0, pixels, known.pixels.to(pixels))
    return to_pixels(pixels)[0]


def again(settings: dict[str, Any]) -> Plan:
    """The plan that has these settings. Raises DifftoolError 2 where they are none."""
    try:
        size, loras = (
            tuple(map(int, settings["size"])),
            [(Path(path), float(weight)) for path, weight in settings["loras"]],
        )
        width, height = size
    except (TypeError, ValueError) as error:
        raise DifftoolError(
            Exit.USAGE, f"its size or its LoRAs are none: {error}", "take another copy of it"
        ) from error
    opening = {key: settings[key] for key in ("model", "prediction", "device", "dtype", "threads", "low_vram")}
    folder = settings["models_dir"]
    studio = Studio(**opening, models_dir=None if folder is None else Path(folder))
    rest = {key: value for key, value in settings.items() if key not in studio.settings}
    files = {key: None if rest[key] is None else Path(rest[key]) for key in ("init", "mask")}
    true_cfg = rest["true_cfg"] if studio.pipeline.embedded else None
    return plan(studio, **{**rest, **files, "size": (width, height), "loras": loras, "true_cfg": true_cfg})


def described(plan: Plan, name: str) -> dict[str, Any]:
    """The manifest of a run."""
    note = manifest("txt2img", name, plan.settings, PACKAGES)
    pipeline = plan.studio.pipeline
    size = [plan.height, plan.width]
    note["model"] = {"name": pipeline.name, "sha256": pipeline.sha256, "size": size, "classes": []}
    note["network_calls"] = plan.calls
    named = [*plan.loras, *(Path(plan.settings[key]) for key in ("init", "mask") if plan.settings[key] is not None)]
    note["files"] = {str(file): _digest(file, file.stat().st_mtime_ns) for file in named}
    return note


@lru_cache(1024)
def _digest(file: Path, changed: int) -> str:
    """The first digits of SHA-256, once for a file that was `changed` then."""
    return digest_of(file)[:16]
