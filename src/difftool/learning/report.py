"""The report of a run: one page with its figures, curves and pictures, which needs no network."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from .. import html
from ..files import versions
from ..pictures.plots import Curve, colours_of, running_mean
from .config import RunConfig, readable
from .runlog import curves_of, final_loss, read_log, training_seconds, updates_of

PANEL = (1000, 300)
"""Width and height of a panel in the units of its curves."""


class Outcome(NamedTuple):
    """The result of a run."""

    quality: Mapping[str, float] | None
    real: Mapping[str, float]
    """The figures of real items in place of samples, as far as they are known."""
    notes: Sequence[str]
    machine: str
    more_seconds: float = 0.0
    """Time of other trainings that belong to the run."""


class ReportLabels(NamedTuple):
    """The labels of a report."""

    items: str
    """What is counted, such as pictures."""
    figures: Mapping[str, tuple[str, str]]
    """(label, meaning) of each figure of the quality, in order."""
    commands: Mapping[str, str]
    """What can be done with the result: commands by purpose."""


class Figure(NamedTuple):
    """A figure of the quality as it is shown."""

    label: str
    value: str
    real: str | None
    meaning: str


class PlottedCurve(NamedTuple):
    """A curve of a panel: points of its values and of their running mean."""

    label: str
    colour: int
    last: str
    values: str
    mean: str


class Panel(NamedTuple):
    """Curves with common axes, and their ticks as (place in percent, label)."""

    title: str
    curves: Sequence[PlottedCurve]
    across: Sequence[tuple[float, str]]
    up: Sequence[tuple[float, str]]


def write(
    path: Path,
    config: RunConfig,
    outcome: Outcome,
    pictures: Mapping[str, Path],
    labels: ReportLabels,
    sounds: Mapping[str, Path] | None = None,
) -> None:
    """Writes the page: the run's config, outcome and curves, pictures by title, and sounds (FLAC) by title."""
    train = config["train"]
    lines = read_log(path.parent)
    data, final = train["data"], final_loss(lines)
    loss = "" if final is None else f", loss {final:.4f}"
    lengths = [train["length"], *(extension["length"] for extension in train.get("more", []))]
    title = f"{_length(lengths[0], labels.items, plural=False)} run"
    if len(lengths) > 1:
        title = f"run of {' + '.join(_length(part, labels.items) for part in lengths)}"
    html.write(
        path,
        "training.html",
        title=f"{data['name']}: {title}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        subtitle=f"{train['images']:,} {labels.items} seen of {data['name']} ({data['pictures']:,}){loss}",
        notes=outcome.notes,
        figures=list(_figures(outcome, labels.figures)),
        items=labels.items,
        panels=list(_panels(curves_of(lines))) if updates_of(lines) else [],
        pictures={title: picture for title, picture in pictures.items() if picture.exists()},
        sounds=sounds or {},
        commands=labels.commands,
        facts=list(_facts(training_seconds(lines), train["images"], outcome, labels.items)),
        settings=_flat(config),
    )


def _length(length: Mapping[str, float], items: str, *, plural: bool = True) -> str:
    """A length as it was given: 2 min, 200 steps; without `plural` as it stands before the word run: 200 step."""
    ((unit, value),) = length.items()
    noun = {"images": items, "minutes": "min"}.get(unit, unit)
    number = f"{value:,.0f}" if value == int(value) else f"{value:g}"
    is_plural = plural and value != 1
    return f"{number} {noun if is_plural else noun.removesuffix('s')}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _figures(outcome: Outcome, labels: Mapping[str, tuple[str, str]]) -> Iterator[Figure]:
    quality = outcome.quality or {}
    for key, (label, meaning) in labels.items():
        if key in quality:
            real = _rounded(outcome.real[key]) if key in outcome.real else None
            yield Figure(label, _rounded(quality[key]), real, meaning)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def _facts(seconds: float, images: int, outcome: Outcome, items: str) -> Iterator[tuple[str, str]]:
    """How the run was made, as (name, value)."""
    if seconds:
        yield "training time", _duration(seconds + outcome.more_seconds)
        yield "speed", f"{_rounded(images / seconds)} {items}/s"
    yield "machine", outcome.machine
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions("torch").items())


def _panels(curves: Mapping[str, Mapping[str, Curve]]) -> Iterator[Panel]:
    colours = colours_of(curves)
    for title, by_label in curves.items():
        known = {label: curve for label, curve in by_label.items() if len(curve[1])}
        if known:
            yield _panel(title, known, colours)


def _panel(title: str, curves: Mapping[str, Curve], colours: Mapping[str, int]) -> Panel:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    ticks, engineering = MaxNLocator(4), EngFormatter()
    right = max(x[-1] for x, _ in curves.values())
    highest = max(max(y) for _, y in curves.values())
    up = ticks.tick_values(0, max(highest, 1e-6))
    top = up[-1]
    plotted = []
    for label, (x, y) in curves.items():
        mean = running_mean(y)
        points = (_points(x, values, right, top) for values in (y, mean))
        plotted.append(PlottedCurve(label, colours[label], f"{mean[-1]:.3g}", *points))
    across = [(100 * tick / right, engineering(tick)) for tick in ticks.tick_values(0, right) if tick <= right]
    return Panel(title, plotted, across, [(100 * tick / top, f"{tick:g}") for tick in up])


def _points(x: Sequence[float], y: Sequence[float], right: float, top: float) -> str:
    """The points of a polyline in a panel that ends at `right` and `top`."""
    width, height = PANEL
    places = zip(x, y, strict=True)
    return " ".join(f"{width * a / right:.1f},{height * (1 - b / top):.1f}" for a, b in places)


def _flat(config: Mapping[str, object], where: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{key}.")
        else:
            shown = readable(f"{where}{key}", value)
            yield f"{where}{key}", shown if isinstance(shown, str) else json.dumps(shown)
