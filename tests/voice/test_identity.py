"""Voiceprints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from difftool.voice.identity import averaged, voiceprint
from difftool.voice.prep.clips import Take
from difftool.voice.prep.cut import Unit
from difftool.voice.prep.speakers import stored
from difftool.voice.prep.stages import _kept

GOLDEN = Path(__file__).parents[1] / "golden"


def test_loudness_and_rate_do_not_matter() -> None:
    sound, rate = soundfile.read(GOLDEN / "speech.ogg", dtype="float32", frames=5 * 22_050)
    first = voiceprint(sound, rate)
    assert first @ voiceprint(0.01 * sound, rate) >= 0.9999
    assert first @ voiceprint(sound[::2], rate // 2) >= 0.9  # without its treble
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("samples", [0, 1, 24_000])
def test_without_speech(samples: int) -> None:
    print_ = voiceprint(np.zeros(samples, np.float32))
    assert print_.shape == (256,)
    assert np.isfinite(averaged([print_, print_])).all()


def test_words_of_a_transcript_may_have_no_length() -> None:
    empty = Take(2.0, 4.0, (), {}, (), (Unit(3.0, 3.0), Unit(3.5, 3.4)))
    kept = _kept(empty, lambda unit: voiceprint(np.zeros(0, np.float32)))
    assert kept.get("voiceprint") == stored(voiceprint(np.zeros(0, np.float32)))
