"""Short-time spectra of sound and their mel bands; by default at 24 kHz, as in Vocos, F5-TTS and the voice in the
package."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

RATE, WINDOW, HOP, MELS = 24_000, 1024, 256, 100
"""Samples a second; samples of a frame's window, and between frames; bands."""


def transformed(sound: Tensor, window: int = WINDOW, hop: int = HOP, padding: str = "reflect") -> Tensor:
    """The short-time spectrum (..., window / 2 + 1, 1 + S // hop) of sound (..., S), with S > window / 2: the first and
    the last frame lie on its ends. `padding` beyond them: reflect, or constant for silence."""
    shape = torch.hann_window(window, device=sound.device)
    return torch.stft(sound, window, hop, window=shape, pad_mode=padding, return_complex=True)


def sound_of(frames: Tensor, window: int = WINDOW, hop: int = HOP) -> Tensor:
    """The sound (B, hop * T) of a short-time spectrum (B, window / 2 + 1, T)."""
    shape = torch.hann_window(window, device=frames.device)
    return torch.istft(frames, window, hop, window=shape, length=hop * frames.shape[-1])


def log_bands(magnitudes: Tensor, least: float) -> Tensor:
    """Log mels (..., MELS, T) of magnitudes (..., WINDOW / 2 + 1, T): HTK's scale from 0 to 12,000 Hz, natural
    logarithm, of at least `least`."""
    bands = filters().to(magnitudes.device) @ magnitudes
    return bands.clamp(min=least).log()


@cache
def filters(
    rate: int = RATE, window: int = WINDOW, mels: int = MELS, scale: str = "htk", norm: str | None = None
) -> Tensor:
    """The weights (mels, window / 2 + 1) of the bins in each band, from 0 Hz to half the rate: `scale` is htk or
    slaney, `norm` None or slaney."""
    import torchaudio  # takes a second

    bins = window // 2 + 1
    weights = torchaudio.functional.melscale_fbanks(bins, 0.0, rate / 2, mels, rate, norm=norm, mel_scale=scale)
    return weights.T.contiguous()
