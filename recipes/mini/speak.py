"""Has the teacher speak the sentences to train on: `speak.py PACKAGES OUT FIRST COUNT`, resumed by repeating it.

Utterance k is sentence k by speaker k // SENTENCES, at a speed of its own; speakers from HELD on are for judging only.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import numpy as np
from teacher import Teacher
from texts import sentence

SENTENCES = 6
"""Sentences of a speaker."""
HELD = 100_000
"""The first speaker that no part of the voice is trained on."""


def main() -> None:
    packages, out, first, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    out.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(packages)
    for k in range(first, first + count):
        path = out / f"{k:07d}.npz"
        if path.exists():
            continue
        text, speaker = sentence(k, teacher.words), k // SENTENCES
        style, _ = teacher.style(speaker)
        speed = round(random.Random(f"speed {k}").uniform(0.88, 1.15), 3)
        spoken = teacher.speak(text, style, speed)
        part = path.with_suffix(".tmp")
        with part.open("wb") as file:
            np.savez(
                file,
                text=text,
                speaker=speaker,
                speed=speed,
                tokens=spoken.tokens,
                durations=spoken.durations,
                pitch=spoken.pitch.astype(np.float16),
                sound=np.round(spoken.sound.clip(-1, 1) * 32767).astype(np.int16),
            )
        os.replace(part, path)


if __name__ == "__main__":
    main()
