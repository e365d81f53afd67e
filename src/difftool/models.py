"""Model folders: their format, and how they are opened and written.

A folder contains ``config.json`` (the network, its path and target, the size and classes of the pictures; for sounds
the format of their spectrograms) and ``model.safetensors``. Folders of diffusers' UNet2DModel, alone or in a DDPM-type
pipeline, can be opened too.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from .audio.mels import FORMATS, Sound, format_of
from .core.ema import misfit, posthoc
from .core.paths import Flow, Karras, Level, Path
from .core.predict import TARGETS, Target, edm_scale
from .errors import DifftoolError, Exit, is_out_of_memory, nearest
from .files import Loaded, expanded, load_tensors, read_json, save_tensors, write_json
from .limits import LARGEST
from .nets.diffusers import Autoencoder, Denoiser, combined, weights_in
from .nets.mlp import MLP
from .nets.official import same_shapes
from .nets.unet import UNet
from .schedulers import _VARIANCES, _known, _vp, discrete_path, target_of

log = logging.getLogger(__name__)

ASSETS = FilePath(__file__).parent / "assets"
BUNDLED = ("digits", "tones")
SCHEMA = "difftool/model/1"
MOST_CONFIG = 4 * 2**20
"""Maximum size of a config in bytes."""
AVERAGES = "averages"
"""The folder of stored averages of the weights in that of a run."""
AVERAGE = re.compile(r"(\d*[1-9]\d*)-(0\.[012]\d*)\.safetensors")
"""The name of one: the number of updates before it, and its width."""
ROUGH = 0.1
"""A larger misfit of combined averages is warned about."""


class Model(NamedTuple):
    """An opened model of pictures, or of sounds as spectrograms."""

    name: str
    source: str
    """The name of a bundled model, or the absolute path of a folder; `open_model` accepts both."""
    sha256: str
    """Hash of the weight file; with `ema`, of the width and the stored averages."""
    net: nn.Module
    """Called as net(x, t) or, with classes, net(x, t, label=...)."""
    path: Path
    target: Target
    shape: tuple[int, int, int]
    """(channels, height, width); of sounds (1, mels, frames), the lowest band first"""
    classes: tuple[str, ...]
    """Names of the labels; () for a model without labels."""
    any_label: bool
    """Whether the label len(classes) means no particular class; guidance needs it."""
    clip: bool
    """Whether the data are in [-1, 1]; estimates are then clipped to it."""
    variance: str = "small"
    """Variance of DDPM: small, large, or learned (the network returns twice the channels)."""
    scale: Callable[[Level], Any] | None = None
    """The factor of the network's input."""
    packages: tuple[str, ...] = ("torch",)
    """Packages whose versions affect its output."""
    ema: float | None = None
    """Width of the average of the weights; None: as published."""
    sound: Sound | None = None
    """What it generates, if it is a model of sounds."""
    autoencoder: Autoencoder | None = None
    """Makes spectrograms of what the network generates, if that is latents."""

    @property
    def item(self) -> str:
        """What it generates: a picture or a sound."""
        return item_of(self.sound)

    @property
    def stride(self) -> int:
        """Frames of a spectrogram for each column that the network generates."""
        return 1 if self.sound is None else self.sound.format.mels // self.shape[1]


def item_of(sound: object | None) -> str:
    """What a model, or a data set, with this `sound` consists of."""
    return "picture" if sound is None else "sound"


