"""Speech editing with tiny networks: what lies outside an edit, its lengths, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from difftool.audio.files import write_sound
from difftool.voice.engines import finished
from difftool.voice.engines.f5.edit import FADE, Stretch, lengths, stitched
from difftool.voice.engines.f5.options import seconds_of
from difftool.voice.engines.f5.synthesis import reference_mel
from difftool.voice.plan import plan_speech_with

Run = Callable[..., Any]
RATE = 24_000
OLD = "we met at the old stone bridge on monday."
NEW = "we met at the new wooden bridge on monday."
SHORT = FADE / 2
"""Seconds within which a change must begin at the start of an edit."""


def speech(seconds: float) -> np.ndarray:
    """Something with the rhythm of speech, in 16 bits, up to the loudest sample there is."""
    clock = np.arange(round(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * 140 * clock + 3 * np.sin(5 * clock)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * clock))
    samples = np.round(wave / np.abs(wave).max() * 32767).astype(np.int16)
    samples[100] = -32768
    return samples


def samples_of(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="int16")[0]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "take.wav", speech(3.0), RATE)
    (tmp_path / "take.txt").write_text(OLD)
    return tmp_path / "take.wav"


@pytest.fixture
def edit(difftool: Run, f5: Path, voices: Path, recording: Path) -> Run:
    """Edits the recording of 3 s, to out.wav."""
    common = ("voice", "clone", "--voices-dir", voices, "--models-dir", f5, "--recording", recording)

    def run(text: str, stretches: str, *more: object) -> Any:
        given = ("--voice", "me", "--steps", 2, "--preset", "draft", "-o", "out.wav", "--overwrite", "--json")
        return difftool(*common, text, "--edit", stretches, *given, *more)

    return run


def test_outside_of_it_no_sample_changes(edit: Run, difftool: Run, recording: Path) -> None:
    old = samples_of(recording)
    ended = edit(OLD, "1.0-1.6")
    assert ended.code == 0, ended.err
    assert ended.json["data"]["settings"]["engine"] == "f5"
    new = samples_of(Path("out.wav"))
    start, end = round(1.0 * RATE), round(1.6 * RATE)
    assert len(new) == len(old)  # the same words take the same time
    assert (new[:start] == old[:start]).all()
    assert (new[end:] == old[end:]).all()
    changed = np.flatnonzero(new != old)
    assert changed[0] < start + SHORT * RATE and changed[-1] > end - SHORT * RATE
    assert np.abs(new[start + 480 : end - 480] - old[start + 480 : end - 480].astype(float)).mean() > 300
    # the recording is known by its name and hash, and the edit can be made again
    tags = json.loads(soundfile.SoundFile("out.wav").comment)
    assert tags["settings"]["recording"] == "take.wav"
    assert [*tags["files"]] == ["take.wav"]
    again = difftool("rerun", "out.wav", "-o", "again.wav", "--json")
    assert again.json["data"]["identical"] is True
    soundfile.write(recording, -old, RATE)
    assert "the recording has changed" in difftool("rerun", "out.wav", "-o", "other.wav").err


def test_a_dc_offset_stays(edit: Run, recording: Path) -> None:
    old = speech(3.0) // 2 + np.int16(1500)
    soundfile.write(recording, old, RATE)
    ended = edit(OLD, "1.0-1.6")
    assert ended.code == 0 and "warning" not in ended.err
    new = samples_of(Path("out.wav"))
    start, end = round(1.0 * RATE), round(1.6 * RATE)
    assert (new[:start] == old[:start]).all() and (new[end:] == old[end:]).all()
    assert 1000 < new[start + 480 : end - 480].mean() < 2000


def test_its_words_belong_to_it(edit: Run, difftool: Run, recording: Path) -> None:
    assert edit(OLD, "1.0-1.6").code == 0
    recording.with_suffix(".txt").write_text(OLD.replace("stone", "very old stone"))
    ended = difftool("rerun", "out.wav", "-o", "other.wav")
    assert ended.code == 4 and "the words of the reference have changed" in ended.err
    tags = json.loads(soundfile.SoundFile("out.wav").comment)
    silence = bytes(2 * RATE)
    write_sound(Path("damaged.wav"), [silence], {"comment": json.dumps({**tags, "files": [1]})})
    assert difftool("rerun", "damaged.wav", "-o", "other.wav").code == 4


def test_the_recording_is_never_replaced(edit: Run, recording: Path) -> None:
    assert edit(OLD, "1.0-1.6").code == 0
    Path("out.txt").write_text(OLD)
    before = Path("out.wav").read_bytes()
    ended = edit(OLD, "2.0-2.5", "--recording", "out.wav")
    assert ended.code == 2 and "out.wav is the recording itself" in ended.err
    assert Path("out.wav").read_bytes() == before


def test_what_the_network_hears(f5: Path, voices: Path, recording: Path) -> None:
    """The recording with half a second of silence behind it, and nothing in the place of the stretches."""
    given = {"engine": "f5", "preset": "draft", "models_dir": f5, "voices_dir": voices}
    plan = plan_speech_with(OLD, "me", edit="0.3-0.5,2-3", recording=recording, **given)
    speaker = plan.work.speaker()
    finished(speaker.prepare(plan.work.reference))
    heard = speaker.reference  # type: ignore[attr-defined]
    sound = torch.nn.functional.pad(plan.work.prompt.sound, (0, 12_000))  # type: ignore[attr-defined]
    whole = reference_mel(speaker.nets, sound)  # type: ignore[attr-defined]
    gaps = [*range(28, 47), *range(188, 281)]
    others = [k for k in range(len(whole)) if k not in gaps]
    assert heard.shape == whole.shape == (1 + 84_000 // 256, 100)
    assert not heard[gaps].any()
    assert torch.equal(heard[others], whole[others])
    assert torch.equal(speaker.known[:, 0].nonzero()[:, 0], torch.tensor(others))  # type: ignore[attr-defined]


def test_several_and_longer_ones(edit: Run, recording: Path) -> None:
    old = samples_of(recording)
    text = "we never met at the new wooden bridge on monday."
    assert edit(text, "2.0-2.4, 0.3-0.5").code == 0
    new = samples_of(Path("out.wav"))
    grown = len(new) - len(old)
    assert grown > 0 and grown % 256 == 0
    assert (new[: round(0.3 * RATE)] == old[: round(0.3 * RATE)]).all()
    assert (new[round(2.4 * RATE) + grown :] == old[round(2.4 * RATE) :]).all()
    kept = old[round(0.5 * RATE) : round(2.0 * RATE)]
    places = [k for k in range(0, grown + 1, 256) if (new[round(0.5 * RATE) + k :][: len(kept)] == kept).all()]
    assert len(places) == 1
    other = edit(text, "2.0-2.4,0.3-0.5", "--speed", 2)
    assert other.code == 0 and len(samples_of(Path("out.wav"))) < len(new)


def test_at_the_end_and_at_the_start(edit: Run, recording: Path) -> None:
    old = samples_of(recording)
    assert edit(OLD, "2.2-3.0").code == 0
    new = samples_of(Path("out.wav"))
    start = round(2.2 * RATE)
    assert len(new) == len(old) and (new[:start] == old[:start]).all()
    word = new[start + 480 : -480].astype(float)
    assert min(np.sqrt((part**2).mean()) for part in np.array_split(word, 8)) > 100  # up to its very end
    assert edit(NEW, "0-0.9").code == 0
    new = samples_of(Path("out.wav"))
    kept = old[round(0.9 * RATE) :]
    assert (new[-len(kept) :] == kept).all()


def test_candidates_and_another_rate(edit: Run, recording: Path) -> None:
    assert edit(OLD, "1-1.5", "--candidates", 2).code == 0
    one, two = (samples_of(Path(name)) for name in ("out.wav", "out-00001-0.wav"))
    assert (one != two).any() and (one[:RATE] == two[:RATE]).all()
    wave = speech(3.0)
    soundfile.write(recording, np.repeat(np.stack([wave, wave], 1), 2, axis=0), 2 * RATE)
    ended = edit(OLD, "1-1.5")
    assert ended.code == 0
    assert "converted to mono, 24,000 Hz and 16 bits" in ended.err
    assert soundfile.info("out.wav").samplerate == RATE and soundfile.info("out.wav").duration == 3.0


@pytest.mark.parametrize(
    ("stretches", "says"),
    [
        ("3.2-4.1", "the stretch 3.2-4.1 is not in the recording"),
        ("2-3.02", "the stretch 2-3.02 is not in the recording"),
        ("2-1", "the stretch 2-1 does not end after its start"),
        ("1-1", "the stretch 1-1 does not end after its start"),
        ("1-2,1.5-2.5", "the stretches 1-2 and 1.5-2.5 overlap"),
        ("0-2.5", "--edit leaves 0.50 s of the recording"),
    ],
)
def test_wrong_stretches(edit: Run, stretches: str, says: str) -> None:
    ended = edit(OLD, stretches)
    assert ended.code == 2
    assert says in ended.err
    assert "hint: take.wav is 3.00 s long" in ended.err
    assert not Path("out.wav").exists()


def test_what_is_refused(edit: Run, refused: Run, f5: Path, recording: Path) -> None:
    for wrong in ("", "3", "1-", "-1-2", "a-b", "1-2;3-4", "nan-2", "1-inf", "1e3-2"):
        ended = edit(OLD, f"{wrong},")
        assert ended.code == 2 and "is not a list of stretches" in ended.err, wrong
    for text, says in (("bridge", "the text does not fit the recording"), (OLD * 20, "--edit is for at most 30 s")):
        ended = edit(text, "1-1.5")
        assert ended.code == 2 and says in ended.err
    soundfile.write(recording, speech(29.0), RATE)
    recording.with_suffix(".txt").write_text(OLD * 8)
    ended = edit(OLD * 8, "1-2", "--speed", 0.25)
    assert ended.code == 2 and "at most 30 s of speech, not 32" in ended.err
    soundfile.write(recording, speech(3.0), RATE)
    recording.with_suffix(".txt").write_text(OLD)
    assert "--edit needs the voice of the recording" in edit(OLD, "1-1.5", "--voice", "random").err
    assert edit(OLD, "1-1.5", "--voice", "plain").code == 7  # no consent is recorded for it
    assert "use either --edit or --compat" in edit(OLD, "1-1.5", "--compat", "package").err
    assert "the engine mini has no --" in edit(OLD, "1-1.5", "--engine", "mini").err
    line = ("voice", "clone", OLD, "--models-dir", f5, "--engine", "f5")
    refused(2, *line, "--edit", "1-2", says="--edit needs --recording")
    refused(2, *line, "--recording", recording, says="--recording needs --edit")
    recording.with_suffix(".txt").unlink()
    ended = edit(OLD, "1-1.5")
    assert ended.code == 4 and "take.txt" in ended.err and "models pull" in ended.err
    soundfile.write(recording, np.tile(speech(3.0), 11), RATE)
    recording.with_suffix(".txt").write_text(" ".join([OLD] * 11))
    ended = edit(" ".join([OLD] * 11), "1-1.5")
    assert ended.code == 2 and "take.wav is 33.00 s long: cut out the sentence first" in ended.err
    recording.unlink()
    assert edit(OLD, "1-1.5").code == 4


def test_lengths_follow_the_words() -> None:
    """Each change belongs to its stretch where there are as many; otherwise all share the difference."""
    spans = [(0.3, 0.5), (2.0, 2.5)]
    assert lengths(spans, "a bc d ef", "a bcd d e", 0.1) == pytest.approx([0.3, 0.4])
    assert lengths(spans, "a, b c.", "A b; c", 0.1) == pytest.approx([0.2, 0.5])  # no word is another one
    assert lengths(spans, "a b", "a b cdefgh", 0.1) == pytest.approx([0.2 + 0.2, 0.5 + 0.5])
    assert lengths(spans, "a b c", "a b", 0.1) == pytest.approx([0.2 - 0.4 / 7, 0.5 - 1 / 7])
    assert lengths([(1.0, 1.5)], "a bcdefghijk", "a", 0.1) == [0.1]


def test_stretches_are_read() -> None:
    assert seconds_of("3.2-4.1, 7 - 8.") == [(3.2, 4.1), (7.0, 8.0)]


def test_fades_are_within() -> None:
    old, new = np.ones(10_240, np.float32), np.full(12_800, -1, np.float32)
    joined = stitched(old, new, [Stretch(2560, 5120, 10)])
    assert len(joined) == 12_800
    assert (joined[:2560] == 1).all() and (joined[-5120:] == 1).all()
    fade = round(FADE * RATE)
    assert (joined[2560 + fade : 7680 - fade] == -1).all()
    assert joined[2560 : 2560 + fade] == pytest.approx(np.linspace(1, -1, fade), abs=1e-6)
    ended = stitched(old, new, [Stretch(0, 2560, 0), Stretch(7680, 10_240, 0)])
    assert ended[0] == ended[-1] == 0 and len(ended) == 10_240
