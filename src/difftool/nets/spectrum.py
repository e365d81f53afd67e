"""Short-time spectra of sound at 24 kHz and their mel bands, as in Vocos, F5-TTS and the voice in the package."""

from __future__ import annotations

from functools import cache

import torch
import torchaudio
from torch import Tensor

RATE, WINDOW, HOP, MELS = 24_000, 1024, 256, 100
"""Samples a second; samples of a frame's window, and between frames; bands."""


def transformed(sound: Tensor) -> Tensor:
    """The short-time spectrum (..., WINDOW / 2 + 1, 1 + S // HOP) of sound (..., S), with S > WINDOW / 2: the first and
    the last frame lie on its ends."""
    window = torch.hann_window(WINDOW, device=sound.device)
    return torch.stft(sound, WINDOW, HOP, window=window, pad_mode="reflect", return_complex=True)


def sound_of(frames: Tensor) -> Tensor:
    """The sound (B, HOP * T) of a short-time spectrum (B, WINDOW / 2 + 1, T)."""
    window = torch.hann_window(WINDOW, device=frames.device)
    return torch.istft(frames, WINDOW, HOP, window=window, length=HOP * frames.shape[-1])


def log_bands(magnitudes: Tensor, least: float) -> Tensor:
    """Log mels (..., MELS, T) of magnitudes (..., WINDOW / 2 + 1, T): HTK's scale from 0 to 12,000 Hz, natural
    logarithm, of at least `least`."""
    bands = filters().to(magnitudes.device) @ magnitudes
    return bands.clamp(min=least).log()


@cache
def filters() -> Tensor:
    """The weights (MELS, WINDOW / 2 + 1) of the bins in each band."""
    bins = WINDOW // 2 + 1
    return torchaudio.functional.melscale_fbanks(bins, 0.0, RATE / 2, MELS, RATE).T.contiguous()
