"""What is said in a recording: from files, and by Whisper."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_whisper
import torch

from difftool.errors import DifftoolError
from difftool.voice.prep.activity import Span
from difftool.voice.prep.decode import decode
from difftool.voice.prep.transcribe import (
    GAP,
    PORTION,
    Transcript,
    Whisper,
    error_rate,
    found,
    known_language,
    portions,
)

SPEECH = Path(__file__).parents[1] / "golden" / "speech.ogg"
CPU = torch.device("cpu")
SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello <i>there</i>,\nyou.\n\n2\n01:00:03,250 --> 01:00:05,000\nBye.\n"
VTT = "WEBVTT\n\n00:01.000 --> 00:02.500\nHello <b>there</b>,\nyou.\n\n01:00:03.250 --> 01:00:05.000\nBye.\n"
JSON = """{"text": "", "segments": [
 {"start": 1.0, "end": 2.5, "text": " Hello there, you.", "avg_logprob": -0.25, "no_speech_prob": 0.01},
 {"start": 3603.25, "end": 3605.0, "text": " Bye.",
  "words": [{"word": " Bye.", "start": 3603.3, "end": 3604.9, "probability": 0.9}]}]}"""


@pytest.mark.parametrize(
    ("name", "text"), [("a.srt", SRT), ("a.vtt", VTT), ("a.json", JSON), ("b.srt", "\ufeff" + SRT)]
)
def test_transcripts(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    first, second = Transcript(tmp_path / name).segments
    assert (first.start, first.end, first.text) == (1.0, pytest.approx(2.5), "Hello there, you.")
    assert [word.text for word in first.words] == ["Hello", "there,", "you."]
    assert first.words[1].end - first.words[1].start == pytest.approx(1.5 * 7 / 18)
    assert not first.exact
    assert second.text == "Bye."
    if name.endswith("json"):
        assert second.exact
        assert second.words[0] == (3603.3, 3604.9, "Bye.", 0.9)
        assert first.scores == {"avg_logprob": -0.25, "no_speech_prob": 0.01}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.srt", ""),
        ("a.srt", "this is no transcript"),
        ("a.vtt", "WEBVTT\n"),
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.json", '{"segments": []}'),
        ("a.json", '{"segments": [{"start": 0, "end": NaN, "text": "a"}]}'),
        ("a.json", '{"segments": [{"start": 0, "end": 1, "words": [{"word": "a", "start": 0, "end": Infinity}]}]}'),
        ("a.json", '{"segments": 7}'),
    ],
)
def test_what_is_no_transcript(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DifftoolError) as caught:
        Transcript(tmp_path / name)
    assert caught.value.code == 4


def test_a_transcript_of_another_kind_and_of_none(tmp_path: Path) -> None:
    for name, code in (("a.docx", 2), ("a.srt", 4)):
        with pytest.raises(DifftoolError) as caught:
            Transcript(tmp_path / name)
        assert caught.value.code == code


def test_whisper_hears_a_recording(tmp_path: Path) -> None:
    """A random one, by the path of a real one: its words lie within the recording, and are the same twice."""
    tiny_whisper.save(tmp_path / "whisper-tiny" / "tiny.pt")
    recording = decode(SPEECH, tmp_path / "raw")
    whisper = Whisper("tiny", CPU, "en", tmp_path)
    spans = [Span(0.5, 12.0), Span(20.0, 30.0)]
    heard = list(whisper(recording.samples, spans))
    assert heard
    for segment in heard:
        assert segment.exact
        assert set(segment.scores) == {"avg_logprob", "compression_ratio", "no_speech_prob", "temperature"}
        for word in segment.words:
            assert 0 <= word.start <= word.end
            assert any(span.start - 0.4 <= word.start <= span.end + 0.4 for span in spans)
            assert 0 <= (word.probability or 0) <= 1
    assert list(whisper(recording.samples, spans)) == heard
    assert isinstance(whisper.text_of(recording.samples[: 3 * 24_000]), str)


def test_threads_stay_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that Whisper looks for the times of words with sets their number for the whole process."""

    def transcribe(*_: object, **more: object) -> dict[str, Any]:
        torch.set_num_threads(3)
        return {"segments": [], "language": "en"}

    tiny_whisper.save(tmp_path / "whisper-tiny" / "tiny.pt")
    whisper = Whisper("tiny", CPU, "en", tmp_path)
    monkeypatch.setattr(whisper.model, "transcribe", transcribe)
    before = torch.get_num_threads()
    assert whisper.text_of(np.zeros(24_000, np.float32)) == ""
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "code", "empty"])
def test_a_damaged_whisper(damage: str, tmp_path: Path) -> None:
    path = tiny_whisper.save(tmp_path / "tiny.pt")
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        path.write_bytes(data[:-3000] + bytes([data[-3000] ^ 1]) + data[-2999:])
    elif damage == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    elif damage == "code":
        torch.save({"dims": CPU, "model_state_dict": Path}, path)
    else:
        path.write_bytes(b"")
    with pytest.raises(DifftoolError) as caught:
        _ = Whisper(str(path), CPU).model
    assert caught.value.code == 4


def test_where_whisper_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(DifftoolError, match="not here") as caught:
        found("base", tmp_path)
    assert caught.value.code == 4
    assert "models pull whisper-base" in caught.value.hint
    own = tmp_path / "home" / ".cache" / "whisper" / "base.pt"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"its own place")
    path, sha256, heads = found("base", tmp_path)
    assert (path, len(sha256)) == (own, 64)
    assert heads
    with pytest.raises(DifftoolError, match="did you mean 'large-v") as caught:
        found("larg", tmp_path)
    assert caught.value.code == 2


def test_languages() -> None:
    assert [known_language(word) for word in ("en", "German", "de", None)] == ["en", "de", "de", None]
    with pytest.raises(DifftoolError) as caught:
        known_language("klingon")
    assert caught.value.code == 2


def test_portions_are_short_enough_and_have_no_long_silence() -> None:
    spans = [Span(12.0 * k + 0.1, 12.0 * k + 11.7) for k in range(60)] + [Span(800, 803)]
    made = portions(spans)
    assert made[0].start == 0.0  # there is no more room for a margin
    assert made[-1] == pytest.approx((799.7, 803.3))
    assert all(portion.seconds <= PORTION + 0.6 for portion in made)
    assert all(any(p.start <= s.start and s.end <= p.end for p in made) for s in spans)
    assert all(a.end <= b.start for a, b in pairwise(made))
    assert len(portions([Span(0, 1), Span(1 + GAP, 3 + GAP)])) == 2
    assert portions([]) == []


@pytest.mark.parametrize(
    ("heard", "text", "rate"),
    [("Hello, there!", "hello there", 0), ("hello", "hallo", 0.2), ("", "abcd", 1), ("abcdef", "abc", 1)],
)
def test_error_rate(heard: str, text: str, rate: float) -> None:
    assert error_rate(heard, text) == pytest.approx(rate)
