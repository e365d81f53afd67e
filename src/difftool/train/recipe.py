"""What a run is trained by: the preset, what was asked for otherwise, and what the data say."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict, cast

from .. import processes
from ..device import DeviceSettings, choose, name_of
from ..errors import DifftoolError, Exit
from ..learning.config import DenoiserConfig, NetConfig, PathConfig, TrainConfig
from ..presets import family
from ..presets import preset as read_preset
from ..settings import checked, options
from .settings import LENGTHS, Settings

if TYPE_CHECKING:
    import torch

    from .data.pictures import Pictures

log = logging.getLogger(__name__)

ALWAYS = ("batch_size", "lr", "warmup", "ema", "label_dropout", "weight_decay")
"""Numbers that every preset and every config tells of."""
MEANINGS = {"weight": "plain", "times": "even", "flip": False, "learned_range": False}
"""What a config means that does not tell of these, which are None in `Settings` where the preset decides."""
POINTS = ("moons", "swiss_roll", "eight_gaussians")
LARGE = 32 * 32
"""Pixels of a picture from which on bf16 is faster on a CPU that computes in it."""


class AutoencoderRow(TypedDict):
    """The part of a preset that is about its autoencoder."""

    share: float
    """Of the length of the whole run."""
    batch_size: int
    lr: float
    warmup: float
    ema: float
    weight_decay: float
    net: dict[str, object]


class Row(TypedDict):
    """A preset; what else stands there are settings of the recipe."""

    data: NotRequired[str]
    target: str
    betas: NotRequired[str]
    zero_snr: NotRequired[bool]
    guidance: NotRequired[float]
    net: NetConfig
    autoencoder: NotRequired[AutoencoderRow]


class PictureConfig(DenoiserConfig):
    """The config.json of a run of `train`."""

    autoencoder: NotRequired[AutoencoderRow]


class Job(NamedTuple):
    """A run that is checked and ready to begin."""

    config: PictureConfig
    """What will stand in config.json; without train.images while minutes are not yet measured."""
    pictures: Pictures
    device: torch.device
    dtype: torch.dtype
    settings: Settings


def prepare(data: str | Path | None = None, **settings: Any) -> Job:
    """`prepared` with these `Settings`."""
    return prepared(Settings(data=data, **settings))


def prepared(settings: Settings) -> Job:
    """Reads the data and checks the settings of `train`, without training."""
    settings = checked(settings)
    name, row = _preset(settings)
    length = _length(settings, row)
    target = row["target"] if settings.target is None else settings.target
    recipe = _recipe(settings, row, target)
    path = _path(target, row.get("betas") if settings.betas is None else settings.betas)
    if row.get("zero_snr"):
        path["zero_snr"] = True
    batch = recipe["batch_size"]
    if settings.micro_batch is not None and settings.micro_batch > batch:
        message = f"micro-batch must lie between 1 and the batch of {batch}, not {settings.micro_batch}"
        raise DifftoolError(Exit.USAGE, message, "leave it out: it is found by itself")
    if processes.count() > batch:
        message = f"{processes.count()} processes cannot share a batch of {batch}"
        raise DifftoolError(Exit.USAGE, message, "start fewer, or give a larger --batch-size")
    from .data.pictures import announce, load  # from here on it takes seconds

    device, dtype = choose(settings.device, settings.dtype, settings.threads)
    device = processes.begin(device)
    source = row.get("data") if settings.data is None else settings.data
    pictures = processes.first(lambda: load(str(source), settings.size, settings.held_out))
    announce(pictures)
    log.info(_summary(pictures))
    _suits(name, row, pictures, recipe, path, target)
    height, width = pictures.pixels.shape[1:3]
    if settings.dtype == "auto" and device.type == "cpu" and height * width >= LARGE and _computes_bf16():
        import torch

        dtype = torch.bfloat16
    learned_range = recipe.pop("learned_range", False)  # which the network has
    train: dict[str, object] = {"preset": name, "data": _described(pictures), "length": length, **recipe}
    train |= _images(length, batch, len(pictures.pixels))
    if "autoencoder" in row:
        train["guidance"] = row.get("guidance")
    train |= {"seed": settings.seed, "dtype": name_of(dtype)}
    if settings.micro_batch is not None:
        train["micro_batch"] = settings.micro_batch
    config = _config(row, pictures, path, target, cast(TrainConfig, train), learned_range=learned_range)
    return Job(config, pictures, device, dtype, settings)


def defaults() -> dict[str, object]:
    """What the settings of the recipe are of which a config does not tell. The machine is no part of the recipe."""
    recipe = {name for name, option in options(Settings).items() if option.stored} - {*options(DeviceSettings)}
    return {field.name: field.default for field in dataclasses.fields(Settings) if field.name in recipe}


def _suits(name: str, row: Row, pictures: Pictures, recipe: dict[str, Any], path: PathConfig, target: str) -> None:
    """Raises DifftoolError 2 where a preset is for other data, or a setting for other networks."""
    if (row["net"]["type"] == "mlp") != pictures.points:
        kind = "points of the plane" if row["net"]["type"] == "mlp" else "pictures"
        raise DifftoolError(Exit.USAGE, f"the preset {name} is for {kind}", "leave out --preset")
    if pictures.points and recipe.get("checkpointing"):
        raise DifftoolError(Exit.USAGE, f"the preset {name} has no checkpointing", "leave out --checkpointing")
    if pictures.points and recipe.get("flip"):
        raise DifftoolError(Exit.USAGE, "points of the plane cannot be mirrored", "leave out --flip")
    if "autoencoder" not in row:
        return
    _, height, width, _ = pictures.pixels.shape
    widths = [*_widths(row["autoencoder"]["net"]), *_widths(row["net"])]
    factor = 2 ** (len(widths) - 2)
    if pictures.captions is None or pictures.held_out is None:
        lacks = "captions" if pictures.captions is None else "held-out pictures"
        hint = "put a .txt beside each picture" if pictures.captions is None else "take more pictures, or --held-out"
        raise DifftoolError(Exit.USAGE, f"the preset {name} reads captions, and {pictures.name} has no {lacks}", hint)
    if height != width or height % factor:
        what = f"the preset {name} wants square pictures of a multiple of {factor} pixels, not {width}x{height}"
        raise DifftoolError(Exit.USAGE, what, f"add --size {factor * 4}x{factor * 4}")
    if path.get("betas") not in ("linear", "scaled_linear") or (target == "eps" and path.get("zero_snr")):
        what = (
            "a Stable Diffusion folder is written for linear or scaled_linear betas, and eps says nothing at pure noise"
        )
        raise DifftoolError(Exit.USAGE, what, "leave out --target and --betas")
    for setting in ("flip", "learned_range", "checkpointing"):
        if recipe.get(setting):
            what = f"the preset {name} has no {setting.replace('_', '-')}"
            raise DifftoolError(Exit.USAGE, what, f"leave out --{setting.replace('_', '-')}")


def _widths(net: Mapping[str, object]) -> Sequence[int]:
    return cast(Sequence[int], net["widths"])


def _computes_bf16() -> bool:
    """Whether the CPU multiplies in bf16 (AMX, AVX512-BF16), not just converts to it."""
    from torch import cpu

    return cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]


def classes_of(names: Sequence[str]) -> str:
    """How many classes there are, and what the first are called."""
    return f"{len(names)} classes ({', '.join(names[:10])}{', ...' if len(names) > 10 else ''})"


def _summary(pictures: Pictures) -> str:
    """What the data are, in a line."""
    number, height, width, channels = pictures.pixels.shape
    kinds = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}
    parts = [f"{number:,} {'points' if pictures.points else f'pictures of {width}x{height}, {kinds[channels]}'}"]
    parts += [classes_of(pictures.classes)] if pictures.classes else []
    parts += ["with captions"] if pictures.captions is not None else []
    parts += [f"{len(pictures.held_out.pixels):,} more held out"] if pictures.held_out is not None else []
    parts += [f"{pictures.duplicates:,} of them twice"] if pictures.duplicates else []
    return f"{pictures.name}: {', '.join(parts)}"


def _length(settings: Settings, row: Row) -> dict[str, float]:
    """The length as {unit: value}. Raises DifftoolError 2 where there are two."""
    given = {unit: getattr(settings, unit) for unit in LENGTHS if getattr(settings, unit) is not None}
    if len(given) > 1:
        message = f"a run has one length, not {' and '.join(given)}"
        raise DifftoolError(Exit.USAGE, message, f"give one of {', '.join(LENGTHS)}")
    return given or {unit: value for unit in LENGTHS if (value := row.get(unit)) is not None}


def _recipe(settings: Settings, row: Row, target: str) -> dict[str, Any]:
    """The settings of the recipe: those asked for, else the preset's, else, of those that need not be there, none."""
    recipe = {name: row.get(name) for name in ALWAYS}
    for name, default in defaults().items():
        value = getattr(settings, name)
        value = row.get(name) if value is None else value
        if name == "times" and value is None and target == "edm":
            value = "log_normal"
        if value is not None and value != default:
            recipe[name] = value
    if recipe.get("learned_range") and target in ("flow", "flow_rev", "edm"):
        message = f"a variance is learned for the steps of a discrete path, which {target} has not"
        raise DifftoolError(Exit.USAGE, message, "take --target v, eps or x0 with --learned-range")
    if recipe.get("learned_range") and recipe.get("times", "even") != "even":
        message = "a variance is learned at whole levels, which only even times are"
        raise DifftoolError(Exit.USAGE, message, "leave out --times")
    return {name: value for name, value in recipe.items() if name not in MEANINGS or value != MEANINGS[name]}


