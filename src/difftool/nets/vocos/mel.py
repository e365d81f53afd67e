"""The mel spectrogram of Vocos, as F5-TTS takes it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..mini.mel import HOP, WINDOW, filters

FAINTEST = 1e-5


def mel(sound: Tensor) -> Tensor:
    """Log mels (..., MELS, 1 + S // HOP) of sound (..., S) at RATE, with S > WINDOW / 2: magnitude, HTK's scale from 0
    to 12,000 Hz, natural logarithm."""
    window = torch.hann_window(WINDOW, device=sound.device)
    spectrum = torch.stft(sound, WINDOW, HOP, window=window, pad_mode="reflect", return_complex=True)
    bands = filters().to(sound.device) @ spectrum.abs()
    return bands.clamp(min=FAINTEST).log()
