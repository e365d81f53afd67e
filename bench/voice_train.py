"""How much nearer to its owner a voice gets by training: likeness by the speaker encoder, words by Whisper.

    python bench/voice_train.py FOLDER WHISPER slt,rms [MINUTES]      # voices of Debian's flite
    python bench/voice_train.py FOLDER WHISPER mix=CLIPS [MINUTES]    # a folder of WAV files, a .txt beside each

A voice has ten minutes of clips, of which 5 % are held out. The 20 sentences of recipes/mini/sentences.py are spoken
before and after the training (20 minutes by default); both are compared with the held-out clips, as these are with each
other. The bar: half of the gap is closed, and at most 2 points more words are wrong.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes" / "mini"))

from sentences import SENTENCES  # pyright: ignore[reportMissingImports]
from texts import sentence  # pyright: ignore[reportMissingImports]

from difftool.audio.files import RATE, read_sound, write_short
from difftool.audio.loudness import normalised
from difftool.files import write_json, write_text
from difftool.voice.judging.tuned import judge_with
from difftool.voice.speak import clone
from difftool.voice.tuning.report import Recorded, Sentence
from difftool.voice.tuning.run import train

SECONDS = 600
"""Of the clips of a voice."""
FIRST = 700_000
"""Number of the first sentence of the grammar: no other use of it comes so far."""
WORDS = ("harbour", "pepper", "marble", "lantern", "velvet", "orchard", "cinnamon", "hammer", "meadow", "walnut")
"""Rarer words that are mixed in."""


def flite(name: str, folder: Path) -> None:
    """Ten minutes of sentences by a voice of flite, with their texts."""
    folder.mkdir(parents=True)
    seconds, k = 0.0, 0
    while seconds < SECONDS:
        text, path = sentence(FIRST + k, WORDS), folder / f"{k:04d}.wav"
        subprocess.run(["flite", "-voice", name, "-t", text, "-o", str(path)], check=True)
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
        seconds, k = seconds + len(read_sound(path, RATE)) / RATE, k + 1


def build(name: str, recordings: Path, voices: Path) -> None:
    """The folder of a voice with these clips, as voice prep makes it."""
    folder, lines, seconds = voices / name, [], 0.0
    (folder / "clips").mkdir(parents=True)
    for k, path in enumerate(sorted(recordings.glob("*.wav")), 1):
        if seconds >= SECONDS:
            break
        sound = normalised(read_sound(path, RATE))
        write_short(folder / "clips" / f"{k:04d}.wav", sound, RATE, subtype="PCM_16")
        text = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
        lines.append(f"{k:04d}|{text}|{text}\n")
        seconds += len(sound) / RATE
    write_text(folder / "metadata.csv", "".join(lines))
    consent = {"kind": "synthetic", "date": "2026-01-01T00:00:00+00:00"}
    write_json(folder / "voice.json", {"schema": "difftool/voice/1", "name": name, "consent": consent})
    print(f"{name}: {len(lines)} clips, {seconds:.0f} s", flush=True)


def main(folder: Path, whisper: str, names: str, minutes: str = "20") -> None:
    voices = folder / "voices"
    for each in names.split(","):
        name, _, given = each.partition("=")
        recordings = Path(given) if given else folder / "recordings" / name
        if not recordings.exists():
            flite(name, recordings)
        if not (voices / name).exists():
            build(name, recordings, voices)

        def spoken(*, trained: bool) -> list[np.ndarray]:
            settings = {"engine": "mini", "preset": "standard", "voices_dir": voices, "trained": trained}
            return [clone(text, name, **settings).sounds[0] for text in SENTENCES]  # noqa: B023

        tuned = train(name, engine="mini", minutes=float(minutes), voices_dir=voices, judge=None)
        before, after = spoken(trained=False), spoken(trained=True)
        rows = [Sentence(*row) for row in zip(SENTENCES, before, after, strict=True)]
        clips = [Recorded(clip.text, read_sound(clip.path, RATE)) for clip in tuned.held]
        figures = judge_with("cpu", None, whisper)(rows, clips)
        likeness = [part["likeness"] for part in (figures.before, figures.after, figures.recorded)]
        closed = (likeness[1] - likeness[0]) / (likeness[2] - likeness[0])
        words = figures.after["wer"] - figures.before["wer"]
        print(f"{name}: likeness {likeness[0]:.3f} before, {likeness[1]:.3f} after, its own clips {likeness[2]:.3f}")
        print(f"{name}: {closed:.0%} of the gap closed; wrong words {figures.before['wer']:.1f} % {words:+.1f}")
        print(f"{name}: held-out loss {tuned.loss_before:.4f} before, {tuned.loss:.4f} after", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
