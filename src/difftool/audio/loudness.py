"""Measurement and normalisation of loudness."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torchaudio.functional import resample

from .files import RATE, Samples

LEAST = 0.4
"""Minimum seconds for a measurement of loudness."""
WANTED, CEILING = -20.0, -1.0
"""Target in LUFS, and maximum true peak in dB of full scale, which takes precedence."""
OVER = 8
"""Oversampling for the true peak; ITU-R BS.1770 asks for 4."""
WIDTH = 24
"""Zero crossings of its filter."""
SILENT = -120.0
"""dB of full scale below which a sound is not normalised."""
ROUNDING = 0.02
"""Margin to the ceiling in dB, for 16 bits and for other filters."""


def loudness(sound: Samples, rate: int = RATE) -> float | None:
    """LUFS (ITU-R BS.1770) of a mono sound; None where it is too short or too quiet to be measured."""
    import pyloudnorm

    if len(sound) < LEAST * rate:
        return None
    with warnings.catch_warnings(action="ignore"):
        lufs = float(pyloudnorm.Meter(rate).integrated_loudness(sound))
    return lufs if np.isfinite(lufs) else None


def true_peak(sound: Samples) -> float:
    """True peak of a sound in dB of full scale (ITU-R BS.1770, annex 2)."""
    if not len(sound):
        return -np.inf
    fine = resample(torch.from_numpy(sound), 1, OVER, lowpass_filter_width=WIDTH)
    return 20 * float(np.log10(max(float(fine.abs().max()), 1e-9)))


def normalised(sound: Samples, rate: int = RATE) -> Samples:
    """The sound at WANTED LUFS, or as loud as its true peak allows."""
    for _ in range(2):  # twice, since the gate at -70 LUFS excludes more of a quiet sound
        peak = true_peak(sound)
        if peak < SILENT:
            return sound
        loud, room = loudness(sound, rate), CEILING - ROUNDING - peak
        change = room if loud is None else min(WANTED - loud, room)
        sound = (sound * 10 ** (change / 20)).astype(np.float32)
    return sound
