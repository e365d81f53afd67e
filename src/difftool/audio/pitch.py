"""The pitch of speech, by autocorrelation (P. Boersma 1993, "Accurate short-term analysis of the fundamental frequency
and the harmonics-to-noise ratio of a sampled sound")."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .files import RATE, Samples

LOWEST, HIGHEST = 60.0, 500.0
"""Range in Hz."""
FRAME, STEP = 0.04, 0.01
"""Seconds of a frame, and from one to the next."""
VOICED, QUIETEST = 0.5, -25.0
"""Least correlation of a voiced frame, and dB below the loud frames under which a frame is not used."""
OCTAVE = 0.02
"""Correlation that an octave costs: a multiple of a period is a period too."""
BLOCK = 3000
"""Frames that are in memory at a time."""


def pitches(sound: Samples, rate: int = RATE) -> npt.NDArray[np.float64]:
    """Hz in each voiced frame of a sound (S,)."""
    size, step = round(FRAME * rate), round(STEP * rate)
    if len(sound) < size:
        return np.zeros(0)
    frames = np.lib.stride_tricks.sliding_window_view(sound, size)[::step]
    found = [_frame_pitches(frames[k : k + BLOCK], rate) for k in range(0, len(frames), BLOCK)]
    hertz, strength, power = (np.concatenate(parts) for parts in zip(*found, strict=True))
    loud = power > np.percentile(power, 95) * 10 ** (QUIETEST / 10)
    return hertz[loud & (strength > VOICED)]


def _frame_pitches(frames: Samples, rate: int) -> tuple[npt.NDArray[np.float64], ...]:
    """The pitch of each frame, how periodic it is, and its power."""
    size = frames.shape[1]
    window = np.hanning(size)
    centred = frames - frames.mean(1, keepdims=True, dtype=np.float64)
    own, windows = _autocorrelation(centred * window), _autocorrelation(window)
    first, last = int(rate / HIGHEST), int(rate / LOWEST) + 1
    lags = np.arange(first, last + 1)
    total = np.maximum(own[:, :1], 1e-9)
    correlation = own[:, first : last + 1] / total / (windows[first : last + 1] / windows[0])
    inner = correlation[:, 1:-1]
    is_peak = (inner >= correlation[:, :-2]) & (inner >= correlation[:, 2:])  # noise has none, and falls from lag 0 on
    costed = np.where(is_peak, inner - OCTAVE * np.log2(lags[1:-1] / first), -np.inf)
    best = costed.argmax(1) + 1
    rows = np.arange(len(frames))
    before, at, after = (correlation[rows, best + k] for k in (-1, 0, 1))
    strength = np.where(is_peak.any(1), at, 0.0)
    bend = before - 2 * at + after
    offset = np.where(bend < 0, (before - after) / (2 * np.where(bend < 0, bend, 1)), 0).clip(-1, 1)  # of a parabola
    return rate / (first + best + offset), strength, (centred**2).mean(1)


def _autocorrelation(frames: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    size = frames.shape[-1]
    return np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * size)) ** 2)[..., :size]
