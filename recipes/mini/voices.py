"""Has the teacher speak for the voices in the package: `voices.py speak PACKAGES OUT`, then `voices.py pick OUT ASSETS`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

FIRST, COUNT = 200_000, 48
"""Speakers to choose from, mixes that are never trained on."""
SECONDS = 4
"""Of the clip of a voice."""
TEXT = "This is how I sound when I read a page aloud, not too fast, and with a short pause here and there."
LOW = ["arthur", "bruno", "casper", "dexter", "edgar", "felix", "gregor", "hugo", "ivan", "jasper"]
HIGH = ["alma", "bianca", "clara", "daphne", "elena", "flora", "greta", "hazel", "iris", "june"]
"""Names of the voices of men and of women, by rising pitch."""
LOWEST = 80
"""Hz: what is lower is a creak more than a voice."""


def speak(packages: Path, out: Path) -> None:
    import soundfile
    from teacher import RATE, Teacher

    out.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(packages)
    for k in range(FIRST, FIRST + COUNT):
        path = out / f"{k}.wav"
        if not path.exists():
            style, weights = teacher.style(k)
            spoken = teacher.speak(TEXT, style)
            soundfile.write(path, spoken.sound.clip(-1, 1), RATE, subtype="PCM_16")
            hertz = float(np.median(spoken.pitch[spoken.pitch > 40]))
            path.with_suffix(".json").write_text(json.dumps({"hertz": hertz, "mix": weights}))


def pick(out: Path, assets: Path) -> None:
    """The voices farthest from each other, half of them below the middle pitch."""
    from difftool.audio.files import RATE, read_sound
    from difftool.files import write_json
    from difftool.voice.identity import voiceprint
    from difftool.voice.library import SCHEMA

    paths = sorted(out.glob("*.wav"))
    notes = [json.loads(path.with_suffix(".json").read_text()) for path in paths]
    prints = np.stack([voiceprint(read_sound(path, RATE)) for path in paths])
    hertz = np.array([note["hertz"] for note in notes])
    male = np.array([sum(share for name, share in note["mix"].items() if name[1] == "m") for note in notes])
    for names, here in ((LOW, male > 0.5), (HIGH, male <= 0.5)):
        rows = [k for k in range(len(paths)) if here[k] and hertz[k] > LOWEST]
        chosen = [rows[int(np.argmin(prints[rows].sum(0) @ prints[rows].T))]]
        while len(chosen) < len(names):
            near = {k: float((prints[chosen] @ prints[k]).max()) for k in rows if k not in chosen}
            chosen.append(min(near, key=near.__getitem__))
        for name, k in zip(names, sorted(chosen, key=lambda k: hertz[k]), strict=True):
            _write(assets / name, paths[k], notes[k])
            print(name, paths[k].stem, f"{hertz[k]:.0f} Hz", notes[k]["mix"])


def _write(folder: Path, sound: Path, note: dict) -> None:
    import subprocess

    from difftool.audio.files import ffmpeg
    from difftool.files import write_json
    from difftool.voice.library import NOTE, SCHEMA

    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    reading = [ffmpeg(), "-y", "-v", "error", "-i", sound, "-t", str(SECONDS)]
    writing = ["-map_metadata", "-1", "-flags:a", "+bitexact", "-fflags", "+bitexact", "-c:a", "libvorbis", "-q:a", "1"]
    subprocess.run([*map(str, reading), *writing, str(clips / "0001.ogg")], check=True)
    mix = {name: round(share, 3) for name, share in note["mix"].items()}
    consent = {"kind": "synthetic", "date": "2026-11-30T00:00:00+00:00"}
    text = f"a mix of voices of Kokoro-82M (Apache-2.0): {json.dumps(mix)}"
    write_json(folder / NOTE, {"schema": SCHEMA, "name": folder.name, "about": text, "consent": consent})


if __name__ == "__main__":
    {"speak": speak, "pick": pick}[sys.argv[1]](*map(Path, sys.argv[2:4]))
