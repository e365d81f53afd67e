"""A voice as voice prep leaves it."""

from __future__ import annotations

import json
from pathlib import Path

import soundfile
from tiny_tortoise import noise

WORDS = (
    *("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"),
    *("india", "juliet", "kilo", "lima", "mike", "november", "oscar", "papa"),
)


def voice(folder: Path) -> Path:
    """A folder of voices with one, of 16 clips."""
    own = folder / "me"
    (own / "clips").mkdir(parents=True)
    lines = []
    for k, word in enumerate(WORDS, 1):
        length = int(24_000 * (0.7 + 0.05 * k))
        soundfile.write(own / "clips" / f"{k:04}.wav", 0.1 * noise(200 + k, length).numpy(), 24_000)
        lines.append(f"{k:04}|Say {word}.|Say {word}.\n")
    (own / "metadata.csv").write_text("".join(lines))
    consent = {"kind": "synthetic", "date": "2026-01-01T00:00:00+00:00"}
    (own / "voice.json").write_text(json.dumps({"schema": "difftool/voice/1", "name": "me", "consent": consent}))
    return folder
