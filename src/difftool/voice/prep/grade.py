"""The grade of a voice, and advice to improve it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from .gates import GATES
from .shapes import VoiceTake

LETTERS = "ABCD"
ROWS: dict[str, tuple[tuple[float, float, float], str]] = {
    "seconds": ((90, 45, 15), "record {more:.0f} more seconds of clean speech"),
    "references": ((3, 2, 1), "record at least three passages of six seconds without a long pause"),
    "snr": ((32, 26, 20), GATES["noise"].advice),
    "decay": ((190, 150, 125), GATES["reverb"].advice),
    "treble": ((-22, -24, -26), GATES["phone"].advice),
    "sources": ((2, 1, 1), "add a recording from another day, for more variety"),
}
"""The figures of a grade: minimum for A, B and C, and the advice below A."""
SERIOUS = 0.05
"""Share of the speech lost to a reason above which it is worth an advice."""


class Grade(NamedTuple):
    """A letter from A to D, the figures behind it, and the most useful advice."""

    letter: str
    figures: dict[str, float]
    letters: dict[str, str]
    actions: list[str]


def grade(clips: Sequence[VoiceTake], rejected: Sequence[VoiceTake], references: int) -> Grade:
    """Grades a voice by its worst figure, except the number of recordings."""
    figures: dict[str, float] = {
        "seconds": round(sum(clip["figures"]["seconds"] or 0.0 for clip in clips), 1),
        "references": references,
        "sources": len({clip["source"] for clip in clips}),
    }
    for name in ("snr", "decay", "treble"):
        figures[name] = round(statistics.median(clip["figures"][name] or 0.0 for clip in clips), 1)
    letters = {name: letter_of(figures[name], bounds) for name, (bounds, _) in ROWS.items()}
    worst = max(letter for name, letter in letters.items() if name != "sources")
    return Grade(worst, figures, letters, _actions(figures, letters, worst, rejected)[:3])


def _actions(
    figures: dict[str, float], letters: dict[str, str], worst: str, rejected: Sequence[VoiceTake]
) -> list[str]:
    """Advice to improve a voice, the most useful first."""
    # 1. what each figure below A asks for
    weights: dict[str, float] = {}
    for name, letter in letters.items():
        bounds, advice = ROWS[name]
        if letter == "A" or (name == "sources" and worst > "B"):
            continue
        more = bounds[0] - figures[name]
        scale = 0.1 if name == "sources" else 1.0
        weights[advice.format(more=more)] = LETTERS.index(letter) * scale
    # 2. what the reasons that cost much speech ask for
    lost: dict[str, float] = defaultdict(float)
    for take in rejected:
        reason = take["reasons"][0]
        if reason in GATES:
            lost[reason] += take["end"] - take["start"]
    total = figures["seconds"] + sum(lost.values())
    for reason, seconds in lost.items():
        if seconds <= SERIOUS * total:
            continue
        advice = GATES[reason].advice
        weight = weights.pop(advice, 0.0) + 3 * seconds / total
        weights[f"{advice} ({reason.replace('_', ' ')} cost {seconds:.0f} s)"] = weight
    return sorted(weights, key=lambda text: (-weights[text], text))


def letter_of(value: float, bounds: tuple[float, float, float]) -> str:
    """The letter of a figure, by the minimum for A, B and C."""
    for letter, bound in zip(LETTERS, bounds, strict=False):
        if value >= bound:
            return letter
    return "D"
