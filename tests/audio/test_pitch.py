"""The pitch of sounds."""

from __future__ import annotations

import numpy as np
import pytest

from difftool.audio.files import RATE
from difftool.audio.pitch import pitches


def pulses(hertz: float, seconds: float = 1.0, wobble: float = 0.0) -> np.ndarray:
    """Harmonics of a tone whose pitch varies by a share of it."""
    time = np.arange(round(seconds * RATE)) / RATE
    phase = np.cumsum(hertz * (1 + wobble * np.sin(2 * np.pi * 3 * time))) / RATE
    return (0.1 * sum(np.sin(2 * np.pi * k * phase) / k for k in range(1, 12))).astype(np.float32)


@pytest.mark.parametrize("hertz", [72.0, 101.3, 187.0, 313.0, 440.0])
def test_tones(hertz: float) -> None:
    found = pitches(pulses(hertz))
    assert len(found) >= 95
    assert np.percentile(found, [2, 50, 98]) == pytest.approx(hertz, rel=5e-3)


def test_a_range() -> None:
    low, high = np.percentile(pitches(pulses(120, 4, wobble=0.2)), [0, 100])
    assert (low, high) == (pytest.approx(96, rel=0.03), pytest.approx(144, rel=0.03))


def test_without_pitch() -> None:
    rng = np.random.default_rng(0)
    assert len(pitches(np.zeros(10, np.float32))) == 0
    assert len(pitches(np.zeros(RATE, np.float32))) == 0
    assert len(pitches(0.1 * rng.normal(size=RATE).astype(np.float32))) <= 5


def test_dull_noise_has_no_pitch() -> None:
    """Its correlation falls from lag 0 on, so that the shortest lag is no period."""
    rng = np.random.default_rng(0)
    dull = np.convolve(rng.normal(size=RATE), np.hanning(300), "same").astype(np.float32)
    found = pitches(0.01 * dull)
    assert len(found) < 20
    assert not (found > 490).any()
