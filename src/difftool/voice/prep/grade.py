"""How good a voice is, and what would make it better."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from .gates import GATES
from .shapes import VoiceTake

LETTERS = "ABCD"
ROWS: dict[str, tuple[tuple[float, float, float], str]] = {
    "seconds": ((90, 45, 15), "record {more:.0f} s more of clean speech"),
    "references": ((3, 2, 1), "record at least three stretches of six seconds without a long pause"),
    "snr": ((32, 26, 20), GATES["noise"].advice),
    "decay": ((190, 150, 125), GATES["reverb"].advice),
    "treble": ((-22, -24, -26), GATES["phone"].advice),
    "sources": ((2, 1, 1), "add a recording from another day: a voice is more than one mood"),
}
"""What a voice is graded by: the least for A, B and C, and what to do where A is missed."""
SERIOUS = 0.05
"""Share of the speech that a reason costs, from which on it is worth doing something about it."""


class Grade(NamedTuple):
    """A letter from A to D, what it comes from, and the most useful things to do."""

    letter: str
    figures: dict[str, float]
    letters: dict[str, str]
    actions: list[str]


def grade(clips: Sequence[VoiceTake], rejected: Sequence[VoiceTake], references: int) -> Grade:
    """Grades a voice by its weakest side, of all but how many recordings there are."""
    figures: dict[str, float] = {
        "seconds": round(sum(clip["figures"]["seconds"] or 0.0 for clip in clips), 1),
        "references": references,
        "sources": len({clip["source"] for clip in clips}),
    }
    for name in ("snr", "decay", "treble"):
        figures[name] = round(statistics.median(clip["figures"][name] or 0.0 for clip in clips), 1)
    letters = {name: _letter(figures[name], bounds) for name, (bounds, _) in ROWS.items()}
    worst = max(letter for name, letter in letters.items() if name != "sources")
    lost: dict[str, float] = defaultdict(float)
    for one in rejected:
        if (reason := one["reasons"][0]) in GATES:
            lost[reason] += one["end"] - one["start"]
    total = figures["seconds"] + sum(lost.values())
    wanted: list[tuple[float, str]] = []
    for name, letter in letters.items():
        if letter != "A" and not (name == "sources" and worst > "B"):
            more = ROWS[name][0][0] - figures[name]
            wanted.append(
                (LETTERS.index(letter) * (0.1 if name == "sources" else 1.0), ROWS[name][1].format(more=more))
            )
    for reason, seconds in lost.items():
        if seconds > SERIOUS * total:
            advice = f"{GATES[reason].advice} ({reason.replace('_', ' ')} cost {seconds:.0f} s)"
            known = [k for k, (_, text) in enumerate(wanted) if text == GATES[reason].advice]
            for k in known:
                wanted[k] = (wanted[k][0] + 3 * seconds / total, advice)
            if not known:
                wanted.append((3 * seconds / total, advice))
    ordered = [text for _, text in sorted(wanted, key=lambda one: (-one[0], one[1]))]
    return Grade(worst, figures, letters, ordered[:3])


def _letter(value: float, bounds: tuple[float, float, float]) -> str:
    return next((letter for letter, bound in zip(LETTERS, bounds, strict=False) if value >= bound), "D")
