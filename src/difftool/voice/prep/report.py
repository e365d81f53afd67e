"""The report of a voice: one offline HTML page that plays every clip and every rejected take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ... import html
from .gates import GATES, SILENCE
from .grade import ROWS
from .shapes import Summary, VoiceTake

SHOWN = 2.0
"""Minimum seconds of silence that are shown."""
NAMES = {
    "seconds": ("length", "s"),
    "snr": ("SNR", "dB"),
    "decay": ("decay", "dB/s"),
    "treble": ("treble", "dB"),
    "level": ("level", "dB"),
    "speech": ("speech", ""),
    "clipped": ("clipped", "%"),
    "crowded": ("near clipping", "%"),
    "levels": ("quantisation levels", ""),
    "grain": ("grain", "dB"),
    "tones": ("tones", ""),
    "hum": ("hum", "dB"),
    "characters_per_second": ("characters", "/s"),
    "character_error_rate": ("character error rate", ""),
    "avg_logprob": ("log probability", ""),
    "references": ("references", ""),
    "sources": ("recordings", ""),
}
"""Figures in the order in which they are shown, with their labels and units."""


class Card(NamedTuple):
    """A take as it is shown."""

    heading: str
    kept: bool
    verdict: str
    text: str
    figures: Sequence[str]
    advice: str | None
    sound: Path | None
    width: int
    outline: str


def write(path: Path, summary: Summary, takes: Sequence[VoiceTake]) -> None:
    """Writes the page. `takes` are those of the folder, with the places of their sounds."""
    grade, kept, total = summary["grade"], summary["kept_seconds"], summary["total_seconds"]
    used = {reference["clip"] for reference in summary["references"]}
    clips = [take for take in takes if not take["reasons"]]
    rejected = [take for take in takes if take["reasons"] and not _is_short_silence(take)]
    html.write(
        path,
        "voice.html",
        title=f"Voice {summary['voice']}",
        subtitle=f"{summary['clips']} clips, {_time(kept)} of {_time(total)}",
        letter=grade["letter"],
        sides=[(NAMES[side][0], f"{_value(side, grade['figures'])} ({grade['letters'][side]})") for side in ROWS],
        actions=grade["actions"],
        failed=summary["failed"].values(),
        reasons=list(_bars(summary["reasons"])),
        clips=[_card(clip, "kept, a reference" if clip.get("id") in used else "kept") for clip in clips],
        rejected=[_card(take, ", ".join(map(_plain, take["reasons"]))) for take in rejected],
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
    kept, figures = not take["reasons"], take["figures"]
    number = f"{take.get('id')} · " if kept else ""
    sound: Path | None = None
    wave: Sequence[int] = ()
    if "sound" in take and "wave" in take:
        sound, wave = take["folder"] / take["sound"], take["wave"]
    return Card(
        f"{number}{take['source']} {_time(take['start'])} to {_time(take['end'])}",
        kept,
        verdict,
        take["text"],
        [f"{NAMES[name][0]} {_value(name, figures)}" for name in NAMES if figures.get(name) is not None],
        None if kept else _advice(take),
        sound,
        len(wave) - 1,
        _outline(wave),
    )


def _value(name: str, figures: Mapping[str, float | None]) -> str:
    """A figure with its unit."""
    return f"{figures[name]:g} {NAMES[name][1]}".strip()


def _advice(take: VoiceTake) -> str | None:
    """Which bounds of its gate a rejected take exceeds, and how to record better."""
    gate = GATES.get(take["reasons"][0])
    if gate is None:
        return None
    conditions = [f"{_label(bound.figure)} {bound}" for bound in gate.found(take["figures"])]
    return f"{' and '.join(conditions)}: {gate.advice}"


def _label(figure: str) -> str:
    return NAMES[figure][0] if figure in NAMES else _plain(figure)


def _outline(wave: Sequence[int]) -> str:
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
