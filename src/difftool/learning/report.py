"""The report of a run: one page with its figures, curves and pictures, without a network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..files import replacing

FIGURES = {
    "c2st": ("C2ST", "0.5: as if real, 1: told apart"),
    "fd": ("FD of pixels", "grey levels squared"),
    "fd_features": ("FD of random features", ""),
    "kid": ("KID of random features", "times 1,000"),
    "nearest": ("nearest training picture", "1: as far as held-out ones, far below: copied"),
    "exploded": ("exploded", "brighter than any real one"),
    "legible": ("read as their label", "share"),
}


def write(
    path: Path,
    config: Mapping[str, Any],
    told: Mapping[str, Any],
    curves: Path,
    pictures: Mapping[str, Path],
) -> None:
    """Writes the page: the run's `config`, what it `told` at its end (figures, notes), its curves, and pictures by what
    they are called."""
    with replacing(path) as written, written.open("w", encoding="utf-8") as file:
        file.writelines(f"{piece}\n" for piece in _page(path.parent.name, config, told, curves, pictures))


def _page(
    name: str, config: Mapping[str, Any], told: Mapping[str, Any], curves: Path, pictures: Mapping[str, Path]
) -> Iterator[str]:
    train = config["train"]
    name = html.escape(name)
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>The run {name}</title>'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
    yield f"<style>{Path(__file__).with_name('report.css').read_text()}</style></head><body><main>"
    yield f"<h1>The run {name}</h1>"
    data = train["data"]
    loss = "" if told["loss"] is None else f", loss {told['loss']:.4f}"
    of = f"{html.escape(data['name'])} ({data['pictures']:,})"
    yield f'<p class="soft">{train["images"]:,} pictures seen of {of}{loss}</p>'
    yield from (f"<p>{html.escape(note)}</p>" for note in told["notes"])
    if told["quality"]:
        yield '<div class="sides">'
        for key, (label, meaning) in FIGURES.items():
            if key in told["quality"]:
                value = f"{told['quality'][key]:.4g}"
                yield f'<div class="side"><span>{label}</span><b>{value}</b><span class="soft">{meaning}</span></div>'
        yield "</div>"
    for title, picture in {"Curves": curves, **pictures}.items():
        if picture.exists():
            code = base64.b64encode(picture.read_bytes()).decode()
            yield f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="data:image/png;base64,{code}">'
    yield "<h2>Settings</h2><table>"
    for key, value in _flat(config):
        yield f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>"
    yield "</table></main></body></html>"


def _flat(config: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value if isinstance(value, str) else json.dumps(value)
