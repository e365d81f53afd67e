"""Acoustic figures of a clip, all measured on the clip alone."""

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
"""The same for tones."""
TONE, LASTS = 9.0, 10
"""dB by which a tone exceeds its surroundings, and long frames, 0.55 s, that it lasts: no voice is so steady."""
WHITE, GONE, STEADY = 1.5, 40.0, 2.0
"""dB by which bands of white noise differ at most, by which noise falls when a noise gate closes after speech, and by
which such noise then differs at most from vowel to vowel: the breath in a clean voice differs by more."""
FAINT, PLAIN, LOUDER = -41.0, -37.0, 0.4
"""dB over speech above which such noise counts, and above which its bands may differ by LOUDER more for each dB."""
COVERED = -30.0
"""dB over speech above which white noise masks the decay."""
DECAY_BANDS = (200, 400, 800, 1600, 3200, 6000)
DECAY = 12
"""Frames, 0.12 s, over which the decay is measured."""
LEAST = 1e-10


class Figures(NamedTuple):
    """Figures of a clip."""

    seconds: float
    snr: float
    """dB of speech over the background noise"""
    clipped: float
    """% of source samples in the flat tops of clipped waves"""
    crowded: float
    """% of samples within a tenth of the largest: high where a codec blurred clipping"""
    levels: float | None
    """Quantisation levels on each side of zero up to the loudest sample, where steps are visible; 8 bits have at most
    128"""
    grain: float | None
    """dB of the noise under speech over speech, where it is as white as quantisation noise, or as steady and gone in
    pauses"""
    treble: float
    """dB of 4.5 to 6 kHz over 300 to 3,400 Hz, each at its loudest: very low over a telephone"""
    decay: float | None
    """dB a second of the fastest decay: 60 over it is the reverberation time. None where noise masks it"""
    tones: float
    """Average number of simultaneous steady tones"""
    hum: float
    """dB by which the strongest tones exceed the background noise"""
    speech: float
    """Share of the time with speech"""
    level: float
    """dB of full scale, root mean square"""
    holes: int = 0
    """Places where the recording is incomplete or could not be decoded"""


