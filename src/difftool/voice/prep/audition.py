"""One recording of a known sentence: figures, gates and grade as a voice would have them, without a transcriber."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...audio.files import RATE, write_short
from . import activity
from .cut import PAD
from .decode import decode
from .gates import GATES, known, reasons
from .grade import ROWS, letter_of
from .measure import measure
from .words import guessed

FIGURES = ("snr", "decay", "treble")
"""Figures of a grade that a single clip has."""
SILENCE = 0.15
"""Seconds before and after a take that are kept in a passage."""
REFUSED = "F"
"""The grade of a recording that is left out."""


class Audition(NamedTuple):
    """A recording as a clip of a voice."""

    seconds: float
    grade: str
    """From A to D, or F where it would be left out."""
    advice: list[str]
    """What would make it better, the most telling first."""
    reasons: list[str]
    figures: Mapping[str, float | None]
    span: tuple[float, float] | None
    """Where the speech begins and ends, in seconds."""


@cache
def _net() -> Any:
    return activity.network()


def audition(path: Path, text: str | None = None) -> Audition:
    """Grades a recording of `text`. Raises DifftoolError 4 where it cannot be read."""
    with tempfile.TemporaryDirectory() as folder:
        recording = decode(path, Path(folder) / "decoded.f32")
        total = recording.seconds
        likely = activity.speech(recording.samples, _net())
        spans = activity.spans(likely, total)
        if not spans:
            return Audition(total, REFUSED, [GATES["no_speech"].advice], ["no_speech"], {}, None)
        start, end = max(0.0, spans[0].start - PAD), min(total, spans[-1].end + PAD)
        figures = measure(recording, likely, start, end)
    words = guessed(start, end, text) if text else ()
    values = known(figures, {}, words, "en")
    failed = reasons(values)
    letters = {name: letter_of(values[name] or 0.0, ROWS[name][0]) for name in FIGURES}
    worse = sorted((name for name in FIGURES if letters[name] > "A"), key=lambda name: letters[name], reverse=True)
    advice = [GATES[reason].advice for reason in failed] + [ROWS[name][1] for name in worse]
    grade = REFUSED if failed else max(letters.values())
    return Audition(total, grade, [*dict.fromkeys(advice)], failed, values, (start, end))


def write_passage(takes: Sequence[tuple[Path, tuple[float, float]]], to: Path) -> list[tuple[float, float]]:
    """Writes recordings, and where speech begins and ends in each, one after the other into a WAV, with a little of
    their own silence between: sentences become passages. Returns where each begins and ends there. Raises DifftoolError
    4 where one cannot be read."""
    parts, spans, at = [], [], 0.0
    for path, (start, end) in takes:
        with tempfile.TemporaryDirectory() as folder:
            recording = decode(path, Path(folder) / "decoded.f32")
            first = round(max(0.0, start - SILENCE) * RATE)
            parts.append(recording.samples[first : round((end + SILENCE) * RATE)])
        begin = at + start - first / RATE
        spans.append((round(begin, 3), round(begin + end - start, 3)))
        at += len(parts[-1]) / RATE
    write_short(to, np.concatenate(parts).clip(-1, 1), RATE, subtype="PCM_16")
    return spans
