"""The log of a run, its loss curves, TensorBoard events, and whether the loss still improves."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import numpy as np

from ..errors import DifftoolError, Exit
from ..pictures.plots import Curve, plot_curves
from .tasks import BANDS

log = logging.getLogger(__name__)

LOG, PLOT = "log.jsonl", "loss.png"
FEWEST = 5
"""Least number of values in a fifth of a run to judge its trend."""
SEEN = 0.05
"""A run counts as no longer improving only if a relative change of this size would exceed the noise of the loss."""

Numbers = list[float | None]


class UpdateLine(TypedDict):
    """A line of the log about some updates; the last is number `step`."""

    images: int
    """Items seen, whatever they are."""
    step: int
    loss: float
    bands: Numbers | None
    """The loss by noise level, from little to much."""
    lr: float
    norm: float | None
    skipped: int
    images_per_second: NotRequired[float]
    held_out: NotRequired[float]
    held_out_bands: NotRequired[Numbers | None]


class ClosingLine(TypedDict):
    """The last line of the log of a finished run."""

    finished: bool
    quality: dict[str, float] | None
    notes: list[str]


Line = UpdateLine | ClosingLine


def append(folder: Path, line: Line) -> None:
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_log(folder: Path, figures: Collection[str] = ()) -> list[Line]:
    """The lines of the log, without one that a crash cut off. Raises DifftoolError 4 for an invalid line, and if the
    quality of a finished run lacks one of these `figures`."""
    lines: list[Line] = []
    if (folder / LOG).exists():
        for k, text in enumerate((folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                log.debug("skipped a truncated line of %s: %s", folder / LOG, text)
                continue
            closing = isinstance(line, Mapping) and "finished" in line
            if not (_closing(line, figures) if closing else _on_the_way(line)):
                message = f"{folder / LOG} is damaged: line {k} is not valid"
                hint = "restore a copy, or start over with --overwrite"
                raise DifftoolError(Exit.FILE, message, hint)
            lines.append(cast(Line, line))
    return lines


def updates_of(lines: Sequence[Line]) -> list[UpdateLine]:
    """The lines about updates."""
    return [line for line in lines if "loss" in line]


def _number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _on_the_way(line: object) -> bool:
    """Whether this is a valid line about some updates."""
    if not isinstance(line, Mapping) or not all(_number(line.get(key)) for key in ("images", "step", "loss")):
        return False
    bands = [line.get(key) for key in ("bands", "held_out_bands")]
    several = [value for part in bands if isinstance(part, list) for value in part]
    single = [value for key, value in line.items() if key not in ("bands", "held_out_bands")]
    shaped = all(part is None or (isinstance(part, list) and len(part) == BANDS) for part in bands)
    return shaped and all(value is None or _number(value) for value in (*several, *single))


def _closing(line: Mapping[str, object], figures: Collection[str]) -> bool:
    """Whether this is a valid last line of a log."""
    quality, notes = line.get("quality"), line.get("notes")
    known = quality is None or (
        isinstance(quality, Mapping) and set(figures) <= quality.keys() and all(map(_number, quality.values()))
    )
    return known and isinstance(notes, list) and all(isinstance(note, str) for note in notes)


def final_loss(lines: Sequence[Line]) -> float | None:
    """The mean over the last tenth of the log; None if no update was finite."""
    losses = [line["loss"] for line in updates_of(lines)]
    tail = losses[-max(len(losses) // 10, 1) :]
    return sum(tail) / len(tail) if tail else None


def held_out_of(line: UpdateLine) -> float:
    """The held-out loss in a line of the log, infinite where it was not measured or is not a number."""
    loss = line.get("held_out", math.inf)
    return loss if math.isfinite(loss) else math.inf


def training_seconds(lines: Sequence[Line]) -> float:
    """Seconds that the updates of a log took, without previews and interruptions."""
    seconds, before = 0.0, 0
    for line in updates_of(lines):
        if speed := line.get("images_per_second"):
            seconds += (line["images"] - before) / speed
        before = line["images"]
    return seconds


def curves_of(lines: Sequence[Line]) -> dict[str, dict[str, Curve]]:
    """The curves of a log by panel and label: training and held-out loss, and the loss by noise level."""
    updates = updates_of(lines)
    held = [(line["images"], loss) for line in updates if (loss := line.get("held_out")) is not None]
    curves: dict[str, dict[str, Curve]] = {
        "loss": {"training": ([line["images"] for line in updates], [line["loss"] for line in updates])}
    }
    if held:
        curves["loss"]["held out"] = ([images for images, _ in held], [loss for _, loss in held])
    banded = [(line["images"], bands) for line in updates if (bands := line.get("bands"))]
    if banded:
        curves["loss by noise"] = {}
        for k, name in enumerate(("least noise", "less", "more", "most noise")):
            points = [(images, loss) for images, bands in banded if (loss := bands[k]) is not None]
            curves["loss by noise"][name] = ([images for images, _ in points], [loss for _, loss in points])
    return curves


def plot(folder: Path) -> None:
    """Plots the curves of a log as loss.png."""
    plot_curves(folder / PLOT, curves_of(read_log(folder)), folder.name)


def improving(lines: Sequence[Line]) -> str:
    """Whether the run still improves, in one line: the held-out loss (or else the training loss) of the last fifth
    against the fifth before, with the 95 % interval of Student's t for the difference of their means. No change means
    something only if the interval is narrow."""
    from scipy.stats import t as student

    values = [loss for line in updates_of(lines) if (loss := line.get("held_out")) is not None]
    name = "held-out loss"
    if len(values) < 5 * FEWEST:
        values, name = [line["loss"] for line in updates_of(lines)], "training loss"
    n = len(values) // 5
    if n < FEWEST:
        return "too short to tell if it is still improving"
    before, now = np.array(values[-2 * n : -n]), np.array(values[-n:])
    size = max(abs(before.mean()), 1e-12)
    fall = (before.mean() - now.mean()) / size
    error = math.sqrt((before.var(ddof=1) + now.var(ddof=1)) / n)
    noise = float(student.ppf(0.975, n - 1)) * error / size
    if fall > noise:
        return f"still improving: the {name} fell by {fall:.1%} over the last fifth; a longer run should help"
    if fall < -noise:
        return f"getting worse: the {name} rose by {-fall:.1%} over the last fifth; try a shorter run or more data"
    if noise > SEEN:
        short = "too short to tell if it is still improving"
        return f"{short}: changes of the {name} below {noise:.0%} are within its noise"
    return f"no longer improving: the {name} changed by {abs(fall):.1%} over the last fifth, which is within its noise"


class EventLog:
    """TensorBoard events, written beside the log. After a crash, events later than `step` are purged."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def line(self, line: UpdateLine) -> None:
        """Writes the numbers of a line of the log."""
        for name in ("loss", "lr", "norm", "held_out", "images_per_second"):
            value = line.get(name)
            if value is not None:
                self.writer.add_scalar(name, value, line["step"])
        for kind in ("bands", "held_out_bands"):
            for k, value in enumerate(line.get(kind) or []):
                if value is not None:
                    self.writer.add_scalar(f"{kind}/{k + 1}", value, line["step"])

    def close(self) -> None:
        self.writer.close()