def measure(recording: Recording, likely: Array, start: float, end: float) -> Figures:
    """The figures of a span of a recording, in seconds; `likely` is the probability of speech in each HOP of it."""
    sound = recording.samples[round(start * RATE) : round(end * RATE)]
    first_hop = int(start / HOP)
    speech = likely[first_hop : max(first_hop + 1, int(end / HOP))]
    # speech over background noise
    power = spectra(sound, FRAME, STEP)
    hertz = np.fft.rfftfreq(FRAME, 1 / RATE)
    energy = power[:, (hertz >= 100) & (hertz <= 8000)].sum(1) + LEAST
    frame_times = (np.arange(len(energy)) + 1) * STEP / RATE
    hop_times = (np.arange(len(speech)) + 0.5) * HOP
    spoken = np.interp(frame_times, hop_times, speech) > 0.5
    quiet = np.sort(energy)[: max(1, len(energy) // 10)].mean()
    loud = energy[spoken].mean() if spoken.any() else energy.mean()
    # what was measured at the rate of the source
    levels = recording.levels[int(start) : int(end) + 1]
    level_count = float(np.median(levels)) if len(levels) else np.inf
    flat = recording.flat[int(start / TICK) : int(end / TICK)]
    clipped = 100 * float(flat.mean()) if len(flat) else 0.0
    grain = _grain(power, energy, hertz)
    is_audible = (grain or FAINT) < COVERED
    mean_square = float(np.mean(sound.astype(np.float64) ** 2))
    return Figures(
        seconds=round(end - start, 3),
        snr=_db(max(loud - quiet, LEAST) / quiet),
        clipped=round(clipped, 4),
        crowded=round(_crowded(sound), 3),
        levels=round(level_count, 1) if np.isfinite(level_count) else None,
        grain=grain,
        treble=_treble(power, hertz),
        decay=_decay(power, hertz) if is_audible else None,
        tones=_tones(sound),
        hum=_hum(sound),
        speech=round(float((speech > 0.5).mean()), 3),
        level=_db(mean_square + LEAST),
        holes=recording.holes_in(start, end),
    )


def _db(ratio: float) -> float:
    return round(10 * float(np.log10(max(ratio, LEAST))), 1)


def spectra(sound: Samples, size: int, step: int) -> Array:
    """Power spectra of windowed frames, (frames, bins)."""
    padded = np.pad(sound, (0, max(0, size - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::step]
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    spectrum = np.fft.rfft(frames * window, axis=1)
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)


def _crowded(sound: Samples) -> float:
    large = np.abs(sound)
    rank = max(1, len(large) // 1000)
    top = np.partition(large, -rank)[-rank]
    return 100 * float((large > 0.9 * top).mean())


def _treble(power: Array, hertz: Array) -> float:
    def level(low: float, high: float) -> float:
        band = power[:, (hertz >= low) & (hertz < high)]
        return float(np.percentile(band.mean(1), 97)) + LEAST

    return _db(level(4500, 6000) / level(300, 3400))


def _grain(power: Array, energy: Array, hertz: Array) -> float | None:
    """Measured above 5 kHz in the loud frames with the least of it, vowels, where speech masks it least."""
    loud = energy >= np.median(energy)
    hiss = power[:, (hertz >= 5000) & (hertz < 10500)].mean(1)
    vowels = loud & (hiss <= np.percentile(hiss[loud], 25))
    bands = []
    for low in range(5000, 10500, 500):
        band = (hertz >= low) & (hertz < low + 500)
        bands.append(power[np.ix_(vowels, band)].mean())
    levels = 10 * np.log10(np.array(bands) + LEAST)
    quiet = energy <= np.percentile(energy, 5)
    pause = 10 * np.log10(hiss[quiet].mean() + LEAST)
    speech = 10 * float(np.log10(energy[loud].mean() / 100))
    grain = float(levels.mean()) - speech
    white = WHITE + LOUDER * max(0.0, grain - PLAIN)
    is_white, is_gone = levels.std() <= white, levels.mean() - pause >= GONE
    is_gated = is_gone and 10 * np.log10(hiss[vowels] + LEAST).std() <= STEADY
    return round(grain, 1) if is_white or is_gated else None


def _decay(power: Array, hertz: Array) -> float:
    """The median over bands of the steepest twentieth of all falls from a loud frame."""
    time = (np.arange(DECAY) - (DECAY - 1) / 2) * STEP / RATE
    slope_filter = time[::-1] / (time**2).sum()
    decays = []
    for low, high in itertools.pairwise(DECAY_BANDS):
        band = power[:, (hertz >= low) & (hertz < high)]
        level = 10 * np.log10(band.mean(1) + LEAST)
        level = np.convolve(level, np.ones(3) / 3, "same")
        if len(level) < 2 * DECAY:
            continue
        slopes = np.convolve(level, slope_filter, "valid")
        falls = slopes[level[: len(slopes)] > np.median(level)]
        decays.append(-np.percentile(falls, 5) if len(falls) else 0.0)
    return round(float(np.median(decays)), 1) if decays else 0.0


def _tones(sound: Samples) -> float:
    power = spectra(sound, LONG_FRAME, LONG_STEP)
    low, high = (int(hz * LONG_FRAME / RATE) for hz in (100, 5000))
    level = 10 * np.log10(power[:, low - 16 : high + 16] + LEAST)
    sums = np.cumsum(level, axis=1)
    means = (sums[:, 31:] - sums[:, :-31]) / 31
    around = np.pad(means, ((0, 0), (16, 15)), "edge")
    is_local_maximum = (level > np.roll(level, 1, 1)) & (level > np.roll(level, -1, 1))
    peaks = is_local_maximum & (level > around + TONE)
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
