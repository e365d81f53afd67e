"""The sounds by formulas, and that a plain reader reads them."""

from __future__ import annotations

import numpy as np
import torch

from difftool.audio.inversion import inverted
from difftool.audio.mels import FORMATS
from difftool.train.data.sound_sets import load_sounds
from difftool.train.data.tone_reader import read
from difftool.train.data.tones import CLASSES, INSTRUMENTS, LENGTH, NOTES, draw_set, hertz_of


def accuracy(sounds: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """(share with the pitch within 30 cents, share with the instrument) of what is read."""
    right = []
    for sound, label in zip(sounds, labels, strict=True):
        instrument, note = CLASSES[label].split("-")
        reading = read(sound)
        right.append((abs(reading.cents(hertz_of(note))) <= 30, reading.instrument == instrument))
    pitch, instrument = np.mean(right, 0)
    return float(pitch), float(instrument)


def test_notes() -> None:
    assert hertz_of("A4") == 440 and hertz_of("A5") == 880
    assert abs(hertz_of("C5") - 523.25) < 0.01
    assert len(NOTES) == 12 and len(CLASSES) == 12 * len(INSTRUMENTS)


def test_a_sound_depends_on_its_number_only() -> None:
    few, _ = draw_set(3, held=False)
    more, labels = draw_set(5, held=False)
    np.testing.assert_array_equal(few, more[:3])
    assert labels.tolist() == [0, 1, 2, 3, 4] and more.shape == (5, LENGTH)
    assert np.abs(more).max() <= 0.8
    held, _ = draw_set(3, held=True)
    assert not (held == few).all(1).any()


def test_the_reader_is_right_on_true_sounds() -> None:
    pitch, instrument = accuracy(*draw_set(120, held=True))
    assert pitch >= 0.99 and instrument >= 0.99


def test_the_reader_is_right_after_the_inversion() -> None:
    sounds, labels = draw_set(60, held=True)
    sounds, labels = sounds[::3], labels[::3]
    own = FORMATS["mel24"]
    bands = own.bands(own.encode(torch.from_numpy(sounds)))
    copies = inverted(own, bands, range(len(bands)))
    pitch, instrument = accuracy(copies.numpy(), labels)
    assert pitch >= 0.99 and instrument >= 0.99


def test_the_set(monkeypatch) -> None:
    from difftool.train.data import sound_sets

    monkeypatch.setattr(sound_sets, "TONES", 120)
    monkeypatch.setattr(sound_sets, "TONES_HELD", 60)
    own = load_sounds("tones", "mel24", 64)
    assert own.held_out is not None and own.held_out.items == 60 and own.items == 120
    assert own.shape == (1, 100, 64) and own.classes == CLASSES
