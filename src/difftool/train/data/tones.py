"""Short sounds of five instruments by formulas, as many as needed, each from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Samples = np.ndarray[Any, np.dtype[np.float32]]
Line = np.ndarray[Any, np.dtype[np.float64]]

RATE, FRAMES, HOP = 24_000, 64, 256
"""Of the sound format mel24; a sound has so many frames."""
LENGTH = FRAMES * HOP - 1
"""Samples of a sound: 0.68 s."""
NOTES = ("G4", "A4", "B4", "C5", "D5", "E5", "F5", "G5", "A5", "B5", "C6", "D6")
SEMITONES = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
PEAK = (0.35, 0.8)
"""Range of the largest sample."""
DETUNED = 5.0
"""Cents by which a pitch may be off."""


def hertz_of(note: str) -> float:
    """The pitch of a note such as A4 (440 Hz), in equal temperament."""
    number = SEMITONES[note[0]] + 12 * int(note[1:])
    return 440 * 2 ** ((number - SEMITONES["A"] - 12 * 4) / 12)


class Tone(NamedTuple):
    """What is drawn of a sound besides its instrument and note."""

    hertz: float
    start: float
    """Seconds of silence before it"""
    decay: float
    """From 0, the shortest, to 1"""
    colour: float
    """From 0, dull, to 1, bright"""
    peak: float


def tone(note: str, rng: np.random.Generator) -> Tone:
    """A sound of a note."""
    detuned = rng.uniform(-DETUNED, DETUNED)
    start = rng.uniform(0.02, 0.05)
    decay, colour = rng.uniform(size=2)
    return Tone(hertz_of(note) * 2 ** (detuned / 1200), start, decay, colour, rng.uniform(*PEAK))


def drawn(instrument: str, tone: Tone, rng: np.random.Generator) -> Samples:
    """The sound (LENGTH,) of an instrument."""
    silent = round(tone.start * RATE)
    t = np.arange(LENGTH - silent) / RATE
    sound = INSTRUMENTS[instrument](t, tone, rng)
    attack = np.minimum(t / 0.002, 1)  # no click
    end = np.minimum((t[-1] - t) / 0.02, 1)
    sound = sound * attack * end
    sound = np.concatenate([np.zeros(silent), sound])
    return (sound * (tone.peak / np.abs(sound).max())).astype(np.float32)


def _partials(t: Line, hertz: float, partials: list[tuple[float, float, float]]) -> Line:
    """Decaying sines: (multiple of `hertz`, amplitude, seconds to a tenth) each."""
    total = np.zeros_like(t)
    for multiple, amplitude, seconds in partials:
        phase = 2 * math.pi * hertz * multiple * t
        total += amplitude * np.sin(phase) * 10 ** (-t / seconds)
    return total


def _pluck(t: Line, tone: Tone, rng: np.random.Generator) -> Line:
    """A string plucked at a third to a fifth of its length: harmonics, the higher ones shorter."""
    place = 0.2 + 0.13 * (1 - tone.colour)
    seconds = 0.45 + 0.35 * tone.decay
    parts = []
    for k in range(1, 9):
        amplitude = abs(math.sin(math.pi * k * place)) / k
        parts.append((float(k), amplitude, seconds / (1 + 0.25 * (k - 1))))
    return _partials(t, tone.hertz, parts)


def _bell(t: Line, tone: Tone, rng: np.random.Generator) -> Line:
    """A struck bar: its partials are no harmonics, and the first rings long."""
    seconds = 0.7 + 0.6 * tone.decay
    bright = 0.45 + 0.3 * tone.colour
    return _partials(
        t, tone.hertz, [(1.0, 1.0, seconds), (2.756, bright, 0.5 * seconds), (5.404, bright / 2, 0.25 * seconds)]
    )


def _flute(t: Line, tone: Tone, rng: np.random.Generator) -> Line:
    """A blown pipe: a soft beginning, a steady tone with few harmonics, and breath."""
    bright = 0.15 + 0.25 * tone.colour
    steady = _partials(t, tone.hertz, [(1.0, 1.0, 1e9), (2.0, bright, 1e9), (3.0, bright / 2, 1e9)])
    rise = 0.04 + 0.06 * tone.decay
    breath = 0.004 * rng.standard_normal(len(t))
    return (steady + breath) * (1 - np.exp(-t / rise))


def _drum(t: Line, tone: Tone, rng: np.random.Generator) -> Line:
    """A small drum: noise of the stroke, then a short tone that falls to its pitch."""
    fall = 0.5 * np.exp(-t / 0.012)
    phase = 2 * math.pi * tone.hertz * np.cumsum(1 + fall) / RATE
    seconds = 0.16 + 0.08 * tone.decay
    stroke = (0.15 + 0.2 * tone.colour) * rng.standard_normal(len(t)) * np.exp(-t / 0.008)
    return np.sin(phase) * 10 ** (-t / seconds) + stroke


def _chirp(t: Line, tone: Tone, rng: np.random.Generator) -> Line:
    """A glide that rises by an octave to its pitch and stays there."""
    glide = 0.14 + 0.08 * tone.decay
    octaves = np.minimum(t / glide, 1) - 1
    phase = 2 * math.pi * tone.hertz * np.cumsum(2**octaves) / RATE
    bright = 0.1 + 0.2 * tone.colour
    return np.sin(phase) + bright * np.sin(2 * phase)


INSTRUMENTS: dict[str, Callable[[Line, Tone, np.random.Generator], Line]] = {
    "pluck": _pluck,
    "bell": _bell,
    "flute": _flute,
    "drum": _drum,
    "chirp": _chirp,
}
"""A sound at the times `t` (S,), of any loudness."""
CLASSES = [f"{instrument}-{note}" for instrument in INSTRUMENTS for note in NOTES]


def draw_set(count: int, *, held: bool, seed: int = 0) -> tuple[Samples, np.ndarray[Any, np.dtype[np.int64]]]:
    """`count` sounds (N, LENGTH) and their numbers in CLASSES, which take turns. Sound k does not depend on the count;
    held-out ones have other seeds."""
    sounds = np.empty((count, LENGTH), np.float32)
    labels = np.arange(count) % len(CLASSES)
    for k, label in enumerate(labels):
        instrument, note = CLASSES[label].split("-")
        rng = np.random.default_rng([seed, held, k])
        sounds[k] = drawn(instrument, tone(note, rng), rng)
    return sounds, labels.astype(np.int64)
