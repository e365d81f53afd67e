"""The mel spectrogram of the voice in the package: that of Vocos, less its last frame."""

from __future__ import annotations

from torch import Tensor

from ..spectrum import HOP, log_bands, transformed

FAINTEST = 1e-7


def mel(sound: Tensor) -> Tensor:
    """Log mels (..., MELS, S // HOP) of sound (..., S) at RATE."""
    return log_bands(spectrum(sound).abs(), FAINTEST)


def spectrum(sound: Tensor) -> Tensor:
    """The short-time spectrum (..., WINDOW / 2 + 1, S // HOP) of sound (..., S)."""
    return transformed(sound)[..., : sound.shape[-1] // HOP]
