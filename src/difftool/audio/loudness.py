"""How loud a sound is, and sounds of one loudness."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torchaudio.functional import resample

from .files import RATE, Samples

LEAST = 0.4
"""Seconds that a loudness can be told of."""
WANTED, CEILING = -20.0, -1.0
"""LUFS of a clip, and dB of full scale that its true peak stays below, which goes before."""
OVER = 8
"""Times the rate at which a true peak is looked for; ITU-R BS.1770 asks for 4."""
WIDTH = 24
"""Zero crossings of the filter that looks for it."""
SILENT = -120.0
"""dB of full scale below which there is nothing to make louder."""
ROUNDING = 0.02
"""dB kept from the ceiling, for 16 bits and for another's filter."""


def loudness(sound: Samples, rate: int = RATE) -> float | None:
    """LUFS (ITU-R BS.1770) of a mono sound; None where it is too short or too quiet for it to be told."""
    import pyloudnorm

    if len(sound) < LEAST * rate:
        return None
    with warnings.catch_warnings(action="ignore"):
        found = float(pyloudnorm.Meter(rate).integrated_loudness(sound))
    return found if np.isfinite(found) else None


def true_peak(sound: Samples) -> float:
    """dB of full scale that a sound reaches between its samples too (ITU-R BS.1770, annex 2)."""
    if not len(sound):
        return -np.inf
    fine = resample(torch.from_numpy(sound), 1, OVER, lowpass_filter_width=WIDTH)
    return 20 * float(np.log10(max(float(fine.abs().max()), 1e-9)))


def normalised(sound: Samples, rate: int = RATE) -> Samples:
    """The sound at WANTED LUFS, or as loud as its true peak may be."""
    for _ in range(2):  # what lies below -70 LUFS does not count, which is more of a quiet sound than of a loud one
        peak = true_peak(sound)
        if peak < SILENT:
            return sound
        loud, room = loudness(sound, rate), CEILING - ROUNDING - peak
        sound = (sound * 10 ** ((room if loud is None else min(WANTED - loud, room)) / 20)).astype(np.float32)
    return sound
