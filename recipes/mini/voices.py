"""Makes the voices in the package, FOLDER/voices: mixes of the teacher's that were never trained on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fetch import have_spoken
from plan import check_time

from difftool.audio.files import RATE, ffmpeg, read_sound
from difftool.files import write_json
from difftool.voice.identity import Voiceprint, voiceprint
from difftool.voice.library import NOTE, SCHEMA

SECONDS = 4
"""Of the clip of a voice."""
LOW = ("arthur", "bruno", "casper", "dexter", "edgar", "felix", "gregor", "hugo", "ivan", "jasper")
HIGH = ("alma", "bianca", "clara", "daphne", "elena", "flora", "greta", "hazel", "iris", "june")
"""Names of the voices of men and of women, by rising pitch."""
LOWEST = 80
"""Hz: what is lower is a creak more than a voice."""


class Candidate(NamedTuple):
    """A voice that may be picked."""

    path: Path
    hertz: float
    """The median of its pitch."""
    mix: dict[str, float]
    """The share of each of the teacher's voices."""
    print: Voiceprint

    @property
    def is_male(self) -> bool:
        """Whether more than half of it is voices of men, as the teacher names them."""
        return sum(share for name, share in self.mix.items() if name[1] == "m") > 0.5


def make(folder: Path, end: float) -> None:
    """The stage: has the teacher speak in voices of its own, and picks some."""
    have_spoken(folder, "candidates", end)
    candidates = []
    for path in sorted((folder / "candidates").glob("*.wav")):
        check_time(end)
        note = json.loads(path.with_suffix(".json").read_text())
        candidates.append(Candidate(path, note["hertz"], note["mix"], voiceprint(read_sound(path, RATE))))
    for names, male in ((LOW, True), (HIGH, False)):
        some = [each for each in candidates if each.is_male is male and each.hertz > LOWEST]
        chosen = sorted(farthest(some, len(names)), key=lambda each: each.hertz)
        for name, each in zip(names, chosen, strict=True):
            write(folder / "voices" / name, each)
            print(name, each.path.stem, f"{each.hertz:.0f} Hz", flush=True)


def farthest(candidates: list[Candidate], count: int) -> list[Candidate]:
    """The one that is least like all together, and then always the one that is least like those chosen before."""
    prints = np.stack([each.print for each in candidates])
    likeness = prints @ prints.T
    chosen = [int(np.argmin(prints.sum(0) @ prints.T))]
    while len(chosen) < count:
        rest = [k for k in range(len(candidates)) if k not in chosen]
        chosen.append(min(rest, key=lambda k: float(likeness[k, chosen].max())))
    return [candidates[k] for k in chosen]


def write(folder: Path, voice: Candidate) -> None:
    """Writes the folder of a voice."""
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    reading = [ffmpeg(), "-y", "-v", "error", "-i", str(voice.path), "-t", str(SECONDS)]
    writing = ["-map_metadata", "-1", "-flags:a", "+bitexact", "-fflags", "+bitexact", "-c:a", "libvorbis", "-q:a", "1"]
    subprocess.run([*reading, *writing, str(clips / "0001.ogg")], check=True)
    mix = {name: round(share, 3) for name, share in voice.mix.items()}
    consent = {"kind": "synthetic", "date": "2026-11-30T00:00:00+00:00"}
    about = f"a mix of voices of Kokoro-82M (Apache-2.0): {json.dumps(mix)}"
    write_json(folder / NOTE, {"schema": SCHEMA, "name": folder.name, "about": about, "consent": consent})