def open_model(
    ref: str | FilePath | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    ema: float | None = None,
) -> Model:
    """Opens a run folder, a model folder, a diffusers folder, or a bundled model by name (None: the first one). A
    `pathlib.Path` or a name with a slash, as from `typed`, is always a folder. With `ema` its weights are an average of
    this width, combined from those stored in a run folder.

    Raises DifftoolError 2 if `ema` is given and there are no stored averages, 4 if there is no such model, or its files
    are incomplete, damaged or inconsistent.
    """
    ref = BUNDLED[0] if ref is None else ref
    if ref == "":
        raise DifftoolError(
            Exit.USAGE, "the model name is empty", "pass a folder, or leave it out for the bundled digits model"
        )
    folder = expanded(ref)
    source = str(folder.absolute())
    if isinstance(ref, str) and ref in BUNDLED:
        folder, source = ASSETS / ref, ref
    if folder.is_file():
        raise DifftoolError(Exit.FILE, f"{ref} is a file, but a model is a folder", f"pass its folder: {folder.parent}")
    if not folder.is_dir():
        near = nearest(str(ref), BUNDLED)
        message = f"{ref} is not a folder, and no model of that name is in the store"
        hint = f"did you mean {near}?" if near else f"pass the folder of a model, or {', '.join(BUNDLED)}"
        raise DifftoolError(Exit.FILE, message, hint)
    is_foreign = _diffusers_config(folder) is not None
    if ema is not None and (is_foreign or not averages_of(folder)):
        message = f"--ema needs stored averages of the weights, and {ref} has none"
        raise DifftoolError(Exit.USAGE, message, "train with --keep-averages, or leave out --ema")
    try:
        model = _open_diffusers(folder, source) if is_foreign else _open_own(folder, source, ema)
        if min(model.shape) < 1 or max(model.shape) > LARGEST:
            channels, height, width = model.shape
            raise ValueError(f"invalid size {width}x{height} in {channels} channels")
        ends = (*model.path.level(model.path.hi), *model.path.level(model.path.lo))
        if not all(map(math.isfinite, ends)):
            raise ValueError("its noise path has values that are not finite")
    except MISFITS as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error.__cause__, KeyboardInterrupt):  # wrapped by Python while it creates a class
            raise error.__cause__ from None
        reason = f"lacks {error}" if isinstance(error, KeyError) else f"is invalid: {error}"
        message = f"the config.json in {folder} {reason}"
        raise DifftoolError(Exit.FILE, message, "restore the folder, or use another model") from error
    model.net.to(device=device, dtype=dtype).eval().requires_grad_(False)
    if model.autoencoder is not None:
        model.autoencoder.to(device).eval().requires_grad_(False)
    return model


def typed(folder: FilePath, bundled: Collection[str] = BUNDLED) -> str:
    """The argument that opens the model in a folder, even if a `bundled` one has the same name."""
    return f"./{folder}" if str(folder) in bundled else str(folder)


MISFITS = (
    *(KeyError, IndexError, TypeError, ValueError, AttributeError, NameError, ArithmeticError, AssertionError),
    RuntimeError,
)
"""Exceptions of building a network or path from invalid values."""


def read_config(path: FilePath) -> dict[str, Any]:
    """The config of a model. Raises DifftoolError 4 if there is none or it is too long."""
    if path.exists() and not (path.is_file() and path.stat().st_size <= MOST_CONFIG):
        message = f"{path} is not the config of a model: not a file, or longer than {MOST_CONFIG:,} bytes"
        raise DifftoolError(Exit.FILE, message, "restore the file or use another folder")
    return read_json(path)


@contextmanager
def bounded(tensors: int) -> Iterator[None]:
    """Inside, building a network with far more layers than `tensors` could fill raises ValueError: a config may ask for
    any number, and building them takes time and memory."""
    left = 1000 + 10 * tensors

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"its network has far too many layers for its {tensors:,} tensors")

    hook = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def build_net(config: Mapping[str, object]) -> nn.Module:
    """Builds the network of a config: ``{"type": "unet", ...}`` with the arguments of `UNet`, or ``mlp`` with those of
    `MLP`."""
    kinds: dict[str, type[nn.Module]] = {"unet": UNet, "mlp": MLP}
    kind = config["type"]
    if kind not in kinds:
        raise ValueError(f"unknown network type {kind!r}")
    return kinds[str(kind)](**{key: value for key, value in config.items() if key != "type"})


