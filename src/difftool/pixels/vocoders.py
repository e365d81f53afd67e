"""Sound from mel spectrograms, by a network or without one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from ..audio import AUTO, GRIFFIN_LIM
from ..errors import DifftoolError, Exit
from ..files import digest_of, load_tensors, read_json
from ..models import ASSETS
from ..store import DERIVED, home

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..audio.mels import MelFormat

STORED = {"univnet": ("tortoise", "vocoder.pth"), "vocos": ("vocos", "pytorch_model.bin")}
"""The models of the store that hold a network, and its file."""
PACKAGED = {"mini": ASSETS / "mini" / "vocoder.safetensors"}
"""Those in the package. They are for speech: of other sounds Griffin-Lim makes better ones."""


class Vocoder(NamedTuple):
    """What makes sound of spectrograms."""

    name: str
    decode: Callable[[Tensor, int], Tensor]
    """Sound ((T - 1) * hop,) from bands (mels, T) and a seed, both on the CPU."""
    sha256: str | None = None
    """Hash of its weights."""


def vocoder_of(name: str, own: MelFormat, models_dir: Path | None, device: torch.device | str) -> Vocoder:
    """The vocoder of that name for a format; auto is a network of the store that is installed, or Griffin-Lim. Raises
    DifftoolError 2 for one of another format, 4 for one that is not installed or damaged."""
    if name == AUTO:
        fitting = (known for known in STORED if known in own.vocoders)
        name = next((known for known in fitting if _file(known, models_dir).exists()), GRIFFIN_LIM)
    if name == GRIFFIN_LIM:
        return Vocoder(name, lambda bands, seed: _inverted(own, bands, seed))
    own.check_vocoder(name)
    file = _file(name, models_dir)
    if not file.exists():
        message = f"the vocoder {name} is not installed: {file} does not exist"
        raise DifftoolError(Exit.FILE, message, f"run difftool models pull {STORED[name][0]}")
    network = {"univnet": _univnet, "vocos": _vocos, "mini": _mini}[name](file, device)

    def decode(bands: Tensor, seed: int) -> Tensor:
        mels = bands.log()[None].to(device)
        return network(mels, seed)[0, : (bands.shape[-1] - 1) * own.hop].cpu()

    return Vocoder(name, decode, digest_of(file))


def _file(name: str, models_dir: Path | None) -> Path:
    """The weights of a network. Those of Tortoise are there under another name once it has spoken."""
    if name in PACKAGED:
        return PACKAGED[name]
    model, file = STORED[name]
    official = home(models_dir) / model / file
    converted = official.with_name(file + DERIVED)
    return converted if converted.exists() and not official.exists() else official


def _inverted(own: MelFormat, bands: Tensor, seed: int) -> Tensor:
    from ..audio.inversion import inverted

    return inverted(own, bands[None], [seed])[0]


def _univnet(file: Path, device: torch.device | str) -> Callable[[Tensor, int], Tensor]:
    import torch

    from ..core.noise import START, Noise
    from ..nets.official import Checkpoint, loaded, stored_in
    from ..nets.tortoise.official import VOCODER
    from ..nets.tortoise.vocoder import TAIL, UnivNet

    config = file.with_name("config.json")
    sizes = read_json(config).get("vocoder", {}) if config.exists() else {}
    checkpoint = VOCODER._replace(parts={"vocoder": ("", partial(UnivNet, **sizes))})
    if file.name.endswith(DERIVED):  # has our own names
        checkpoint = Checkpoint(checkpoint.parts)
    hint = "run difftool models pull tortoise --overwrite"
    stored = stored_in(file, checkpoint, hint)
    net = cast(UnivNet, loaded("vocoder", checkpoint, stored, file, hint, device=device, dtype=torch.float32))

    def sound(mels: Tensor, seed: int) -> Tensor:
        noise = Noise([seed], (net.noise, mels.shape[-1] + TAIL), device)
        return net(mels, noise(START, 1))

    return sound


def _vocos(file: Path, device: torch.device | str) -> Callable[[Tensor, int], Tensor]:
    from ..nets.vocos.official import load

    net = load(file, device=device)
    return lambda mels, seed: net(mels)


def _mini(file: Path, device: torch.device | str) -> Callable[[Tensor, int], Tensor]:
    from ..core.noise import START, keys, uniform
    from ..nets.mini.vocoder import Vocoder as Network
    from ..nets.spectrum import HOP

    net = Network()
    net.load_state_dict({name: value.float() for name, value in load_tensors(file).tensors.items()})
    net.to(device).eval().requires_grad_(False)

    def sound(mels: Tensor, seed: int) -> Tensor:
        hiss = uniform(keys([seed], device), START, 1, HOP * mels.shape[-1])
        return net(mels, 2 * hiss - 1)

    return sound
