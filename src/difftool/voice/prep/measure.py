"""What a clip sounds like, in figures. All are measured on the clip alone, so that a figure can be heard in it."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from ...audio.files import RATE, Samples
from .activity import HOP
from .decode import TICK, Recording

Array = npt.NDArray[np.float32]

FRAME, STEP = 480, 240
"""Samples of a frame, 20 ms, and from one to the next."""
LONG_FRAME, LONG_STEP = 4096, 1024
"""The same for tones, which last."""
TONE, LASTS = 9.0, 10
"""dB by which a tone stands out of what is beside it, and long frames, 0.55 s, for which it stays: no voice holds so
still."""
WHITE, GONE = 1.5, 40.0
"""dB that the bands of white noise differ by at most, and by which noise falls when speech ends and a gate closes."""
FAINT, PLAIN, LOUDER = -41.0, -37.0, 0.4
"""dB over speech from where on such noise counts, and from where on its bands may differ by more, for each dB."""
COVERED = -30.0
"""dB over speech from where on white noise covers how sound dies away."""
DECAY_BANDS = (200, 400, 800, 1600, 3200, 6000)
DECAY = 12
"""Frames, 0.12 s, over which sound is seen to die away."""
LEAST = 1e-10


class Figures(NamedTuple):
    """A clip in figures."""

    seconds: float
    snr: float
    """dB of speech over what is there when nobody speaks"""
    clipped: float
    """% of samples in the flat tops of clipped waves, of the source's own samples"""
    crowded: float
    """% of samples within a tenth of the largest: where clipping was blurred by a codec, many are"""
    levels: float | None
    """Levels on each side of zero that the source's loudest sample is made of, where its steps can be seen; 8 bits have
    at most 128"""
    grain: float | None
    """dB of the noise under speech over speech, where it is as white as that of coarse steps, or gone in pauses"""
    treble: float
    """dB of 4.5 to 6 kHz over 300 to 3,400 Hz, each at its loudest: a telephone has none"""
    decay: float | None
    """dB a second at which sound dies away at its fastest: 60 over it is the reverberation time. Noise can cover it"""
    tones: float
    """Tones at a time that hold still as no voice does"""
    hum: float
    """dB by which the strongest tones stand out of what is there when nobody speaks"""
    speech: float
    """Share of the time in which somebody speaks"""
    level: float
    """dB of full scale, root mean square"""
    holes: int = 0
    """Places in it where something of the recording was lost, or could not be decoded"""


