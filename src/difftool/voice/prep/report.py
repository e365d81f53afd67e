"""The report of a voice: one offline HTML page that plays every clip and every rejected take."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ... import html
from ...files import versions
from ...limits import counted
from .gates import GATES, SILENCE, Bound
from .grade import ROWS
from .shapes import Summary, VoiceTake

SHOWN = 2.0
"""Minimum seconds of silence that are shown."""
NAMES = {
    "seconds": ("length", "s", 1),
    "snr": ("SNR", "dB", 1),
    "decay": ("decay", "dB/s", 0),
    "treble": ("treble", "dB", 1),
    "level": ("level", "dB", 1),
    "speech": ("speech", "", 2),
    "clipped": ("clipped", "%", 2),
    "crowded": ("near clipping", "%", 2),
    "levels": ("quantisation levels", "", 0),
    "grain": ("grain", "dB", 1),
    "tones": ("tones", "", 2),
    "hum": ("hum", "dB", 1),
    "likeness": ("likeness", "", 2),
    "characters_per_second": ("characters", "/s", 1),
    "character_error_rate": ("character error rate", "", 2),
    "avg_logprob": ("log probability", "", 2),
    "references": ("references", "", 0),
    "sources": ("recordings", "", 0),
}
"""Figures in the order in which they are shown, with their labels, units and decimals."""


class ShownFigure(NamedTuple):
    """A figure of a take as it is shown."""

    text: str
    failed: str
    """The bound for which the take is left out, or nothing."""


class Card(NamedTuple):
    """A take as it is shown."""

    heading: str
    length: str
    kept: bool
    verdict: str
    text: str
    figures: Sequence[ShownFigure]
    advice: str | None
    sound: Path | None
    width: int
    outline: str


def write(path: Path, summary: Summary, takes: Sequence[VoiceTake], packages: Sequence[str] = ()) -> None:
    """Writes the page. `takes` are those of the folder, with the places of their sounds; the versions of `packages` are
    named."""
    grade, kept, total = summary["grade"], summary["kept_seconds"], summary["total_seconds"]
    used = {reference["clip"] for reference in summary["references"]}
    clips = [take for take in takes if not take["reasons"]]
    rejected = [take for take in takes if take["reasons"] and not _is_short_silence(take)]
    voice = summary["voice"]
    html.write(
        path,
        "voice.html",
        # by day only: the same recordings make the same page again
        title=f"Voice {voice}: grade {grade['letter']}, {datetime.now(UTC):%Y-%m-%d}",
        subtitle=f"{counted(summary['clips'], 'clip')}, {_time(kept)} of {_time(total)}",
        letter=grade["letter"],
        sides=[(NAMES[side][0], f"{_value(side, grade['figures'])} ({grade['letters'][side]})") for side in ROWS],
        actions=grade["actions"],
        failed=summary["failed"].values(),
        reasons=list(_bars(summary["reasons"])),
        clips=[_card(clip, "kept, a reference" if clip.get("id") in used else "kept") for clip in clips],
        rejected=[_card(take, ", ".join(map(_plain, take["reasons"]))) for take in rejected],
        command=f"difftool voice clone --voice {shlex.quote(voice)}",
        versions=", ".join(f"{name} {version}" for name, version in versions(*packages).items()),
    )


def _is_short_silence(take: VoiceTake) -> bool:
    return take["reasons"][0] == SILENCE and take["end"] - take["start"] < SHOWN


def _bars(reasons: Mapping[str, float]) -> Iterator[tuple[str, str, str]]:
    """(label, width in percent, seconds) of each reason."""
    most = max([1e-9, *reasons.values()])
    for reason, seconds in reasons.items():
        width = max(0.5, 100 * seconds / most)
        yield _plain(reason), f"{width:.1f}", f"{seconds:.1f}"


def _card(take: VoiceTake, verdict: str) -> Card:
    kept = not take["reasons"]
    number = f"{take.get('id')} · " if kept else ""
    sound: Path | None = None
    wave: Sequence[int] = ()
    if "sound" in take and "wave" in take:
        sound, wave = take["folder"] / take["sound"], take["wave"]
    return Card(
        f"{number}{take['source']} {_time(take['start'])} to {_time(take['end'])}",
        f"{take['end'] - take['start']:.1f} s",
        kept,
        verdict,
        take["text"],
        list(_figures(take)),
        None if kept else _advice(take),
        sound,
        len(wave) - 1,
        outline(wave),
    )


def _figures(take: VoiceTake) -> Iterator[ShownFigure]:
    """The figures of a take, those first for which it is left out."""
    figures = take["figures"]
    gates = [GATES[reason] for reason in take["reasons"] if reason in GATES]
    failed = {bound.figure: bound for gate in gates for bound in gate.found(figures)}
    for name, bound in failed.items():
        unit = NAMES[name][1] if name in NAMES else ""
        yield ShownFigure(f"{_label(name)} {_value(name, figures, bound)}", f"{bound} {unit}".strip())
    for name in NAMES:
        if figures.get(name) is not None and name not in failed:
            yield ShownFigure(f"{_label(name)} {_value(name, figures)}", "")


def _value(name: str, figures: Mapping[str, float | None], bound: Bound | None = None) -> str:
    """A figure with its unit, rounded unless it is then no longer beyond the `bound`."""
    _, unit, decimals = NAMES.get(name, (name, "", 2))
    value = figures[name] or 0.0
    rounded = round(value, decimals)
    exact = bound is not None and not bound.holds({name: rounded})
    return f"{value if exact else rounded:g} {unit}".strip()


def _advice(take: VoiceTake) -> str | None:
    """Which bounds of its gate a rejected take exceeds, and how to record better."""
    gate = GATES.get(take["reasons"][0])
    if gate is None:
        return None
    conditions = [f"{_label(bound.figure)} {bound}" for bound in gate.found(take["figures"])]
    return f"{' and '.join(conditions)}: {gate.advice}"


def _label(figure: str) -> str:
    return NAMES[figure][0] if figure in NAMES else _plain(figure)


def outline(wave: Sequence[int]) -> str:
    """The path of an SVG that is 48 high, with a unit of width between two values."""
    top = max([1, *wave])
    heights = [24 * value / top for value in wave]
    up = [f"L{x} {24 - height:.1f}" for x, height in enumerate(heights)]
    down = [f"L{x} {24 + height:.1f}" for x, height in enumerate(heights)][::-1]
    return f"M0 24 {' '.join([*up, *down])}Z"


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:04.1f}"
    return f"{minutes}:{rest:04.1f}"
