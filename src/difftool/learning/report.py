"""The report of a run: one page with its figures, curves and pictures, which needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .. import html
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
    images, data = config["train"]["images"], config["train"]["data"]
    loss = "" if outcome.loss is None else f", loss {outcome.loss:.4f}"
    quality = outcome.quality or {}
    rows = [(label, quality[key], meaning) for key, (label, meaning) in words.figures.items() if key in quality]
    html.write(
        path,
        "training.html",
        title=f"Run {path.parent.name}",
        subtitle=f"{images:,} {words.items} seen of {data['name']} ({data['pictures']:,}){loss}",
        notes=outcome.notes,
        figures=[(label, f"{value:.4g}", meaning) for label, value, meaning in rows],
        curves=curves if curves.exists() else None,
        pictures={title: picture for title, picture in pictures.items() if picture.exists()},
        settings=_flat(config),
    )


def _flat(config: Mapping[str, object], where: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{key}.")
        else:
            shown = readable(f"{where}{key}", value)
            yield f"{where}{key}", shown if isinstance(shown, str) else json.dumps(shown)