def build_path(config: Mapping[str, Any]) -> Path:
    """Builds the path of a config: ``{"type": "discrete_vp", "betas": "cosine", "T": 1000}``, with ``"zero_snr": true``
    ending in pure noise; ``{"type": "flow", "shift": 1.0, "clock": 1000}``, where clock is the network's time at pure
    noise; ``{"type": "karras", "lo": 0.002, "hi": 80}``."""
    if config["type"] == "discrete_vp":
        ends = (config.get("start"), config.get("end"))
        return _vp(config["betas"], config["T"], ends, config.get("zero_snr", False))
    if config["type"] == "karras":
        if not 1e-9 < config["lo"] < config["hi"] < 1e9:
            raise ValueError(f"invalid noise range from {config['lo']} to {config['hi']}")
        return Karras(config["lo"], config["hi"])
    if config["type"] == "flow":
        clock = config["clock"]
        return Flow(config["shift"], clock=lambda s: clock * s)
    raise ValueError(f"unknown path type {config['type']!r}")


def save_model(folder: FilePath, config: Mapping[str, object], weights: Mapping[str, Tensor]) -> None:
    """Writes a model folder. `config`: net, path, target, size ([height, width]), classes, and for sounds
    sound ({"format": "mel24", "frames": 128}); other keys are kept."""
    save_tensors(folder / "model.safetensors", weights)
    write_json(folder / "config.json", {"schema": SCHEMA, **config})


def save_average(folder: FilePath, weights: Mapping[str, Tensor], step: int, std: float) -> None:
    """Stores the average of width `std` after update number `step` of a run, in half precision."""
    halves = {name: value.half() for name, value in weights.items()}
    save_tensors(folder / AVERAGES / f"{step:09d}-{std:g}.safetensors", halves)


def averages_of(folder: FilePath) -> list[tuple[FilePath, int, float]]:
    """(path, step, width) of the averages stored in the folder of a run, in order."""
    paths = sorted((folder / AVERAGES).glob("*.safetensors"))
    return [(path, int(match[1]), float(match[2])) for path in paths if (match := AVERAGE.fullmatch(path.name))]


def _averaged(folder: FilePath, std: float, needed: Mapping[str, Tensor]) -> Loaded:
    """The average of width `std` at the last stored step of a run, for the weights `needed`."""
    paths, steps, stds = zip(*averages_of(folder), strict=True)
    shapes = {name: tuple(value.shape) for name, value in needed.items()}
    total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in needed.items()}
    shares = posthoc(steps, stds, max(steps), std)
    if (off := misfit(steps, stds, max(steps), std, shares)) > ROUGH:
        log.warning(f"the stored averages give one of width {std:g} only roughly (off by {off:.0%})")
    digest = hashlib.sha256(repr(std).encode())
    for path, share in zip(paths, shares, strict=True):
        stored = load_tensors(path)
        given = {name: tuple(value.shape) for name, value in stored.tensors.items()}
        same_shapes(shapes, given, path, "restore the folder, or leave out --ema")
        for name, value in stored.tensors.items():
            total[name].add_(value.float(), alpha=share)
        digest.update(stored.sha256.encode())
    return Loaded(total, {}, digest.hexdigest())


