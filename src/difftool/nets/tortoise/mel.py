"""The two kinds of mel spectrograms that Tortoise was trained on."""

from __future__ import annotations

import json
from functools import cache

import torch
import torchaudio
from torch import Tensor

from . import DATA

CODE_HZ, SOUND_HZ = 22_050, 24_000
"""Sampling rates of the input of `UnifiedVoice` and of the output of `DiffusionTts` and the vocoder."""


def conditioning_mel(sound: Tensor) -> Tensor:
    """The input of `ConditioningEncoder`: sound (B, S) at 22,050 Hz to (B, 80, 1 + S // 256).

    Windows of 1,024, power, HTK's scale from 0 to 8,000 Hz with Slaney's norm, log, divided by a mean for each band.
    """
    spectrogram = _spectrogram(CODE_HZ, 80, 8000.0, 2.0, "htk").to(sound.device)
    means = _means().to(sound.device)
    return _log(spectrogram(sound)) / means[:, None]


def diffusion_mel(sound: Tensor) -> Tensor:
    """The input of `ContextualEmbedder` and the vocoder, and the output of the diffusion: sound (B, S) at 24,000 Hz,
    clipped to [-1, 1], to (B, 100, 1 + S // 256).

    Windows of 1,024, magnitude, Slaney's scale from 0 to 12,000 Hz with Slaney's norm, log.
    """
    spectrogram = _spectrogram(SOUND_HZ, 100, 12000.0, 1.0, "slaney").to(sound.device)
    return _log(spectrogram(sound.clip(-1, 1)))


def _log(mel: Tensor) -> Tensor:
    return mel.clamp(min=1e-5).log()


@cache
def _spectrogram(
    rate: int, mels: int, highest: float, power: float, scale: str
) -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        rate, n_fft=1024, hop_length=256, f_max=highest, n_mels=mels, power=power, norm="slaney", mel_scale=scale
    )


@cache
def _means() -> Tensor:
    return torch.tensor(json.loads((DATA / "mel_norms.json").read_text()))