def measure(recording: Recording, likely: Array, start: float, end: float) -> Figures:
    """The figures of a span of a recording, in seconds; `likely` is how likely somebody speaks, in each HOP of it."""
    sound = recording.samples[round(start * RATE) : round(end * RATE)]
    told = likely[int(start / HOP) : max(int(start / HOP) + 1, int(end / HOP))]
    power = spectra(sound, FRAME, STEP)
    at = np.fft.rfftfreq(FRAME, 1 / RATE)
    energy = power[:, (at >= 100) & (at <= 8000)].sum(1) + LEAST
    spoken = np.interp((np.arange(len(energy)) + 1) * STEP / RATE, (np.arange(len(told)) + 0.5) * HOP, told) > 0.5
    quiet = np.sort(energy)[: max(1, len(energy) // 10)].mean()
    loud = energy[spoken].mean() if spoken.any() else energy.mean()
    grain = _grain(power, energy, at)
    levels = recording.levels[int(start) : int(end) + 1]
    flat = recording.flat[int(start / TICK) : int(end / TICK)]
    return Figures(
        seconds=round(end - start, 3),
        snr=_db(max(loud - quiet, LEAST) / quiet),
        clipped=round(100 * float(flat.mean()) if len(flat) else 0.0, 4),
        crowded=round(_crowded(sound), 3),
        levels=round(float(np.median(levels)), 1) if len(levels) and np.isfinite(np.median(levels)) else None,
        grain=grain,
        treble=_treble(power, at),
        decay=_decay(power, at) if (grain or FAINT) < COVERED else None,
        tones=_tones(sound),
        hum=_hum(sound),
        speech=round(float((told > 0.5).mean()), 3),
        level=_db(float(np.mean(sound.astype(np.float64) ** 2)) + LEAST),
        holes=recording.holes_in(start, end),
    )


def _db(ratio: float) -> float:
    return round(10 * float(np.log10(max(ratio, LEAST))), 1)


def spectra(sound: Samples, size: int, step: int) -> Array:
    """Power spectra of windowed frames, (frames, bins)."""
    padded = np.pad(sound, (0, max(0, size - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::step]
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    found = np.fft.rfft(frames * window, axis=1)
    return (found.real**2 + found.imag**2).astype(np.float32)


def _crowded(sound: Samples) -> float:
    large = np.abs(sound)
    top = np.partition(large, -max(1, len(large) // 1000))[-max(1, len(large) // 1000)]
    return 100 * float((large > 0.9 * top).mean())


def _treble(power: Array, at: Array) -> float:
    def level(low: float, high: float) -> float:
        return float(np.percentile(power[:, (at >= low) & (at < high)].mean(1), 97)) + LEAST

    return _db(level(4500, 6000) / level(300, 3400))


def _grain(power: Array, energy: Array, at: Array) -> float | None:
    """Looked for from 5 kHz up in the loud frames with the least of it, vowels, where speech hides it least."""
    loud = energy >= np.median(energy)
    high = (at >= 5000) & (at < 10500)
    hiss = power[:, high].mean(1)
    vowels = loud & (hiss <= np.percentile(hiss[loud], 25))
    bands = [power[np.ix_(vowels, (at >= low) & (at < low + 500))].mean() for low in range(5000, 10500, 500)]
    levels = 10 * np.log10(np.array(bands) + LEAST)
    pause = 10 * np.log10(hiss[energy <= np.percentile(energy, 5)].mean() + LEAST)
    found = float(levels.mean()) - 10 * float(np.log10(energy[loud].mean() / 100))
    white = WHITE + LOUDER * max(0.0, found - PLAIN)
    return round(found, 1) if levels.std() <= white or levels.mean() - pause >= GONE else None


def _decay(power: Array, at: Array) -> float:
    """The median over bands of the steepest twentieth of all falls from a loud frame."""
    time = (np.arange(DECAY) - (DECAY - 1) / 2) * STEP / RATE
    found = []
    for low, high in itertools.pairwise(DECAY_BANDS):
        level = 10 * np.log10(power[:, (at >= low) & (at < high)].mean(1) + LEAST)
        level = np.convolve(level, np.ones(3) / 3, "same")
        if len(level) < 2 * DECAY:
            continue
        slopes = np.convolve(level, time[::-1] / (time**2).sum(), "valid")
        falls = slopes[level[: len(slopes)] > np.median(level)]
        found.append(-np.percentile(falls, 5) if len(falls) else 0.0)
    return round(float(np.median(found)), 1) if found else 0.0


def _tones(sound: Samples) -> float:
    power = spectra(sound, LONG_FRAME, LONG_STEP)
    low, high = (int(hz * LONG_FRAME / RATE) for hz in (100, 5000))
    level = 10 * np.log10(power[:, low - 16 : high + 16] + LEAST)
    sums = np.cumsum(level, axis=1)
    around = np.pad((sums[:, 31:] - sums[:, :-31]) / 31, ((0, 0), (16, 15)), "edge")
    peaks = (level > np.roll(level, 1, 1)) & (level > np.roll(level, -1, 1)) & (level > around + TONE)
    peaks = peaks[:, 16:-16]
    near = peaks | np.roll(peaks, 1, 1) | np.roll(peaks, -1, 1)
    run, held = np.zeros(near.shape[1]), 0
    for row, peak in zip(near, peaks, strict=True):
        run = np.where(row, run + 1, 0)
        held += int((peak & (run >= LASTS)).sum())
    return round(held / len(peaks), 3)


def _hum(sound: Samples) -> float:
    power = spectra(sound, 2048, 512)
    energy = power.sum(1)
    quiet = power[energy <= np.percentile(energy, 12)].mean(0)
    level = 10 * np.log10(quiet[8:430] + LEAST)  # 90 to 5,000 Hz
    around = median_filter(level, 31)
    return round(float(np.sort(level - around)[-5:].mean()), 1)