def _open_own(folder: FilePath, source: str, ema: float | None = None) -> Model:
    config = read_config(folder / "config.json")
    if config.get("schema") != SCHEMA:
        message = f"{folder} contains no model of difftool or diffusers"
        raise DifftoolError(Exit.FILE, message, "pass the folder of a model")
    weights = folder / "model.safetensors"
    if not weights.exists():
        message = f"{folder} contains no model.safetensors (yet)"
        raise DifftoolError(Exit.FILE, message, "wait for its training to finish, or use another folder")
    if config["target"] not in TARGETS:
        raise ValueError(f"unknown target {config['target']!r}")
    loaded = load_tensors(weights)
    with torch.device("meta"), bounded(len(loaded.tensors)):  # uses no memory, whatever the config says
        fits(build_net(config["net"]), loaded.tensors, weights)
    if ema is not None:
        loaded = _averaged(folder, ema, loaded.tensors)
    net = build_net(config["net"])
    if len(config["classes"]) != config["net"].get("classes", 0):
        raise ValueError(f"it lists {len(config['classes'])} classes, but its network has a different number")
    fill(net, loaded.tensors, weights)
    height, width = map(int, config["size"])
    channels, sound = int(config["net"]["channels"]), config.get("sound")
    return Model(
        name=FilePath(source).name,
        source=source,
        sha256=loaded.sha256,
        net=net,
        path=build_path(config["path"]),
        target=TARGETS[config["target"]],
        shape=(channels, height, width),
        classes=tuple(map(str, config["classes"])),
        # a network that was always given labels has no "any"
        any_label=bool(config["classes"]) and config.get("train", {}).get("label_dropout", 1) > 0,
        clip=True,
        variance="learned" if config["net"].get("learned_range") else "small",
        scale=edm_scale() if config["target"] == "edm" else None,
        ema=ema,
        sound=None if sound is None else _sound(sound["format"], int(sound["frames"]), (channels, height, width)),
    )


def _sound(name: str, frames: int, shape: tuple[int, int, int]) -> Sound:
    """What a model of sounds of this shape generates."""
    if name not in FORMATS:
        raise ValueError(f"unknown sound format {name!r}; known: {', '.join(FORMATS)}")
    own = FORMATS[name]
    if shape != (1, own.mels, frames):
        raise ValueError(f"its size {shape} is not that of {frames} frames of the sound format {name}")
    return Sound(own, frames)


def fill(net: nn.Module, tensors: Mapping[str, Tensor], origin: FilePath) -> None:
    """Loads weights into a network. Raises DifftoolError 4 if they do not fit."""
    fits(net, tensors, origin)
    net.load_state_dict(dict(tensors))


def fits(net: nn.Module, tensors: Mapping[str, Tensor], origin: FilePath) -> None:
    """Raises DifftoolError 4, with the first difference, unless names and shapes equal the network's."""
    own = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    same_shapes(own, given, origin, "use the config.json it was saved with")


def _diffusers_config(folder: FilePath) -> FilePath | None:
    """The config of the UNet2DModel in a diffusers folder; None for other folders."""
    if (folder / "model_index.json").exists():
        return folder / "unet" / "config.json"
    config = folder / "config.json"
    return config if config.exists() and "_class_name" in read_config(config) else None


PARTS = ("unet", "scheduler", "mel", "vqvae")
"""The parts of a pipeline of sounds; one of pictures has the first two."""


