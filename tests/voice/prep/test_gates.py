"""What is left out, and why."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from spoiled import REASONS, spoil

from difftool.audio.files import RATE, ffmpeg
from difftool.voice.prep.activity import network, speech
from difftool.voice.prep.clips import takes
from difftool.voice.prep.decode import decode
from difftool.voice.prep.gates import GATES, known, of_text, reasons
from difftool.voice.prep.grade import grade
from difftool.voice.prep.measure import FRAME, Figures, _grain
from difftool.voice.prep.transcribe import Transcript, Word

GOLDEN = Path(__file__).parents[2] / "golden"
GOOD = Figures(8.0, 40.0, 0.0, 0.2, None, None, -15.0, 280.0, 0.1, 5.0, 0.9, -25.0)


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, float, float]]]:
    """Clean speech, and between it the same speech spoiled in every way: the file, and what is where in it."""
    sound, rate = soundfile.read(GOLDEN / "speech.ogg")
    lines = json.loads((GOLDEN / "speech.json").read_text())["segments"]
    spans = [(line["words"][0]["start"], line["words"][-1]["end"]) for line in lines]
    halves = [sound[: round((spans[4][0] - 0.2) * rate)], sound[round((spans[4][0] - 0.2) * rate) :]]
    pieces, told, at = [], [], 0.0
    for number, kind in enumerate(REASONS):
        for what, each in (("clean", halves[number % 2]), (kind, spoil(kind, halves[1 - number % 2], rate))):
            pause = np.random.default_rng(number).normal(size=round(0.9 * rate)) * 3e-4
            pieces += [each, pause]
            told.append((what, at, at + len(each) / rate))
            at += (len(each) + len(pause)) / rate
    path = tmp_path_factory.mktemp("joined") / "joined.flac"
    whole = np.concatenate(pieces)
    soundfile.write(path, whole.clip(-1, 1), rate, subtype="PCM_16")
    return path, told


@pytest.mark.parametrize("kind", ["flac", "libmp3lame.mp3", "aac.m4a"])
def test_each_fault_is_found_for_its_own_reason(
    kind: str, joined: tuple[Path, list[tuple[str, float, float]]], tmp_path: Path
) -> None:
    path, told = joined
    if kind != "flac":
        codec, _, suffix = kind.rpartition(".")
        path = tmp_path / f"joined.{suffix}"
        subprocess.run([ffmpeg(), "-v", "error", "-i", joined[0], "-c:a", codec, "-b:a", "96k", path], check=True)
    recording = decode(path, tmp_path / "raw")
    found = list(takes(recording, speech(recording.samples, network()), None))
    for before, after in itertools.pairwise(found):
        assert before.end <= after.start + 1e-6
    for what in ("clean", *REASONS):
        total = good = 0.0
        for kind_of, start, end in told:
            if kind_of == what:
                total += end - start
                wanted = () if what == "clean" else (REASONS[what],)
                good += sum(max(0.0, min(end, t.end) - max(start, t.start)) for t in found if t.reasons[:1] == wanted)
        assert good / total > (0.85 if what == "clean" else 0.8), (what, good, total)


@pytest.mark.parametrize(("spread", "is_grain"), [(0.5, True), (8.0, False)])
def test_breath_is_no_grain(spread: float, is_grain: bool) -> None:
    """Coloured noise under vowels that is gone in pauses: of few bits if it is steady, of a clean voice if not."""
    rng, hertz = np.random.default_rng(0), np.fft.rfftfreq(FRAME, 1 / RATE)
    power = np.full((200, len(hertz)), 1e-9, np.float32)
    power[30:170, (hertz >= 100) & (hertz < 4000)] = rng.random((140, 1))
    high = hertz >= 4500
    frames = -34 + spread * rng.normal(size=(140, 1))
    power[30:170, high] = 10 ** ((frames + np.linspace(6, -6, high.sum())) / 10)
    energy = power[:, (hertz >= 100) & (hertz <= 8000)].sum(1)
    grain = _grain(power, energy, hertz)
    assert (grain is not None) == is_grain


def test_good_figures_pass_every_gate() -> None:
    scores = {"avg_logprob": -0.2, "no_speech_prob": 0.01, "compression_ratio": 1.4}
    text = "This is a sentence of about sixty letters, in eight seconds."
    words = [Word(0, 1, word, 0.9) for word in text.split(" ")]
    assert reasons(known(GOOD, scores, words)) == []


@pytest.mark.parametrize(
    ("reason", "figures"),
    [
        ("reverb", {"decay": 100.0}),
        ("phone", {"treble": -30.0}),
        ("music", {"tones": 1.0}),
        ("music", {"snr": 15.0, "hum": 12.0}),
        ("noise", {"snr": 15.0}),
        ("coarse", {"levels": 90.0}),
        ("coarse", {"grain": -35.0}),
        ("clipping", {"clipped": 0.5}),
        ("clipping", {"crowded": 3.0}),
        ("no_speech", {"speech": 0.5}),
        ("too_short", {"seconds": 1.9}),
        ("too_long", {"seconds": 11.7}),
        ("too_much_text", {"characters": 201}),
        ("not_understood", {"avg_logprob": -1.1}),
        ("no_words", {"no_speech_prob": 0.7}),
        ("repetitive", {"compression_ratio": 2.5}),
        ("too_slow", {"characters_per_second": 5}),
        ("too_fast", {"characters_per_second": 26}),
        ("filler", {"fillers": 1}),
        ("stutter", {"stutters": 1}),
        ("misheard", {"character_error_rate": 0.11}),
        ("duplicate", {"duplicate": 1}),
    ],
)
def test_every_gate(reason: str, figures: dict[str, float]) -> None:
    all_of_them = GOOD._asdict() | figures
    assert reasons(all_of_them)[0] == reason
    assert reason not in reasons(all_of_them, allowed=[reason])
    assert GATES[reason].advice


@pytest.mark.parametrize(
    ("language", "text", "fillers", "stutters"),
    [
        ("en", "And, um, then he said uh nothing.", 2, 0),
        ("en", "The the house he he had is old.", 0, 2),
        ("en", "It was very, very cold, no, no.", 0, 0),
        ("en", "I th- think so.", 0, 1),
        ("en", "He had had enough of that that day.", 0, 0),
        ("en", "It is of the pre- and post-war years.", 0, 0),
        ("de", "Er ging um acht Uhr, und ähm, er er kam.", 1, 1),
        ("de", "Die, die da sind, haben Vor- und Nachteile.", 0, 0),
        ("nl", "Er was er om acht uur, uh, en dat dat is zo.", 1, 0),
        ("fr", "Nous nous levons, euh, très très tôt.", 1, 0),
        ("zh", "天 天 看 呃", 1, 0),
        ("tr", "yavaş yavaş geldi", 0, 0),
        (None, "Er was uhm um acht, a\u0308h.", 2, 0),
    ],
)
def test_fillers_and_stutters(language: str | None, text: str, fillers: int, stutters: int) -> None:
    counted = of_text([Word(0, 1, word, None) for word in text.split()], 3.0, language)
    assert (counted["fillers"], counted["stutters"]) == (fillers, stutters)


def test_a_script_without_capitals_has_no_rate() -> None:
    assert of_text([Word(0, 3, "今天天气很好", None)], 3.0)["characters_per_second"] is None


def test_speech_that_the_transcript_lacks_is_told_of(tmp_path: Path) -> None:
    recording = decode(GOLDEN / "speech.ogg", tmp_path / "raw")
    segments = Transcript(GOLDEN / "speech.json").segments
    gone = segments[5]
    found = list(takes(recording, speech(recording.samples, network()), segments[:5] + segments[6:]))
    lost = [take for take in found if take.reasons == ("not_transcribed",)]
    assert lost
    assert all(gone.start - 0.3 < take.start and take.end < gone.end + 0.3 for take in lost)
    assert sum(take.end - take.start for take in lost) > 0.8 * (gone.end - gone.start)


def clip(**figures: float) -> dict[str, object]:
    return {"source": "a.wav", "figures": GOOD._asdict() | figures}


def test_a_grade_is_that_of_the_weakest_side() -> None:
    assert grade([clip()] * 12, [], 4).letter == "A"
    assert grade([clip()] * 12, [], 2).letter == "B"
    assert grade([clip(snr=21)] * 12, [], 4).letter == "C"
    assert grade([clip()], [], 0).letter == "D"


def test_the_three_things_to_do_are_those_that_cost_most() -> None:
    lost = [{"reasons": ["noise"], "start": 0, "end": 60}, {"reasons": ["phone"], "start": 0, "end": 30}]
    lost += [{"reasons": ["filler"], "start": 0, "end": 1}, {"reasons": ["silence"], "start": 0, "end": 999}]
    found = grade([clip()] * 12, lost, 4)
    assert len(found.actions) <= 3
    assert "noise cost 60 s" in found.actions[0]
    assert "phone cost 30 s" in found.actions[1]
    assert not any("filler" in action or "silence" in action for action in found.actions)
    assert grade([clip()] * 3, [], 4).actions[0] == "record 66 more seconds of clean speech"
