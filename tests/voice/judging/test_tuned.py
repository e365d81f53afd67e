"""What training has changed, by the speaker encoder; words are those of a Whisper that hears one thing."""

from __future__ import annotations

import numpy as np
import pytest

from difftool.voice.judging import tuned
from difftool.voice.tuning.report import Recorded, Sentence


class Deaf:
    """A Whisper that always hears the same."""

    heard_language: str | None = None
    language: str | None = "en"


def tone(hertz: float) -> np.ndarray:
    clock = np.arange(40_000) / 24_000
    return (0.1 * np.sin(2 * np.pi * hertz * clock)).astype(np.float32)


def test_likeness_and_words_before_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuned, "listener", lambda *args, **more: Deaf())
    monkeypatch.setattr(tuned, "heard", lambda whisper, sound, spans: "one two")
    clips = [Recorded("one two", tone(200)), Recorded("one two three four", tone(201))]
    sentences = [Sentence("one two", tone(900), tone(200)), Sentence("one to", tone(900), tone(200))]
    figures = tuned.judge_with("cpu", None, "tiny")(sentences, clips)
    assert figures.before["likeness"] < figures.after["likeness"] <= 1
    assert figures.recorded["likeness"] == pytest.approx(1, abs=0.02)
    assert figures.after["wer"] == figures.before["wer"] == 25
    assert figures.recorded["wer"] == pytest.approx(100 * 2 / 6, abs=0.01)


def test_words_are_left_out_without_whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuned, "installed_size", lambda models_dir: None)
    clips = [Recorded("a", tone(200)), Recorded("b", tone(201))]
    figures = tuned.judge_with("cpu", None)([Sentence("a", tone(300), tone(200))], clips)
    assert set(figures.before) == set(figures.after) == set(figures.recorded) == {"likeness"}