def _open_diffusers(folder: FilePath, source: str) -> Model:
    unet = _diffusers_config(folder)
    assert unet is not None
    config = read_config(unet)
    if config["_class_name"] != "UNet2DModel":
        needs = ", which needs an encoding of what it draws" if "Condition" in config["_class_name"] else ""
        message = f"{folder} is a {config['_class_name']}{needs}; sample supports UNet2DModel"
        raise DifftoolError(Exit.FILE, message, "pass the folder of a UNet2DModel")
    index = read_config(folder / "model_index.json") if unet.parent != folder else {}
    parts = {
        name: kind for name, kind in index.items() if not name.startswith("_") and kind not in (None, [None, None])
    }
    known = PARTS if "mel" in parts else PARTS[:2]
    if others := [name for name in parts if name not in known]:
        message = f"{folder} is a pipeline with a {others[0]}"
        raise DifftoolError(Exit.FILE, message, "sample supports models of pixels or mels only")
    scheduler_file = folder / "scheduler" / "scheduler_config.json"
    scheduler = read_config(scheduler_file) if scheduler_file.exists() else {"_class_name": "DDPMScheduler"}
    learned = config["out_channels"] == 2 * config["in_channels"]
    variance = _known(_VARIANCES, scheduler.get("variance_type", "learned_range" if learned else "fixed_small"))
    if learned != (variance == "learned") or not (learned or config["out_channels"] == config["in_channels"]):
        outs = f"{config['out_channels']} channels for {config['in_channels']}"
        raise ValueError(f"its network returns {outs}, which does not match the variance {variance} of its scheduler")
    from diffusers.models.unets.unet_2d import UNet2DModel

    net, sha256 = _opened(UNet2DModel, config, unet.parent, pickled="mel" in parts)
    for key, usable in (("thresholding", False), ("clip_sample_range", 1.0)):
        if scheduler.get(key, usable) != usable:
            raise ValueError(f"its scheduler sets {key}, which is not supported")
    sizes = config["sample_size"]
    height, width = sizes if isinstance(sizes, (list, tuple)) else (sizes, sizes)
    model = Model(
        name=FilePath(source).name,
        source=source,
        sha256=sha256,
        net=Denoiser(net),
        path=discrete_path(scheduler),
        target=target_of(scheduler),
        shape=(int(config["in_channels"]), int(height), int(width)),
        classes=tuple(map(str, range(config.get("num_class_embeds") or 0))),
        any_label=False,
        clip=bool(scheduler.get("clip_sample", scheduler["_class_name"] in ("DDPMScheduler", "DDIMScheduler"))),
        variance=variance,
        packages=("torch", "diffusers"),
    )
    return _sounding(model, folder, "vqvae" in parts) if "mel" in parts else model


def _opened(kind: Any, config: Mapping[str, object], folder: FilePath, *, pickled: bool) -> tuple[nn.Module, str]:
    """A network of diffusers of a class with the weights in its folder, and their hash."""
    weights, loaded = weights_in(folder, pickled=pickled)
    with torch.device("meta"), bounded(len(loaded.tensors)):
        fits(kind.from_config(config), loaded.tensors, weights)
    net = kind.from_config(config)
    fill(net, loaded.tensors, weights)
    return net, loaded.sha256


def _sounding(model: Model, folder: FilePath, has_latents: bool) -> Model:
    """A model of mel spectrograms, as `AudioDiffusionPipeline` saves it."""
    own, frames = format_of(read_config(folder / "mel" / "mel_config.json"))
    sound = Sound(own, frames)
    if not has_latents:
        if model.shape != (1, own.mels, frames):
            raise ValueError(f"its network draws {model.shape}, its mel {(1, own.mels, frames)}")
        return model._replace(sound=sound)
    config = read_config(folder / "vqvae" / "config.json")
    if config["_class_name"] != "AutoencoderKL":
        message = f"the autoencoder of {folder} is a {config['_class_name']}; sample supports AutoencoderKL"
        raise DifftoolError(Exit.FILE, message, "use a model without latents, or with an AutoencoderKL")
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    net, sha256 = _opened(AutoencoderKL, config, folder / "vqvae", pickled=True)
    factor = 2 ** (len(config["block_out_channels"]) - 1)
    if own.mels % factor:
        raise ValueError(f"its autoencoder needs bands in multiples of {factor}, and its mel has {own.mels}")
    scale = float(config.get("scaling_factor", 0.18215))
    if not 1e-6 < abs(scale) < 1e6:
        raise ValueError(f"the scaling_factor of its autoencoder is {scale}")
    latent = (int(config["latent_channels"]), own.mels // factor, frames // factor)
    if model.shape != latent or config["in_channels"] != config["out_channels"] or config["out_channels"] not in (1, 3):
        raise ValueError(f"its network draws latents of {model.shape}, its autoencoder {latent}")
    autoencoder = Autoencoder(net, scale, int(config["out_channels"]))
    return model._replace(sound=sound, autoencoder=autoencoder, sha256=combined(model.sha256, sha256))
