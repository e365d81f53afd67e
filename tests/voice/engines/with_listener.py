"""A listener that needs no Whisper, for the process that imports this: what it hears depends on the sound alone."""

from __future__ import annotations

import hashlib
from typing import Any

from difftool.audio.files import Samples
from difftool.voice import plan, verify
from difftool.voice.comparison import Comparison, compare

RIGHT = "the text"


class Listener:
    """In the place of Whisper."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        """What it hears next, where a test says so."""
        self.sounds: list[Samples] = []
        self.released = 0

    def text_of(self, sound: Samples) -> str:
        self.sounds.append(sound)
        if self.answers:
            return self.answers.pop(0)
        return RIGHT if hashlib.sha256(sound.tobytes()).digest()[0] % 3 == 0 else "something else altogether"

    def release(self) -> None:
        self.released += 1


LISTENER = Listener()


def verifier_of(settings: Any) -> verify.Verifier:
    return verify.Verifier(LISTENER, settings.tries, not settings.low_vram)  # type: ignore[arg-type]


def compared(text: str, heard: str) -> Comparison:
    return compare(text, text if heard == RIGHT else heard)


plan.verifier_of = verifier_of
verify.compare = compared
