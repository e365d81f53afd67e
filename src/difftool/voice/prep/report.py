"""The report of a voice: one offline HTML page that plays every clip and every rejected take."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...files import replacing
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


def write(path: Path, summary: Summary, takes: Sequence[VoiceTake]) -> None:
    """Writes the page. `takes` are those of the folder, with the places of their sounds."""
    with replacing(path) as written, written.open("w", encoding="utf-8", errors="replace") as file:
        file.writelines(f"{piece}\n" for piece in _page(summary, takes))


def _page(summary: Summary, takes: Sequence[VoiceTake]) -> Iterator[str]:
    name, grade = html.escape(summary["voice"]), summary["grade"]
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Voice {name}</title>'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
    yield f"<style>{Path(__file__).with_name('report.css').read_text()}</style></head><body><main>"
    letter = grade["letter"]
    yield f'<div class="head"><div class="letter {letter}">{letter}</div><div><h1>Voice {name}</h1>'
    kept, total = summary["kept_seconds"], summary["total_seconds"]
    yield f'<p class="soft">{summary["clips"]} clips, {_time(kept)} of {_time(total)}</p></div></div>'
    yield '<div class="sides">'
    for side in ROWS:
        label, unit = NAMES[side]
        value = f"{grade['figures'][side]:g} {unit}".strip()
        yield f'<div class="side"><span class="soft">{label}</span><b>{value} ({grade["letters"][side]})</b></div>'
    yield "</div>"
    if grade["actions"]:
        yield "<h2>How to improve it</h2><ol>"
        yield from (f"<li>{html.escape(action)}</li>" for action in grade["actions"])
        yield "</ol>"
    if summary["failed"]:
        yield "<h2>Unreadable recordings</h2><ul>"
        yield from (f"<li>{html.escape(message)}</li>" for message in summary["failed"].values())
        yield "</ul>"
    if summary["reasons"]:
        yield '<h2>Rejected, by reason</h2><div class="bars">'
        most = max(summary["reasons"].values())
        for reason, seconds in summary["reasons"].items():
            width = max(0.5, 100 * seconds / max(most, 1e-9))
            bar = f'<div class="bar" style="width:{width:.1f}%"></div>'
            yield f"<span>{_plain(reason)}</span>{bar}<span>{seconds:.1f} s</span>"
        yield "</div>"
    clips = [take for take in takes if not take["reasons"]]
    used = {reference["clip"] for reference in summary["references"]}
    yield f"<h2>Clips ({len(clips)})</h2>"
    for clip in clips:
        yield from _card(clip, "kept, a reference" if clip.get("id") in used else "kept", True)
    rejected = [take for take in takes if take["reasons"] and not _is_short_silence(take)]
    yield f"<h2>Rejected ({len(rejected)})</h2>"
    for take in rejected:
        yield from _card(take, ", ".join(map(_plain, take["reasons"])), False)
    yield "</main></body></html>"


def _is_short_silence(take: VoiceTake) -> bool:
    return take["reasons"][0] == SILENCE and take["end"] - take["start"] < SHOWN


def _card(take: VoiceTake, verdict: str, kept: bool) -> Iterator[str]:
    title = f"{take.get('id')} · " if kept else ""
    source, start, end = html.escape(take["source"]), _time(take["start"]), _time(take["end"])
    yield f'<article><div><div class="soft">{title}{source} {start} to {end}</div>'
    if "sound" in take and "wave" in take:
        data = base64.b64encode((take["folder"] / take["sound"]).read_bytes()).decode()
        yield _drawn(take["wave"])
        yield f'<audio controls preload="none" src="data:audio/mpeg;base64,{data}"></audio>'
    yield f'</div><div><div class="verdict {"yes" if kept else "no"}">{verdict}</div>'
    if take["text"]:
        yield f'<p class="text">{html.escape(take["text"])}</p>'
    yield '<p class="figures">'
    figures = take["figures"]
    spans = []
    for name, (label, unit) in NAMES.items():
        value = figures.get(name)
        if value is not None:
            spans.append(f"<span>{label} {value:g} {unit}".rstrip() + "</span>")
    yield " ".join(spans)
    gate = None if kept else GATES.get(take["reasons"][0])
    if gate:
        conditions = [f"{_label(bound.figure)} {bound}" for bound in gate.found(figures)]
        yield f"</p><p>{' and '.join(conditions)}: {html.escape(gate.advice)}"
    yield "</p></div></article>"


def _label(figure: str) -> str:
    return NAMES[figure][0] if figure in NAMES else _plain(figure)


def _drawn(wave: Sequence[int]) -> str:
    top = max(1, *wave)
    heights = [24 * value / top for value in wave]
    up = [f"L{x} {24 - height:.1f}" for x, height in enumerate(heights)]
    down = [f"L{x} {24 + height:.1f}" for x, height in enumerate(heights)][::-1]
    outline = " ".join([*up, *down])
    box = f'viewBox="0 0 {len(wave) - 1} 48" preserveAspectRatio="none" aria-hidden="true"'
    return f'<svg {box}><path d="M0 24 {outline}Z"/></svg>'


def _plain(name: str) -> str:
    return html.escape(name.replace("_", " "))


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:04.1f}"
    return f"{minutes}:{rest:04.1f}"