def _path(target: str, betas: str | None) -> PathConfig:
    """The path that a target is trained on, as `models.build_path` takes it."""
    if target in ("flow", "flow_rev", "edm") and betas is not None:
        raise DifftoolError(Exit.USAGE, f"{target} has a path of its own, without betas", "leave out --betas")
    if target == "edm":
        return {"type": "karras", "lo": 0.002, "hi": 80.0}
    if target in ("flow", "flow_rev"):
        return {"type": "flow", "shift": 1.0, "clock": 1000}
    return {"type": "discrete_vp", "betas": betas or "cosine", "T": 1000}


def _described(pictures: Pictures) -> dict[str, object]:
    """The data as a config tells of them."""
    return {"name": pictures.name, "pictures": len(pictures.pixels), "sha256": pictures.fingerprint}


def _images(length: dict[str, float], batch: int, epoch: int) -> dict[str, int]:
    """How many pictures are seen, as {"images": number}: whole updates. Of minutes it is not known yet."""
    ((unit, value),) = length.items()
    if unit == "minutes":
        return {}
    images = {"steps": batch, "images": 1, "epochs": epoch}[unit] * value
    return {"images": math.ceil(images / batch) * batch}


def _config(
    row: Row, pictures: Pictures, path: PathConfig, target: str, train: TrainConfig, *, learned_range: bool
) -> PictureConfig:
    """What stands in config.json: the model, and the recipe of its training."""
    from ..models import SCHEMA

    _, height, width, channels = pictures.pixels.shape
    own = {"channels": channels, "classes": len(pictures.classes)}
    ranged = {"learned_range": True} if learned_range else {}
    worded = "autoencoder" in row
    config = {
        "schema": SCHEMA,
        "net": row["net"] if worded else {**row["net"], **ranged, **own},
        "path": path,
        "target": target,
        "size": [height, width],
        "classes": [] if worded else pictures.classes,
        **({"autoencoder": row["autoencoder"]} if worded else {}),
        "train": train,
    }
    return cast(PictureConfig, config)


def _preset(settings: Settings) -> tuple[str, Row]:
    """The preset by name, else the one made for the data."""
    name, data = settings.preset, settings.data
    if name is None:
        known = "digits" if data is None else str(data)
        rows = family("train")
        name = known if known in rows and "data" in rows[known] else "points" if known in POINTS else "pictures"
    row = cast(Row, read_preset("train", name))
    if data is None and "data" not in row:
        raise DifftoolError(
            Exit.USAGE,
            f"the preset {name} has no data of its own",
            f"name them: difftool train DATA --preset {name}",
        )
    return name, row
