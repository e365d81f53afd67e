"""Speech as it should not be recorded."""

from __future__ import annotations

import numpy as np
from scipy import signal

REASONS = {
    "clipped": "clipping",
    "phone": "phone",
    "noise": "noise",
    "chords": "music",
    "reverb": "reverb",
    "8 bit": "coarse",
    "silence": "silence",
}
"""What is done to speech, and the reason for which it must be left out."""


def spoil(kind: str, sound: np.ndarray, rate: int, seed: int = 0) -> np.ndarray:
    """A sound (S,) with one fault."""
    rng = np.random.default_rng(seed)
    power = float(np.sqrt(np.mean(sound**2)))
    if kind == "clipped":
        top = float(np.quantile(np.abs(sound), 0.97))
        return sound.clip(-top, top)
    if kind == "phone":
        return signal.sosfilt(signal.butter(6, [300, 3400], "band", fs=rate, output="sos"), sound)
    if kind == "noise":
        return sound + rng.normal(size=len(sound)) * power * 10 ** (-5 / 20)
    if kind == "chords":
        time = np.arange(len(sound)) / rate
        roots = np.array([220.0, 174.6, 196.0, 261.6])[(time.astype(int)) % 4]
        tones = sum(
            np.sin(2 * np.pi * roots * part * over * time) / over for part in (1, 1.26, 1.5) for over in (1, 2, 3)
        )
        return sound + tones * (power * 10 ** (-8 / 20) / np.sqrt(np.mean(tones**2)))
    if kind == "reverb":
        room = rng.normal(size=rate) * 10 ** (-3 * np.arange(rate) / rate)  # 60 dB in a second
        return 0.4 * sound + signal.fftconvolve(sound, room / np.sqrt((room**2).sum()))[: len(sound)]
    if kind == "8 bit":
        return np.round(sound * 127) / 127
    assert kind == "silence"
    return rng.normal(size=20 * rate) * 1e-4
