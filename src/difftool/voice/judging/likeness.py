"""How alike speech and a voice of the library are, and how alike that voice is to itself and to others."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...audio.files import RATE, read_sound
from ...errors import DifftoolError, Exit
from ..identity import Voiceprint, averaged, voiceprint
from ..library import home, named, names, opened

ALIKE, APART = 0.82, 0.75
"""Likeness from which speech is taken for that of the voice, and under which for that of another. All of 155 recordings
are more like the others of their speaker than ALIKE, the least at 0.839; of 4,650 comparisons with other speakers 0.7 %
lie above ALIKE, and 2.1 % above APART."""
LEAST = 1.6
"""Minimum seconds of speech for a verdict."""
MOST_CLIPS, MOST_OF_OTHERS = 24, 6
"""Clips of a voice that are heard, and of each other voice."""


class Scale(NamedTuple):
    """A voice, and what its likeness to speech is compared with."""

    voice: str
    owner: Voiceprint
    own: tuple[float, ...]
    """Likeness of each of its clips to the others; none for a single clip"""
    others: dict[str, float]
    """Likeness of other voices in the library"""


def scale_of(voice: str, voices_dir: Path | None = None) -> Scale:
    """The scale of a voice. Reading its clips needs no consent. Raises DifftoolError 2 for an invalid name, 4 for a
    voice that does not exist or has no recording."""
    folder = home(voices_dir)
    prints = _prints(named(voice), folder, MOST_CLIPS)
    if not prints:
        message = f"the voice {voice!r} has only Tortoise latents"
        raise DifftoolError(Exit.FILE, message, "add WAV files of the voice to its folder")
    owner = averaged(prints)
    own = []
    for k, each in enumerate(prints):
        rest = prints[:k] + prints[k + 1 :]
        own += [round(float(each @ averaged(rest)), 3)] if rest else []
    others = {}
    for name in names(folder):
        try:
            clips = [] if name == voice else _prints(name, folder, MOST_OF_OTHERS)
        except (DifftoolError, OSError):  # a folder without a voice
            continue
        if clips:
            others[name] = round(float(averaged(clips) @ owner), 3)
    return Scale(voice, owner, tuple(own), others)


def _prints(voice: str, folder: Path, most: int) -> list[Voiceprint]:
    """The voiceprints of some clips of a voice."""
    clips = opened(voice, folder, "").clips  # of no engine
    some = clips[:: len(clips) // most + 1]
    return [voiceprint(read_sound(clip, RATE)) for clip in some]


def verdict(likeness: float, seconds: float) -> str:
    """What a likeness means for so many seconds of speech: yes, no or unsure."""
    if seconds < LEAST or APART <= likeness < ALIKE:
        return "unsure"
    return "yes" if likeness >= ALIKE else "no"


def spread(own: tuple[float, ...]) -> tuple[float, float] | None:
    """The lowest and the median likeness of a voice's own clips."""
    return (min(own), round(float(np.median(own)), 3)) if own else None
