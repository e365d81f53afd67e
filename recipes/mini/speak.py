"""Has the teacher speak a set of sentences: `speak.py SET PACKAGES OUT SECONDS`, in the teacher's environment.

What was spoken before is skipped. After so many seconds it ends with 75.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from sentences import FIRST, REFERENCES, SPEAKERS, of_speaker
from teacher import RATE, Teacher, Utterance
from texts import sentence

COUNT, EACH = 4200, 6
"""Sentences to train on, and how many of them a speaker says."""
HELD = 100_000
"""The first of the speakers that no part of the voice is trained on: the voice is judged by them."""
OTHERS, OTHER_COUNT = 200_000, 48
"""The first of the speakers that the voices in the package are picked from, and their number."""
PAGE = "This is how I sound when I read a page aloud, not too fast, and with a short pause here and there."
"""What they say."""
UNVOICED = 40
"""Hz: lower pitches are the teacher's for unvoiced sound."""
LATER = 75
"""The exit code when the time is over."""


class Line(NamedTuple):
    """A sentence to speak."""

    name: str
    """The file, with its ending."""
    text: str
    speaker: int
    speed: float = 1.0
    """2 is twice as fast."""


def utterances(words: Sequence[str]) -> Iterator[Line]:
    """What the voice is trained on: sentence k by speaker k // EACH, at a speed of its own."""
    for k in range(COUNT):
        speed = round(random.Random(f"speed {k}").uniform(0.88, 1.15), 3)
        yield Line(f"{k:07d}.npz", sentence(k, words), k // EACH, speed)


def held(words: Sequence[str]) -> Iterator[Line]:
    """What the voice is judged by: sentences by speakers that it never heard, and references of these."""
    for k in range(SPEAKERS):
        references = [sentence(FIRST + k * REFERENCES + j, words) for j in range(REFERENCES)]
        for kind, texts in (("said", of_speaker(k)), ("reference", references)):
            for j, text in enumerate(texts):
                yield Line(f"{k:02d}-{kind}{j}.wav", text, HELD + k)


def candidates(words: Sequence[str]) -> Iterator[Line]:
    """A page by each speaker that may become a voice in the package."""
    for k in range(OTHERS, OTHERS + OTHER_COUNT):
        yield Line(f"{k}.wav", PAGE, k)


SETS = {"utterances": utterances, "held": held, "candidates": candidates}


def main(lines: str, packages: str, out: str, seconds: str) -> int:
    end = time.monotonic() + float(seconds)
    teacher = Teacher(Path(packages), threads=os.cpu_count() or 1)
    every = [*SETS[lines](teacher.words)]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {Path(line.name).stem: line.text for line in every}
    (folder / "texts.json").write_text(json.dumps(texts, indent=1))
    for count, line in enumerate(every):
        path = folder / line.name
        if path.exists():
            continue
        if time.monotonic() > end:
            print(f"{count:,} of {len(every):,} sentences are spoken", flush=True)
            return LATER
        speak(teacher, line, path)
        if count % 100 == 0:
            print(f"{count:,} of {len(every):,} sentences", flush=True)
    return 0


def speak(teacher: Teacher, line: Line, path: Path) -> None:
    """Writes a sentence; beside a WAV, the median of its pitch and the mix of its voice."""
    style, mix = teacher.style(line.speaker)
    spoken = teacher.speak(line.text, style, line.speed)
    part = path.with_suffix(".tmp")
    with part.open("wb") as file:
        if path.suffix == ".npz":
            np.savez(file, **columns(line, spoken))
        else:
            soundfile.write(file, spoken.sound.clip(-1, 1), RATE, subtype="PCM_16", format="WAV")
            hertz = float(np.median(spoken.pitch[spoken.pitch > UNVOICED]))
            path.with_suffix(".json").write_text(json.dumps({"hertz": hertz, "mix": mix}))
    part.replace(path)


def columns(line: Line, spoken: Utterance) -> dict[str, object]:
    """What is kept of an utterance: as `Utterance`, with the pitch in halves and the sound as int16."""
    return {
        "text": line.text,
        "speaker": line.speaker,
        "speed": line.speed,
        "tokens": spoken.tokens,
        "durations": spoken.durations,
        "pitch": spoken.pitch.astype(np.float16),
        "sound": np.round(spoken.sound.clip(-1, 1) * 32767).astype(np.int16),
    }


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
