"""Reads pitch and instrument of a sound of `tones` by plain signal processing, to check what a model makes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .tones import RATE

Line = np.ndarray[Any, np.dtype[np.float64]]

FRAME, STEP = 2048, 256
"""Samples of a frame, and from one to the next."""
LOWEST, HIGHEST = 330.0, 1400.0
"""Range of pitches in Hz."""


class Reading(NamedTuple):
    """What was read of a sound."""

    instrument: str
    hertz: float

    def cents(self, hertz: float) -> float:
        """The distance from a pitch."""
        return 1200 * math.log2(self.hertz / hertz) if self.hertz > 0 else math.inf


def read(sound: Line) -> Reading:
    """Instrument and pitch of a sound (S,) at RATE."""
    frames = _frames(np.asarray(sound, np.float64))
    levels = 10 * np.log10((frames**2).mean(1) + 1e-12)
    loudest = levels.max()
    onset = int(np.argmax(levels > loudest - 20))

    def at(seconds: float) -> int:
        return min(onset + round(seconds * RATE / STEP), len(frames) - 1)

    fallen = levels[at(0.3) : at(0.4) + 1].mean() < loudest - 22
    if fallen:
        tail = spectrum(frames[at(0.07) : at(0.18) + 1])
        return Reading("drum", _pitch(tail))
    steady = spectrum(frames[at(0.28) : at(0.45) + 1])
    hertz = _pitch(steady)
    early = spectrum(frames[at(0.02) : at(0.08) + 1])
    if _near(early, 0.5 * hertz, 0.85 * hertz) > 0.5 * _near(early, 0.93 * hertz, 1.07 * hertz):
        return Reading("chirp", hertz)
    body = spectrum(frames[at(0.05) : at(0.15) + 1])
    first = _near(body, 0.97 * hertz, 1.03 * hertz)
    strike = _near(body, 2.70 * hertz, 2.81 * hertz) / first
    second = _near(body, 1.95 * hertz, 2.05 * hertz) / first
    if strike > 0.02 and strike > second:
        return Reading("bell", hertz)
    decay = levels[at(0.1)] - levels[at(0.4)]
    return Reading("pluck" if decay > 4 else "flute", hertz)


def _frames(sound: Line) -> Line:
    windows = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::STEP]
    return windows * np.hanning(FRAME)


def spectrum(frames: Line) -> Line:
    """The mean power spectrum of frames, with bins of RATE / (8 FRAME)."""
    return (np.abs(np.fft.rfft(frames, 8 * FRAME)) ** 2).mean(0)


def _near(power: Line, low: float, high: float) -> float:
    """The power between two frequencies."""
    first, last = (round(hertz * 8 * FRAME / RATE) for hertz in (low, high))
    return float(power[first:last].sum()) + 1e-12


def _pitch(power: Line) -> float:
    """The pitch in Hz: the lowest peak at most 12 dB below the highest in the range, by a parabola through the
    logarithms."""
    first, last = (round(hertz * 8 * FRAME / RATE) for hertz in (LOWEST, HIGHEST))
    logs = np.log(power + 1e-12)
    here = logs[first:last]
    peaks = np.flatnonzero((here[1:-1] > here[:-2]) & (here[1:-1] >= here[2:])) + 1
    high = peaks[here[peaks] > here.max() - 12 * math.log(10) / 10]
    if not len(high):
        return 0.0
    k = first + int(high[0])
    before, at, after = logs[k - 1 : k + 2]
    offset = (before - after) / (2 * (before - 2 * at + after))
    return float((k + offset) * RATE / (8 * FRAME))
