"""The speaker encoder, beside Resemblyzer 0.1.4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample

from difftool.models import ASSETS
from difftool.nets.ge2e import HEARD, windows_in
from difftool.voice.identity import encoder

GOLDEN = Path(__file__).parents[1] / "golden"


def test_vectors_are_those_of_resemblyzer() -> None:
    sound, rate = soundfile.read(GOLDEN / "speech.ogg", dtype="float32")
    heard = resample(torch.from_numpy(sound), rate, HEARD)
    stored = np.load(GOLDEN / "speaker.npz")
    edges = (stored["stretches"] * HEARD).round().astype(int)
    with torch.inference_mode():
        vectors = np.stack([encoder().embed(heard[start:end]).numpy() for start, end in edges])
    assert np.abs(vectors - stored["halves"]).max() <= 1e-5  # the same weights
    assert (vectors * stored["original"]).sum(1).min() >= 1 - 1e-5  # its own, before they were halved
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("samples", "count"),
    [(0, 1), (1, 1), (25_600, 1), (31_519, 1), (31_520, 2), (43_840, 3), (160_000, 12)],
)
def test_windows_of_a_sound(samples: int, count: int) -> None:
    assert windows_in(samples) == count
    assert encoder().windows(torch.zeros(samples)).shape == (count, 160, 40)


def test_the_weights_are_small() -> None:
    assert (ASSETS / "speaker" / "model.safetensors").stat().st_size <= 3_000_000
