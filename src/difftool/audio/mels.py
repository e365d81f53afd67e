"""Formats of mel spectrograms: how sound becomes the picture that a network learns, in [-1, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from ..errors import DifftoolError, Exit
from ..nets.spectrum import filters, transformed

DECIBELS = math.log(10) / 20
"""The natural logarithm of a magnitude that is one dB louder."""


@dataclass(frozen=True)
class MelFormat:
    """A format of mel spectrograms: centred Hann windows, natural logarithms of bands from 0 Hz to half the rate, and
    a linear scale to [-1, 1]."""

    name: str
    rate: int
    """Samples a second"""
    window: int
    """Samples of a frame's window"""
    hop: int
    """Samples from a frame to the next"""
    mels: int
    """Bands"""
    scale: str
    """Mel scale: slaney or htk"""
    norm: str | None
    """Norm of the bands: slaney, for equal areas, or None"""
    power: int
    """1 for magnitudes, 2 for powers"""
    floor: float
    """The smallest value of a band"""
    span: tuple[float, float]
    """The logarithms that become -1 and 1"""
    padding: str = "reflect"
    """What is beyond the ends of a sound: reflect, or constant for silence"""
    relative: bool = False
    """Whether logarithms count from the largest of the spectrogram, so that its loudness is lost"""
    vocoders: tuple[str, ...] = ()
    """Networks that make sound of this format"""

    def logarithms(self, sound: Tensor) -> Tensor:
        """Sound (..., S) as log mels (..., mels, 1 + S // hop). A sound shorter than half a window is continued with
        silence."""
        least = self.window // 2 + 1  # what padding by reflection needs
        if sound.shape[-1] < least:
            longer = F.pad(sound, (0, least - sound.shape[-1]))
            return self.logarithms(longer)[..., : 1 + sound.shape[-1] // self.hop]
        spectrum = transformed(sound, self.window, self.hop, self.padding).abs()
        bands = self.filters(sound) @ (spectrum if self.power == 1 else spectrum.square())
        return bands.clamp(min=self.floor).log()

    def filters(self, like: Tensor) -> Tensor:
        """The weights (mels, window / 2 + 1) of the bins in each band, on the device of a tensor."""
        return filters(self.rate, self.window, self.mels, self.scale, self.norm).to(like.device)

    def centres(self) -> list[float]:
        """The frequency in Hz of the middle of each band."""
        bins = filters(self.rate, self.window, self.mels, self.scale, self.norm).argmax(1)
        return (bins * (self.rate / self.window)).tolist()

    def scaled(self, logarithms: Tensor) -> Tensor:
        """Log mels (..., mels, T) as mels in [-1, 1]."""
        low, high = self.span
        if self.relative:
            logarithms = logarithms - logarithms.amax((-2, -1), keepdim=True)
        return ((logarithms - low) * (2 / (high - low)) - 1).clamp(-1, 1)

    def encode(self, sound: Tensor) -> Tensor:
        """Sound (..., S) in [-1, 1] at `rate` as mels (..., mels, 1 + S // hop) in [-1, 1]."""
        return self.scaled(self.logarithms(sound))

    def bands(self, mel: Tensor) -> Tensor:
        """The bands (..., mels, T), magnitudes or powers, of mels in [-1, 1]: the inverse of the scale. Those of a
        `relative` format are relative to the loudest."""
        low, high = self.span
        return ((mel + 1) * ((high - low) / 2) + low).exp()

    def shift(self, decibels: float) -> float:
        """The difference on the scale from -1 to 1 of sound that is louder by so many dB."""
        low, high = self.span
        return decibels * DECIBELS * self.power * 2 / (high - low)

    def check_vocoder(self, vocoder: str) -> None:
        """Raises DifftoolError 2 for a network that makes sound of another format."""
        if vocoder not in self.vocoders:
            own = ", ".join(self.vocoders)
            message = f"the vocoder {vocoder} cannot decode the sound format {self.name}"
            hint = f"use {own}, or Griffin-Lim" if own else "only Griffin-Lim can"
            raise DifftoolError(Exit.USAGE, message, hint)


class Sound(NamedTuple):
    """What a model of sounds generates: spectrograms (mels, frames) of a format."""

    format: MelFormat
    frames: int

    @property
    def seconds(self) -> float:
        return self.frames * self.format.hop / self.format.rate

    @property
    def samples(self) -> int:
        """The longest sound whose frames are so many."""
        return self.frames * self.format.hop - 1


def _decibels(value: float) -> float:
    """The natural logarithm of a power in dB."""
    return value * math.log(10) / 10


FORMATS = {
    row.name: row
    for row in (
        # Tortoise's `diffusion_mel` and its scale
        MelFormat(
            *("mel24", 24_000, 1024, 256, 100, "slaney", "slaney", 1, 1e-5, (math.log(1e-5), 2.3143386840820312)),
            vocoders=("univnet",),
        ),
        # that of Vocos, F5-TTS and the voice in the package
        MelFormat(
            *("vocos24", 24_000, 1024, 256, 100, "htk", None, 1, 1e-7, (math.log(1e-7), math.log(512))),
            vocoders=("vocos", "mini"),
        ),
        MelFormat("mel16", 16_000, 1024, 256, 80, "slaney", "slaney", 1, 1e-5, (math.log(1e-5), 2.6)),
        MelFormat("mel44", 44_100, 2048, 512, 256, "slaney", "slaney", 1, 1e-5, (math.log(1e-5), 3.6)),
        # that of teticio/audio-diffusion: 80 dB below the maximum of each picture
        MelFormat(
            *("audio_diffusion", 22_050, 2048, 512, 256, "slaney", "slaney", 2, 1e-10, (_decibels(-80), 0.0)),
            padding="constant",
            relative=True,
        ),
    )
}
"""The formats by name. A sine or square wave of full scale stays just below 1. Where scale or floor differ, no vocoder
fits both."""
ORIGINAL = "audio_diffusion"
"""The format whose sizes a diffusers folder sets."""
SIZES = {
    "x_res": (256, 1, 2**13),
    "y_res": (256, 1, 2**13),
    "sample_rate": (22_050, 1_000, 1_000_000),
    "n_fft": (2048, 2, 2**14),
    "hop_length": (512, 1, 2**14),
    "top_db": (80, 1, 1_000),
}
"""The sizes in diffusers' config of a `Mel`: default, least and most."""


def format_of(mel: Mapping[str, object]) -> tuple[MelFormat, int]:
    """The format of diffusers' `Mel`, from its config, and the frames of its pictures. Raises ValueError for values
    that make no spectrogram."""
    sizes = {}
    for name, (default, least, most) in SIZES.items():
        value = mel.get(name, default)
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} of its mel must be a whole number from {least:,} to {most:,}, not {value!r}")
        sizes[name] = value
    if sizes["n_fft"] % 2 or not sizes["hop_length"] < sizes["n_fft"]:
        raise ValueError("the hop_length of its mel must be smaller than its n_fft, which must be even")
    own = replace(
        FORMATS[ORIGINAL],
        rate=sizes["sample_rate"],
        window=sizes["n_fft"],
        hop=sizes["hop_length"],
        mels=sizes["y_res"],
        span=(_decibels(-sizes["top_db"]), 0.0),
    )
    return own, sizes["x_res"]
