"""Clips that are there twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from difftool.audio.files import RATE
from difftool.voice.prep import twins
from difftool.voice.prep.clips import envelope


def syllables(seed: int, seconds: float = 4.0) -> np.ndarray:
    """Noise that is as loud as syllables are, in bands that come and go."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    time = np.arange(count) / RATE
    sound = np.zeros(count)
    for center in (200, 700, 1500, 3000):
        loud = np.exp(gaussian_filter1d(rng.normal(size=count // 240 + 2) * 8, 8))
        sound += np.interp(time * 100, np.arange(len(loud)), loud) * np.sin(2 * np.pi * center * time)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def clip(sound: np.ndarray, snr: float = 30.0, text: str = "") -> dict[str, Any]:
    figures = {"snr": snr, "seconds": len(sound) / RATE}
    return {"reasons": [], "text": text, "figures": figures, "envelope": envelope(sound)}


@pytest.mark.parametrize("late", [0.0, 0.025, 0.14, -0.2])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_copy_is_found_among_others(late: float, noise: float) -> None:
    """Louder, noisier, cut elsewhere: the cleanest stays."""
    rng = np.random.default_rng(0)
    takes = [clip(syllables(seed)) for seed in range(40)]
    sound = syllables(7)
    moved = sound[round(late * RATE) :] if late >= 0 else np.concatenate([np.zeros(round(-late * RATE)), sound])
    copy = clip(1.5 * (moved + noise * sound.std() * rng.normal(size=len(moved))).astype(np.float32), snr=20.0)
    twins.leave_out([*takes, copy])
    assert copy["reasons"] == ["duplicate"]
    assert not any(take["reasons"] for take in takes)


def test_texts_that_are_the_same() -> None:
    takes = [clip(syllables(0), 20.0, "One, two."), clip(syllables(1), 30.0, "One two")]
    twins.leave_out(takes)
    assert [take["reasons"] for take in takes] == [["duplicate"], []]


def test_four_times_the_clips_are_four_times_the_work() -> None:
    few, many = ([clip(syllables(seed, 2.0)) for seed in range(count)] for count in (50, 200))
    assert twins.leave_out(few) <= 50 * twins.CANDIDATES
    assert twins.leave_out(many) <= 200 * twins.CANDIDATES
