"""The mel spectrogram of the voice in the package, that of Vocos and F5-TTS."""

from __future__ import annotations

from functools import cache

import torch
import torchaudio
from torch import Tensor

RATE, WINDOW, HOP, MELS = 24_000, 1024, 256, 100
"""Samples a second; samples of a frame's window, and between frames; bands."""
FAINTEST = 1e-7


def mel(sound: Tensor) -> Tensor:
    """Log mels (..., MELS, S // HOP) of sound (..., S) at RATE: magnitude, HTK's scale from 0 to 12,000 Hz, natural
    logarithm."""
    return log_bands(spectrum(sound).abs())


def log_bands(magnitudes: Tensor) -> Tensor:
    """Log mels (..., MELS, T) of magnitudes (..., WINDOW / 2 + 1, T)."""
    bands = filters().to(magnitudes.device) @ magnitudes
    return bands.clamp(min=FAINTEST).log()


def spectrum(sound: Tensor) -> Tensor:
    """The short-time spectrum (..., WINDOW / 2 + 1, S // HOP) of sound (..., S)."""
    window = torch.hann_window(WINDOW, device=sound.device)
    frames = sound.shape[-1] // HOP
    return torch.stft(sound, WINDOW, HOP, window=window, pad_mode="reflect", return_complex=True)[..., :frames]


@cache
def filters() -> Tensor:
    """The weights (MELS, WINDOW / 2 + 1) of the bins in each band."""
    bins = WINDOW // 2 + 1
    return torchaudio.functional.melscale_fbanks(bins, 0.0, RATE / 2, MELS, RATE).T.contiguous()
