"""The report of a run: one page with its figures, curves and pictures, which needs no network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..files import replacing
from .config import RunConfig, readable


class Outcome(NamedTuple):
    """The result of a run."""

    loss: float | None
    quality: Mapping[str, float] | None
    notes: Sequence[str]


class ReportLabels(NamedTuple):
    """The labels of a report."""

    items: str
    """What is counted, such as pictures."""
    figures: Mapping[str, tuple[str, str]]
    """(label, meaning) of each figure of the quality, in order."""


def write(
    path: Path, config: RunConfig, outcome: Outcome, curves: Path, pictures: Mapping[str, Path], words: ReportLabels
) -> None:
    """Writes the page: the run's config, outcome and curves, and pictures by title."""
    with replacing(path) as written, written.open("w", encoding="utf-8") as file:
        page = _page(path.parent.name, config, outcome, {"Curves": curves, **pictures}, words)
        file.writelines(f"{piece}\n" for piece in page)


def _page(
    name: str, config: RunConfig, outcome: Outcome, pictures: Mapping[str, Path], words: ReportLabels
) -> Iterator[str]:
    train = config["train"]
    name = html.escape(name)
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Run {name}</title>'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
    yield f"<style>{Path(__file__).with_name('report.css').read_text()}</style></head><body><main>"
    yield f"<h1>Run {name}</h1>"
    data = train["data"]
    loss = "" if outcome.loss is None else f", loss {outcome.loss:.4f}"
    of = f"{html.escape(data['name'])} ({data['pictures']:,})"
    yield f'<p class="soft">{train["images"]:,} {words.items} seen of {of}{loss}</p>'
    yield from (f"<p>{html.escape(note)}</p>" for note in outcome.notes)
    if outcome.quality:
        yield '<div class="sides">'
        for key, (label, meaning) in words.figures.items():
            if key in outcome.quality:
                value = f"{outcome.quality[key]:.4g}"
                yield f'<div class="side"><span>{label}</span><b>{value}</b><span class="soft">{meaning}</span></div>'
        yield "</div>"
    for title, picture in pictures.items():
        if picture.exists():
            code = base64.b64encode(picture.read_bytes()).decode()
            yield f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="data:image/png;base64,{code}">'
    yield "<h2>Settings</h2><table>"
    for key, value in _flat(config):
        yield f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>"
    yield "</table></main></body></html>"


def _flat(config: Mapping[str, object], where: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{key}.")
        else:
            shown = readable(f"{where}{key}", value)
            yield f"{where}{key}", shown if isinstance(shown, str) else json.dumps(shown)
