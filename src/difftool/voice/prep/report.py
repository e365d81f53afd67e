"""The report of a voice: one page that plays every clip, and everything that was left out, without a network."""

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
"""Seconds of silence from which on it is worth a row."""
NAMES = {
    "seconds": ("length", "s"),
    "snr": ("over noise", "dB"),
    "decay": ("dies away", "dB/s"),
    "treble": ("treble", "dB"),
    "level": ("level", "dB"),
    "speech": ("speech", ""),
    "clipped": ("clipped", "%"),
    "crowded": ("near the top", "%"),
    "levels": ("levels", ""),
    "grain": ("grain", "dB"),
    "tones": ("tones", ""),
    "hum": ("hum", "dB"),
    "characters_per_second": ("characters", "/s"),
    "character_error_rate": ("misheard", ""),
    "avg_logprob": ("log probability", ""),
    "references": ("references", ""),
    "sources": ("recordings", ""),
}
"""Figures in the order in which they are shown, with what they are called and their units."""


def write(path: Path, summary: Summary, takes: Sequence[VoiceTake]) -> None:
    """Writes the page. `takes` are those of the folder, with where their sounds are."""
    with replacing(path) as written, written.open("w", encoding="utf-8", errors="replace") as file:
        file.writelines(f"{piece}\n" for piece in _page(summary, takes))


def _page(summary: Summary, takes: Sequence[VoiceTake]) -> Iterator[str]:
    name, grade = html.escape(summary["voice"]), summary["grade"]
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The voice {name}</title>'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
    yield f"<style>{Path(__file__).with_name('report.css').read_text()}</style></head><body><main>"
    letter = grade["letter"]
    yield f'<div class="head"><div class="letter {letter}">{letter}</div><div><h1>The voice {name}</h1>'
    kept, total = summary["kept_seconds"], summary["total_seconds"]
    yield f'<p class="soft">{summary["clips"]} clips, {_time(kept)} of {_time(total)}</p></div></div>'
    yield '<div class="sides">'
    for side in ROWS:
        label, unit = NAMES[side]
        value = f"{grade['figures'][side]:g} {unit}".strip()
        yield f'<div class="side"><span class="soft">{label}</span><b>{value} ({grade["letters"][side]})</b></div>'
    yield "</div>"
    if grade["actions"]:
        yield "<h2>What would help most</h2><ol>"
        yield from (f"<li>{html.escape(action)}</li>" for action in grade["actions"])
        yield "</ol>"
    if summary["failed"]:
        yield "<h2>Could not be read</h2><ul>"
        yield from (f"<li>{html.escape(why)}</li>" for why in summary["failed"].values())
        yield "</ul>"
    if summary["reasons"]:
        yield '<h2>What was left out</h2><div class="bars">'
        most = max(summary["reasons"].values())
        for reason, seconds in summary["reasons"].items():
            width = max(0.5, 100 * seconds / max(most, 1e-9))
            bar = f'<div class="bar" style="width:{width:.1f}%"></div>'
            yield f"<span>{_plain(reason)}</span>{bar}<span>{seconds:.1f} s</span>"
        yield "</div>"
    clips = [take for take in takes if not take["reasons"]]
    used = {one["clip"] for one in summary["references"]}
    yield f"<h2>Clips ({len(clips)})</h2>"
    for clip in clips:
        yield from _card(clip, "kept, a reference" if clip.get("id") in used else "kept", True)
    left = [t for t in takes if t["reasons"] and (t["reasons"][0] != SILENCE or t["end"] - t["start"] >= SHOWN)]
    yield f"<h2>Left out ({len(left)})</h2>"
    for take in left:
        yield from _card(take, ", ".join(map(_plain, take["reasons"])), False)
    yield "</main></body></html>"


def _card(take: VoiceTake, verdict: str, kept: bool) -> Iterator[str]:
    title = f"{take.get('id')} · " if kept else ""
    where = f"{title}{html.escape(take['source'])} {_time(take['start'])} to {_time(take['end'])}"
    yield f'<article><div><div class="soft">{where}</div>'
    if "sound" in take and "wave" in take:
        data = base64.b64encode((take["folder"] / take["sound"]).read_bytes()).decode()
        yield _drawn(take["wave"])
        yield f'<audio controls preload="none" src="data:audio/mpeg;base64,{data}"></audio>'
    yield f'</div><div><div class="verdict {"yes" if kept else "no"}">{verdict}</div>'
    if take["text"]:
        yield f'<p class="text">{html.escape(take["text"])}</p>'
    yield '<p class="figures">'
    figures = take["figures"]
    shown = {name: value for name in NAMES if (value := figures.get(name)) is not None}
    yield " ".join(f"<span>{NAMES[n][0]} {value:g} {NAMES[n][1]}".rstrip() + "</span>" for n, value in shown.items())
    if not kept and (gate := GATES.get(take["reasons"][0])):
        why = " and ".join(
            f"{NAMES.get(bound.figure, (_plain(bound.figure),))[0]} {bound}" for bound in gate.found(figures)
        )
        yield f"</p><p>{why}: {html.escape(gate.advice)}"
    yield "</p></div></article>"


def _drawn(wave: Sequence[int]) -> str:
    top = max(1, *wave)
    tall = [24 * value / top for value in wave]
    up = " ".join(f"L{x} {24 - y:.1f}" for x, y in enumerate(tall))
    down = " ".join(f"L{x} {24 + y:.1f}" for x, y in reversed(list(enumerate(tall))))
    box = f'viewBox="0 0 {len(wave) - 1} 48" preserveAspectRatio="none" aria-hidden="true"'
    return f'<svg {box}><path d="M0 24 {up} {down}Z"/></svg>'


def _plain(name: str) -> str:
    return html.escape(name.replace("_", " "))


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
