"""Recordings of several speakers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample

import difftool
from difftool.voice.prep import refs
from difftool.voice.prep.shapes import VoiceTake
from difftool.voice.prep.speakers import leave_out, speakers_of, stored

GOLDEN = Path(__file__).parents[2] / "golden"
OTHER = 1.3
"""By how much faster, and so higher, the second speaker is: the first one's vocal tract made shorter."""


def talk(path: Path, turns: Sequence[tuple[str, int]]) -> list[tuple[str, float, float]]:
    """A recording of sentences of the speech of the tests, by me or by another speaker; who speaks when."""
    sound, rate = soundfile.read(GOLDEN / "speech.ogg", dtype="float32")
    segments = json.loads((GOLDEN / "speech.json").read_text())["segments"]
    rng = np.random.default_rng(0)
    pieces, told, at = [], [], 0.0
    for who, number in turns:
        words = segments[number]["words"]
        said = sound[round((words[0]["start"] - 0.05) * rate) : round((words[-1]["end"] + 0.1) * rate)]
        if who == "other":
            said = resample(torch.from_numpy(said), round(OTHER * rate), rate).numpy()
        told.append((who, at, at + len(said) / rate))
        pieces += [said, 3e-4 * rng.normal(size=rate // 2).astype(np.float32)]
        at += len(said) / rate + 0.5
    soundfile.write(path, np.concatenate(pieces), rate)
    return told


def shares(folder: Path, source: str, told: Sequence[tuple[str, float, float]]) -> dict[str, float]:
    """The share of each speaker's seconds that is left out as another speaker's."""
    takes = json.loads((folder / "report.json").read_text())["takes"]
    out = [take for take in takes if take["source"] == source and take["reasons"][:1] == ["other_speaker"]]
    found = {}
    for name in ("me", "other"):
        spans = [(start, end) for who, start, end in told if who == name]
        lost = sum(max(0.0, min(b, take["end"]) - max(a, take["start"])) for a, b in spans for take in out)
        found[name] = lost / sum(b - a for a, b in spans)
    return found


def test_a_second_speaker_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = talk(Path("a.flac"), [("me", 0), ("other", 2), ("me", 4), ("other", 7), ("me", 5), ("me", 9)])
    second = talk(Path("b.flac"), [("other", 0), ("me", 4), ("other", 5), ("other", 7), ("me", 2), ("other", 9)])
    settings: dict[str, Any] = {"slice": "vad", "voices_dir": tmp_path}
    done = difftool.voice.prepare(["a.flac"], "me", "synthetic", **settings)
    found = shares(done.folder, "a.flac", first)
    assert found["other"] >= 0.9
    assert found["me"] <= 0.05
    rejected = [json.loads(line) for line in (done.folder / "rejected.jsonl").read_text().splitlines()]
    figures = [take["figures"] for take in rejected if take["reason"] == "other_speaker"]
    assert figures
    assert max(each["likeness"] for each in figures) < 0.82
    # in the second recording the other one has most speech, but the voice has an owner by now
    added = difftool.voice.prepare(["b.flac"], "me", "synthetic", **settings)
    found = shares(added.folder, "b.flac", second)
    assert found["other"] >= 0.9
    assert found["me"] <= 0.05
    kept = [take for take in json.loads((added.folder / "report.json").read_text())["takes"] if not take["reasons"]]
    assert min(take["figures"]["likeness"] for take in kept) >= 0.82


def prints(likeness: float, counts: Sequence[int], spread: float = 0.01) -> np.ndarray:
    """Voiceprints of some speakers, each as alike to each other, and for each so many units that vary by `spread`."""
    rng = np.random.default_rng(0)
    shared = np.sqrt(likeness)
    units = []
    for speaker, count in enumerate(counts, 1):
        centre = np.zeros(256)
        centre[0], centre[speaker] = shared, np.sqrt(1 - likeness)
        units += [centre + spread * rng.normal(size=256) for _ in range(count)]
    return np.stack([unit / np.linalg.norm(unit) for unit in units]).astype(np.float32)


@pytest.mark.parametrize(
    ("likeness", "counts", "speakers"),
    [(0.6, (9,), 1), (0.6, (9, 4), 2), (0.6, (9, 4, 5), 3), (0.8, (9, 4), 2), (0.84, (9, 4), 1), (0.8, (9, 1), 1)],
)
def test_speakers(likeness: float, counts: tuple[int, ...], speakers: int) -> None:
    units = prints(likeness, counts)
    found = speakers_of(units, [3.0] * len(units))
    assert found.shape == (speakers, 256)


def take(source: str, speaker: int, seconds: float, voice: np.ndarray, reasons: Sequence[str] = ()) -> VoiceTake:
    made = {"source": source, "speaker": speaker, "start": 0.0, "end": seconds, "reasons": list(reasons)}
    return cast(VoiceTake, {**made, "figures": {}, "voiceprint": stored(voice)})


def test_the_owner_speaks_most_in_all_recordings() -> None:
    """A guest may speak more in one of them; and a recording of one speaker is never left out."""
    me, guest, third = prints(0.5, (1, 1, 1), spread=0)
    takes = [
        *(take("a", 0, 30, guest), take("a", 1, 20, me), take("a", 0, 5, guest, ["noise"])),
        *(take("b", 0, 40, me), take("b", 1, 9, third)),
        take("c", 0, 300, third),
    ]
    takes[-1]["source"] = "c"
    leave_out(takes[:-1], None)
    first = ["other_speaker"]
    assert [each["reasons"] for each in takes[:-1]] == [first, [], [*first, "noise"], [], first]
    alone = takes[-1:]
    leave_out(alone, me)
    assert alone[0]["reasons"] == []


def test_references_are_the_clips_most_like_their_owner(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths, clips = [], []
    for number, likeness in enumerate((0.9, 0.8, 0.95, 0.7, 0.93, 0.91)):
        paths.append(tmp_path / f"{number}.wav")
        soundfile.write(paths[-1], 0.1 * rng.normal(size=7 * 24_000), 24_000)
        figures = {"snr": 50.0 if likeness < 0.85 else 30.0, "decay": 200, "seconds": 7.0, "likeness": likeness}
        clips.append(cast(VoiceTake, {"source": f"{number}.flac", "start": 0.0, "figures": figures}))
    assert [reference.clip for reference in refs.choose_references(clips, paths)] == [2, 4, 5, 0]
