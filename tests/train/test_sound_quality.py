"""The figures of sounds, where they are known."""

from __future__ import annotations

import numpy as np
import pytest

from difftool.audio.mels import FORMATS
from difftool.train.data.sounds import Recording, Sounds, starts_of
from difftool.train.sounds.quality import distance, features, quality_of, windows_of

OWN = FORMATS["mel16"]


def recorded(count: int, seed: int, frames: int = 40) -> Sounds:
    rng = np.random.default_rng(seed)
    made = (rng.standard_normal((count, frames, 80)) - 4).astype(np.float16)
    return Sounds("", OWN, 16, [Recording("", mels, starts_of(mels, OWN, 16)) for mels in made])


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return recorded(20, 0)._replace(held_out=recorded(10, 1))


def test_copies_are_found_at_any_shift(sounds: Sounds) -> None:
    mels = np.stack([each.mels[5:21].T for each in sounds.recordings]).astype(np.float32)
    copied = np.clip((mels - OWN.span[0]) * 2 / (OWN.span[1] - OWN.span[0]) - 1, -1, 1)
    assert quality_of(copied, sounds).nearest < 0.05
    assert 0.9 < quality_of(windows_of(recorded(10, 2), 30), sounds).nearest < 1.1


def test_other_loudness_is_another_distribution(sounds: Sounds) -> None:
    assert sounds.held_out is not None
    real = windows_of(sounds.held_out, 30)
    near = distance(windows_of(recorded(10, 3), 30), real, OWN)
    louder = distance(real + OWN.shift(6), real, OWN)
    assert louder == pytest.approx(36 / 4, rel=0.02)  # the means of all bands, a quarter of the features
    assert near < 3 < louder


def test_features_are_in_decibels() -> None:
    ramp = np.tile(np.arange(16) * OWN.shift(1), (1, 80, 1)).astype(np.float32)
    found = features(ramp, OWN)[0].reshape(4, 80)
    np.testing.assert_allclose(found[0], 7.5, rtol=1e-4)
    np.testing.assert_allclose(found[1], np.arange(16).std(), rtol=1e-4)
    np.testing.assert_allclose(found[2], 4, rtol=1e-4)
    np.testing.assert_allclose(found[3], 0, atol=1e-4)
