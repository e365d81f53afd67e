"""The mel spectrogram of Vocos, as F5-TTS takes it."""

from __future__ import annotations

from torch import Tensor

from ..spectrum import log_bands, transformed

FAINTEST = 1e-5


def mel(sound: Tensor) -> Tensor:
    """Log mels (..., MELS, 1 + S // HOP) of sound (..., S) at RATE, with S > WINDOW / 2."""
    return log_bands(transformed(sound).abs(), FAINTEST)
