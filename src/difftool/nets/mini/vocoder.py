"""From a mel spectrogram to sound by a source and a filter: pulses at the predicted pitch, and noise, each shaped in
the short-time spectrum by a filter that is predicted for every frame (after DDSP, Engel et al. 2020, arXiv:2001.04643).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ConvNeXt
from ..spectrum import HOP, MELS, RATE, WINDOW, filters, sound_of
from .mel import mel, spectrum

LOWEST, HIGHEST, BINS = 50.0, 600.0, 240
"""Hz of the first and last bin of the pitch, 1.5 % apart."""
LARGEST_STEP = 1.0
"""Most that a band is corrected by, in natural logarithms."""


class Filters(NamedTuple):
    """What is predicted for each frame of a mel spectrogram."""

    pitch: Tensor
    """(B, BINS + 1, T) scores of the bins, and of being voiced"""
    pulses: Tensor
    """(B, WINDOW / 2 + 1, T) complex: the filter of the pulses"""
    noise: Tensor
    """(B, WINDOW / 2 + 1, T): the magnitude of the filter of the noise"""


class Vocoder(nn.Module):
    """Log mels (B, MELS, T), of Vocos' format, to sound (B, HOP * T)."""

    def __init__(self, width: int = 256, hidden: int = 640, blocks: int = 6) -> None:
        super().__init__()
        self.embed = nn.Conv1d(MELS, width, 7, padding=3)
        self.blocks = nn.Sequential(*[ConvNeXt(width, hidden) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pitch = nn.Linear(width, BINS + 1)
        bands = WINDOW // 2 + 1
        self.filters = nn.Linear(width, 3 * bands)

    def filters_of(self, mels: Tensor) -> Filters:
        """What the network predicts from a spectrogram."""
        h = self.blocks(self.embed(mels))
        h = self.norm(h.transpose(1, 2))
        scores, shapes = (layer(h).transpose(1, 2).float() for layer in (self.pitch, self.filters))
        size, phase, noise = shapes.chunk(3, 1)
        pulses = torch.polar(_magnitude(size), math.pi * phase)
        return Filters(scores, pulses, _magnitude(noise))

    def forward(self, mels: Tensor, noise: Tensor, pitch: Tensor | None = None) -> Tensor:
        """`noise`: (B, HOP * T), uniform in [-1, 1]; `pitch`: (B, T) Hz, 0 where unvoiced, by default as predicted."""
        predicted = self.filters_of(mels)
        return matched(filtered(predicted, noise, pitch_of(predicted.pitch) if pitch is None else pitch), mels)


def _magnitude(logarithm: Tensor) -> Tensor:
    return logarithm.clamp(max=8.0).exp()


def filtered(predicted: Filters, noise: Tensor, pitch: Tensor) -> Tensor:
    """The short-time spectrum (B, WINDOW / 2 + 1, T) of pulses at a `pitch` (B, T) in Hz and of `noise`, filtered."""
    voiced = spectrum(pulses(pitch)) * predicted.pulses
    return voiced + spectrum(noise) * predicted.noise


def matched(frames: Tensor, mels: Tensor) -> Tensor:
    """The sound (B, HOP * T) of a short-time spectrum that is brought closer to the mel spectrogram that it was
    predicted from: what overlapping frames and the chance of the noise changed in a band is undone."""
    off = (mels - mel(sound_of(frames))).clamp(-LARGEST_STEP, LARGEST_STEP)
    weights = filters().to(off.device)
    shares = weights / weights.sum(0).clamp(min=1e-8)
    return sound_of(frames * (shares.T @ off).exp())


def pulses(pitch: Tensor) -> Tensor:
    """Band-limited pulses (B, HOP * T) at a pitch (B, T) in Hz, silent where it is 0. The phase is continuous, and the
    pitch of an unvoiced frame that of the voiced one before."""
    voiced = F.pad(pitch > 0, (1, 1))
    inside = voiced.unfold(-1, 3, 1).all(-1)  # with voiced frames on both sides
    held = pitch.repeat_interleave(HOP, -1)
    smooth = F.interpolate(pitch[:, None], scale_factor=float(HOP), mode="linear")[:, 0]
    hertz = torch.where(inside.repeat_interleave(HOP, -1), smooth, held)
    phase = torch.cumsum(hertz.double() / RATE, -1)
    phase = (phase - phase.round()).to(hertz.dtype)
    period = RATE / hertz.clamp(min=1.0)
    return torch.where(hertz > 0, torch.sinc(phase * period), 0.0)


def centres(device: torch.device | None = None) -> Tensor:
    """(BINS,) Hz of the bins of the pitch."""
    return torch.logspace(math.log10(LOWEST), math.log10(HIGHEST), BINS, device=device)


def pitch_of(scores: Tensor) -> Tensor:
    """(B, T) Hz from the scores (B, BINS + 1, T): the mean around the best bin, 0 where unvoiced."""
    bins, voiced = scores.split([BINS, 1], 1)
    best = bins.argmax(1, keepdim=True)
    here = torch.arange(BINS, device=scores.device)[None, :, None]
    is_far = (here - best).abs() > 4
    shares = bins.masked_fill(is_far, -math.inf).softmax(1)
    logarithms = centres(scores.device).log()
    hertz = torch.einsum("bkt,k->bt", shares, logarithms).exp()
    return torch.where(voiced[:, 0] > 0, hertz, 0.0)
