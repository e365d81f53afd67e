"""Sound from the magnitudes of its spectrum, without trained weights.

A mel spectrogram is inverted in three stages: the magnitudes of all bins that explain its bands (non-negative least
squares), the phases that fit them (Griffin-Lim), and a correction of what the phases changed in the bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.noise import START, keys, uniform
from ..nets.spectrum import transformed
from .mels import MelFormat

UPDATES = 20
"""Updates of the magnitudes; more change little."""
ITERATIONS, MOMENTUM = 64, 0.99
"""Of Griffin-Lim."""
CORRECTIONS, LARGEST = 4, 1.0
"""Corrections of the bands, and how much each changes them at most, in natural logarithms."""
MARGIN = 1e-3
"""A band that is closer to the floor of its format is silent."""
PHASES = 1
"""The stage of the noise that the first phases are drawn from; stage 0 is the starting noise of a sampler."""
TINY = 1e-16


def inverted(own: MelFormat, bands: Tensor, seeds: Sequence[int]) -> Tensor:
    """Sound (B, (T - 1) * hop) from the bands (B, mels, T) of a format, by a seed for each item."""
    audible = torch.where(bands > own.floor * (1 + MARGIN), bands, 0.0)
    magnitudes = unmixed(audible, own.filters(bands)) ** (1 / own.power)
    sound = griffin_lim(magnitudes, own.hop, seeds, padding=own.padding)
    for _ in range(CORRECTIONS):
        sound = matched(own, sound, bands)
    return sound


def matched(own: MelFormat, sound: Tensor, bands: Tensor) -> Tensor:
    """A sound whose bands are closer to those given: each bin is scaled by what its bands lack. Quiet places gain most,
    into which the overlap of frames carries what is loud beside them."""
    frames = transformed(sound, own.window, own.hop, own.padding)
    filters = own.filters(sound)
    there = (filters @ frames.abs() ** own.power).clamp(min=own.floor)
    lacking = (bands.clamp(min=own.floor) / there).log().clamp(-LARGEST, LARGEST) / own.power
    shares = filters / filters.sum(0).clamp(min=TINY)
    window = torch.hann_window(own.window, device=sound.device)
    return torch.istft(frames * (shares.T @ lacking).exp(), own.window, own.hop, window=window)


def unmixed(bands: Tensor, filters: Tensor, updates: int = UPDATES) -> Tensor:
    """Non-negative bins (..., bins, T) whose bands under `filters` (mels, bins) come closest to `bands` (..., mels, T),
    by multiplicative updates (Lee & Seung 2001, "Algorithms for non-negative matrix factorization")."""
    wanted = filters.T @ bands
    bins = wanted
    for _ in range(updates):
        bins = bins * wanted / (filters.T @ (filters @ bins)).clamp(min=TINY)
    return bins


def griffin_lim(
    magnitudes: Tensor,
    hop: int,
    seeds: Sequence[int],
    *,
    iterations: int = ITERATIONS,
    momentum: float = MOMENTUM,
    padding: str = "reflect",
) -> Tensor:
    """The sound (B, (T - 1) * hop) whose spectrum has these magnitudes (B, bins, T), as far as one exists.

    The phases start at random, by a seed for each item, and are those of the sound that the spectrum makes, moved on by
    `momentum` (Perraudin et al. 2013, "A fast Griffin-Lim algorithm"; 0 is Griffin & Lim 1984). `padding`: how the
    ends of the sound were continued where the spectrum was taken.
    """
    size = 2 * (magnitudes.shape[-2] - 1)
    window = torch.hann_window(size, device=magnitudes.device, dtype=magnitudes.dtype)
    turns = uniform(keys(seeds, magnitudes.device), START, PHASES, math.prod(magnitudes.shape[1:]))
    angles = turns.reshape(magnitudes.shape).to(magnitudes.dtype) * (2 * math.pi)
    phases = torch.polar(torch.ones_like(angles), angles)
    before = torch.zeros_like(phases)
    for _ in range(iterations):
        sound = torch.istft(magnitudes * phases, size, hop, window=window)
        frames = torch.stft(sound, size, hop, window=window, pad_mode=padding, return_complex=True)
        ahead = frames - momentum / (1 + momentum) * before
        phases = ahead / ahead.abs().clamp(min=TINY)
        before = frames
    return torch.istft(magnitudes * phases, size, hop, window=window)
