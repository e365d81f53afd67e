"""The recipe of a run, from the preset, the user's settings and the data."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, TypedDict, cast

from .. import processes
from ..device import DeviceSettings, choose, cpu_computes_bf16, name_of
from ..errors import DifftoolError, Exit
from ..learning.config import DenoiserConfig, NetConfig, PathConfig, SourceConfig, TrainConfig
from ..presets import family
from ..presets import preset as read_preset
from ..settings import checked, options
from ..settings import name_of as option_name
from .settings import LENGTHS, Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .data.pictures import Pictures
    from .data.sounds import Sounds

log = logging.getLogger(__name__)

ALWAYS = ("batch_size", "lr", "warmup", "ema", "label_dropout", "weight_decay")
"""Numbers that every preset and every config contains."""
MEANINGS = {"weight": "plain", "times": "even", "flip": False, "learned_range": False, "gain": 0.0}
"""The values of these settings if a config does not contain them; None in `Settings` leaves them to the preset."""
POINTS = ("moons", "swiss_roll", "eight_gaussians")
LARGE = 32 * 32
"""Pixels per picture from which bf16 is faster on a CPU with bf16 instructions."""


class AutoencoderConfig(TypedDict):
    """The part of a config for its autoencoder."""

    share: float
    """Share of the length of the whole run."""
    batch_size: int
    lr: float
    warmup: float
    ema: float
    weight_decay: float
    net: dict[str, object]


class Row(TypedDict):
    """A preset; other keys are settings of the recipe."""

    data: NotRequired[str]
    target: str
    betas: NotRequired[str]
    zero_snr: NotRequired[bool]
    guidance: NotRequired[float]
    sound_format: NotRequired[str]
    frames: NotRequired[int]
    net: NetConfig
    autoencoder: NotRequired[AutoencoderConfig]


class PictureConfig(DenoiserConfig):
    """The config.json of a run of `train`."""

    autoencoder: NotRequired[AutoencoderConfig]


class Job(NamedTuple):
    """A checked run, ready to begin."""

    config: PictureConfig
    """The contents of config.json, without train.images until a run of minutes has been measured."""
    data: Pictures | Sounds
    device: torch.device
    dtype: torch.dtype
    settings: Settings
    weights: Mapping[str, Tensor] | None = None
    """Those that the network begins with; None if it begins anew."""

    @property
    def pictures(self) -> Pictures:
        """The data of a run on pictures."""
        return cast("Pictures", self.data)


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
        message = f"micro-batch must be between 1 and the batch size {batch}, not {settings.micro_batch}"
        raise DifftoolError(Exit.USAGE, message, "leave it out to choose it automatically")
    if processes.count() > batch:
        message = f"a batch of {batch} cannot be split among {processes.count()} processes"
        raise DifftoolError(Exit.USAGE, message, "start fewer processes, or use a larger --batch-size")
    if settings.init_from is not None and "autoencoder" in row:
        message = f"the preset {name} trains several networks, which --from cannot begin with"
        raise DifftoolError(Exit.USAGE, message, "leave out --from; --more trains a finished run further")
    from .data.decode import USUAL
    from .data.pictures import announce  # from here on it takes seconds
    from .initial import open_source, weights_for

    start = None if settings.init_from is None else open_source(settings.init_from)
    device, dtype = choose(settings.device, settings.dtype, settings.threads)
    device = processes.begin(device)
    source = row.get("data") if settings.data is None else settings.data
    data = processes.first(lambda: _read(str(source), name, row, settings))
    announce(data)
    log.info(data.summary)
    if settings.size is None and data.path is not None and data.shape[1:] == USUAL[::-1] and data.sound is None:
        log.info("for faster training use smaller pictures, such as --size 32x32")
    _suits(name, row, data, recipe, path, target)
    large = math.prod(data.shape[1:]) >= LARGE
    if settings.dtype == "auto" and device.type == "cpu" and large and cpu_computes_bf16():
        import torch

        dtype = torch.bfloat16
    learned_range = recipe.pop("learned_range", False)  # which the network has
    train: dict[str, object] = {"preset": name, "data": _described(data), "length": length, **recipe}
    train |= _images(length, batch, data.items)
    if "autoencoder" in row:
        train["guidance"] = row.get("guidance")
    train |= {"seed": settings.seed, "dtype": name_of(dtype)}
    if settings.micro_batch is not None:
        train["micro_batch"] = settings.micro_batch
    if start is not None:
        train["init_from"] = SourceConfig(name=start.model.name, sha256=start.model.sha256)
    config = _config(row, data, path, target, cast(TrainConfig, train), learned_range=learned_range)
    weights = None if start is None else weights_for(start, config)
    return Job(config, data, device, dtype, settings, weights)


def _read(source: str, name: str, row: Row, settings: Settings) -> Pictures | Sounds:
    """The data set of a run with a preset. Raises DifftoolError 2 for settings or a preset of the other kind of
    data."""
    from .data.pictures import BUILT_IN as PICTURES
    from .data.pictures import load
    from .data.sound_sets import BUILT_IN as SOUNDS
    from .data.sound_sets import load_sounds

    for_sounds = "frames" in row
    if source in (PICTURES if for_sounds else SOUNDS):
        kind = "sounds" if for_sounds else "pictures"
        raise DifftoolError(Exit.USAGE, f"the preset {name} is for {kind}, unlike {source}", "leave out --preset")
    if not for_sounds:
        _refuse(settings, ("sound_format", "frames", "gain"), "pictures")
        return load(source, settings.size, settings.held_out)
    _refuse(settings, ("size", "flip"), "sounds")
    sound_format = settings.sound_format or row.get("sound_format", "mel24")
    frames = row.get("frames", 0) if settings.frames is None else settings.frames
    return load_sounds(source, sound_format, frames, settings.held_out)


def _refuse(settings: Settings, names: Sequence[str], kind: str) -> None:
    """Raises DifftoolError 2 if one of these settings is given, as it has no meaning for this kind of data."""
    for name in names:
        if getattr(settings, name) is not None:
            option = option_name(name, options(Settings)[name])
            raise DifftoolError(Exit.USAGE, f"{option} has no meaning for {kind}", f"leave out {option}")


def defaults() -> dict[str, object]:
    """The values of recipe settings that a config does not contain. Settings of the machine are not in the recipe."""
    stored = {name for name, option in options(Settings).items() if option.stored}
    recipe = stored - {*options(DeviceSettings)}
    return {field.name: field.default for field in dataclasses.fields(Settings) if field.name in recipe}


def meanings() -> dict[str, object]:
    """The values of entries that a config does not contain, by their place in it."""
    values = {f"train.{name}": MEANINGS.get(name, default) for name, default in defaults().items()}
    return values | {"net.learned_range": MEANINGS["learned_range"]}


def option_names(items: str = "pictures") -> dict[str, str]:
    """The options behind the entries of a config, by their place in it, for a run that counts `items`."""
    names = {name: option_name(name, option) for name, option in options(Settings).items()}
    places = {name: f"train.{name}" for name in (*defaults(), "preset", "seed", "dtype", "init_from")}
    places |= {unit: f"train.length.{unit}" for unit in LENGTHS}
    places |= {"target": "target", "betas": "path.betas", "learned_range": "net.learned_range", "size": "size"}
    places |= {"sound_format": "sound.format", "frames": "sound.frames"}
    data = {"train.data.name": "DATA", "train.data.pictures": f"{items} of DATA"}
    source = {"train.init_from.name": "--from", "train.init_from.sha256": "weights of --from"}
    return {place: names[name] for name, place in places.items()} | data | source


def _suits(name: str, row: Row, data: Pictures | Sounds, recipe: dict[str, Any], path: PathConfig, target: str) -> None:
    """Raises DifftoolError 2 if the preset is for other data, or a setting for other networks."""
    if data.sound is not None:
        return
    pictures = cast("Pictures", data)
    if (row["net"]["type"] == "mlp") != pictures.points:
        kind = "2-D points" if row["net"]["type"] == "mlp" else "pictures"
        raise DifftoolError(Exit.USAGE, f"the preset {name} is for {kind}", "leave out --preset")
    if pictures.points and recipe.get("checkpointing"):
        raise DifftoolError(
            Exit.USAGE, f"the preset {name} does not support --checkpointing", "leave out --checkpointing"
        )
    if pictures.points and recipe.get("flip"):
        raise DifftoolError(Exit.USAGE, "2-D points cannot be mirrored", "leave out --flip")
    if "autoencoder" not in row:
        return
    _, height, width, _ = pictures.pixels.shape
    widths = [*_widths(row["autoencoder"]["net"]), *_widths(row["net"])]
    factor = 2 ** (len(widths) - 2)
    if pictures.captions is None or pictures.held_out is None:
        lacks = "captions" if pictures.captions is None else "held-out pictures"
        hint = (
            "put a .txt caption beside each picture" if lacks == "captions" else "use more pictures, or set --held-out"
        )
        message = f"the preset {name} needs {lacks}, but {pictures.name} has none"
        raise DifftoolError(Exit.USAGE, message, hint)
    if height != width or height % factor:
        message = f"the preset {name} needs square pictures whose size is a multiple of {factor}, not {width}x{height}"
        side = factor * 4
        raise DifftoolError(Exit.USAGE, message, f"add --size {side}x{side}")
    linear = path.get("betas") in ("linear", "scaled_linear")
    undefined = target == "eps" and path.get("zero_snr")  # at pure noise eps does not determine x0
    if not linear or undefined:
        message = (
            "a Stable Diffusion folder supports only linear and scaled_linear betas, and no eps target at zero SNR"
        )
        raise DifftoolError(Exit.USAGE, message, "leave out --target and --betas")
    for setting in ("flip", "learned_range", "checkpointing", "keep_averages"):
        if recipe.get(setting):
            option = setting.replace("_", "-")
            raise DifftoolError(Exit.USAGE, f"the preset {name} does not support --{option}", f"leave out --{option}")


def _widths(net: Mapping[str, object]) -> Sequence[int]:
    return cast(Sequence[int], net["widths"])


def _length(settings: Settings, row: Row) -> dict[str, float]:
    """The length of a new run as {unit: value}. Raises DifftoolError 2 if there are several."""
    units = (*LENGTHS, "more")
    given = {unit: value for unit in units if (value := getattr(settings, unit)) is not None}
    if len(given) > 1:
        message = f"{' and '.join(given)} cannot be used together"
        raise DifftoolError(Exit.USAGE, message, f"use only one of {', '.join(units)}")
    given.pop("more", None)
    return given or {unit: value for unit in LENGTHS if (value := row.get(unit)) is not None}


def _recipe(settings: Settings, row: Row, target: str) -> dict[str, Any]:
    """The settings of the recipe: the user's, else the preset's; optional ones may be missing."""
    recipe = {name: row.get(name) for name in ALWAYS}
    for name, default in defaults().items():
        value = getattr(settings, name)
        value = row.get(name) if value is None else value
        if name == "times" and value is None and target == "edm":
            value = "log_normal"
        if value is not None and value != default:
            recipe[name] = value
    if recipe.get("learned_range") and target in ("flow", "flow_rev", "edm"):
        message = f"a learned variance needs a discrete path, which {target} does not have"
        raise DifftoolError(Exit.USAGE, message, "use --target v, eps or x0 with --learned-range")
    if recipe.get("learned_range") and recipe.get("times", "even") != "even":
        message = "a learned variance needs --times even"
        raise DifftoolError(Exit.USAGE, message, "leave out --times")
    return {name: value for name, value in recipe.items() if name not in MEANINGS or value != MEANINGS[name]}


def _path(target: str, betas: str | None) -> PathConfig:
    """The path that a target is trained on, as `models.build_path` takes it."""
    if target in ("flow", "flow_rev", "edm") and betas is not None:
        raise DifftoolError(Exit.USAGE, f"the target {target} does not use betas", "leave out --betas")
    if target == "edm":
        return {"type": "karras", "lo": 0.002, "hi": 80.0}
    if target in ("flow", "flow_rev"):
        return {"type": "flow", "shift": 1.0, "clock": 1000}
    return {"type": "discrete_vp", "betas": betas or "cosine", "T": 1000}


def _described(data: Pictures | Sounds) -> dict[str, object]:
    """The data set as stored in a config."""
    return {"name": data.name, "pictures": data.items, "sha256": data.fingerprint}


def _images(length: dict[str, float], batch: int, epoch: int) -> dict[str, int]:
    """The number of pictures to see, as {"images": number}, in whole updates; not known yet for minutes."""
    ((unit, value),) = length.items()
    if unit == "minutes":
        return {}
    images = {"steps": batch, "images": 1, "epochs": epoch}[unit] * value
    return {"images": math.ceil(images / batch) * batch}


def _config(
    row: Row, data: Pictures | Sounds, path: PathConfig, target: str, train: TrainConfig, *, learned_range: bool
) -> PictureConfig:
    """The contents of config.json: the model, and the recipe of its training."""
    from ..models import SCHEMA

    channels, height, width = data.shape
    captioned = "autoencoder" in row
    config: dict[str, object] = {"schema": SCHEMA}
    if captioned:
        config["net"] = row["net"]
    else:
        own = {"channels": channels, "classes": len(data.classes)}
        if data.sound is not None:
            own["rows"] = height
        ranged = {"learned_range": True} if learned_range else {}
        config["net"] = {**row["net"], **ranged, **own}
    config |= {"path": path, "target": target, "size": [height, width]}
    config["classes"] = [] if captioned else data.classes
    if data.sound is not None:
        config["sound"] = {"format": data.sound.format.name, "frames": data.sound.frames}
    if captioned:
        config["autoencoder"] = row["autoencoder"]
    config["train"] = train
    return cast(PictureConfig, config)


def _usual(source: str) -> str:
    """The preset for a data set."""
    if "data" in family("train").get(source, {}):
        return source
    if source in POINTS:
        return "points"
    from .data.sound_sets import are_sounds

    return "sounds" if are_sounds(source) else "pictures"


def _preset(settings: Settings) -> tuple[str, Row]:
    """The preset by name, else the one for the data."""
    name, data = settings.preset, settings.data
    if name is None:
        name = _usual("digits" if data is None else str(data))
    row = cast(Row, read_preset("train", name))
    if data is None and "data" not in row:
        message = f"the preset {name} has no default data set"
        raise DifftoolError(Exit.USAGE, message, f"pass one: difftool train DATA --preset {name}")
    return name, row
