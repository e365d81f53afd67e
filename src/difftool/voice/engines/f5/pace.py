"""How fast a voice speaks: seconds of its speech, and the length of its words."""

from __future__ import annotations

import re
import unicodedata

import numpy as np

from ....audio.files import RATE, Samples
from .tokens import HANZI

TICK = 0.01
"""Seconds over which a level is measured."""
QUIET = -30.0
"""dB below loud speech at which a tick is silent."""
PAUSE = 0.4
"""Seconds of the longest pause that belongs to the pace of a voice."""
LETTERS = (
    (HANZI, 3.0),
    (re.compile(r"[\uac00-\ud7a3]"), 3.0),
    (re.compile(r"[\u3041-\u30ff]"), 2.0),
    (re.compile(r"[\u0900-\u109f\u1780-\u17ff]"), 1.7),
    (re.compile(r"[\u0590-\u077f]"), 1.5),
    (re.compile(r"\d"), 4.0),
)
"""The length of a character in letters of the Latin, Greek or Cyrillic script: of Chinese, Korean, Japanese; of India
and beyond; of Hebrew and Arabic; of digits."""
UNHEARD = ("Mn", "Mc", "Me", "Cf")
"""Categories of characters that belong to the one before."""


def letters(text: str) -> float:
    """The length of a text in letters, spaces and marks of the Latin script."""
    return sum(_letters(sign) for sign in " ".join(text.split()))


def _letters(sign: str) -> float:
    if sign.isascii() and not sign.isdigit():
        return 1.0
    if unicodedata.category(sign) in UNHEARD:
        return 0.0
    return next((size for pattern, size in LETTERS if pattern.match(sign)), 1.0)


def loud_ticks(sound: Samples) -> np.ndarray:
    """The numbers of the ticks of a sound (S,) at RATE in which somebody speaks; none of a silent one."""
    size = round(TICK * RATE)
    whole = sound[: len(sound) // size * size].astype(np.float64)
    power = (whole**2).reshape(-1, size).mean(1)
    return np.flatnonzero(power > np.percentile(power, 95) * 10 ** (QUIET / 10)) if len(power) else np.zeros(0, int)


def spoken_seconds(sound: Samples) -> float:
    """Seconds of speech in a sound (S,) at RATE, and of pauses in it, up to PAUSE each."""
    steps = np.minimum(np.diff(loud_ticks(sound)), round(PAUSE / TICK))
    return TICK * float(1 + steps.sum())
