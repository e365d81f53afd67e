"""What a run shows of itself: a log, curves, events for TensorBoard, and whether it still improves."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import numpy as np

from ..errors import DifftoolError, Exit
from ..pictures.plots import plot_curves
from .tasks import BANDS

log = logging.getLogger(__name__)

LOG, PLOT = "log.jsonl", "loss.png"
FEWEST = 5
"""Values in a fifth of a run below which nothing is said of its course."""
SEEN = 0.05
"""A change of the loss that must stand out of its noise before a run is said to improve no longer."""

Numbers = list[float | None]


class UpdateLine(TypedDict):
    """A line of the log about some updates, of which the last is number `step`."""

    images: int
    """Items seen, pictures or not"""
    step: int
    loss: float
    bands: Numbers | None
    """The loss by noise, from little to much"""
    lr: float
    norm: float | None
    skipped: int
    images_per_second: NotRequired[float]
    held_out: NotRequired[float]
    held_out_bands: NotRequired[Numbers | None]


class ClosingLine(TypedDict):
    """The last line of the log of a run that is finished."""

    finished: bool
    quality: dict[str, float] | None
    notes: list[str]


Line = UpdateLine | ClosingLine


def append(folder: Path, line: Line) -> None:
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_log(folder: Path, figures: Collection[str] = ()) -> list[Line]:
    """The lines of the log; one that a crash cut off is left out. Raises DifftoolError 4 for one that no run writes,
    and where the quality of a finished run lacks one of these `figures`."""
    lines: list[Line] = []
    if (folder / LOG).exists():
        for k, text in enumerate((folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                log.debug("a line of %s was cut off: %s", folder / LOG, text)
                continue
            closing = isinstance(line, Mapping) and "finished" in line
            if not (_closing(line, figures) if closing else _on_the_way(line)):
                what = f"{folder / LOG} is damaged: line {k} is none that a run writes"
                hint = "put back a copy, or choose a new folder with --output-dir"
                raise DifftoolError(Exit.FILE, what, hint)
            lines.append(cast(Line, line))
    return lines


def updates_of(lines: Sequence[Line]) -> list[UpdateLine]:
    """The lines about updates."""
    return [line for line in lines if "loss" in line]


def _number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def _on_the_way(line: object) -> bool:
    """Whether this can be a line of the log about some updates."""
    if not isinstance(line, Mapping) or not all(_number(line.get(key)) for key in ("images", "step", "loss")):
        return False
    bands = [line.get(key) for key in ("bands", "held_out_bands")]
    several = [value for part in bands if isinstance(part, list) for value in part]
    single = [value for key, value in line.items() if key not in ("bands", "held_out_bands")]
    shaped = all(part is None or (isinstance(part, list) and len(part) == BANDS) for part in bands)
    return shaped and all(value is None or _number(value) for value in (*several, *single))


def _closing(line: Mapping[str, object], figures: Collection[str]) -> bool:
    """Whether this can be the last line of a log."""
    quality, notes = line.get("quality"), line.get("notes")
    known = quality is None or (
        isinstance(quality, Mapping) and set(figures) <= quality.keys() and all(map(_number, quality.values()))
    )
    return known and isinstance(notes, list) and all(isinstance(note, str) for note in notes)


def final_loss(lines: Sequence[Line]) -> float | None:
    """The mean over the last tenth of the log; None where no update was finite."""
    losses = [line["loss"] for line in updates_of(lines)]
    tail = losses[-max(len(losses) // 10, 1) :]
    return sum(tail) / len(tail) if tail else None


def plot(folder: Path) -> None:
    """The curves of a log as loss.png: training and held-out loss, and the loss by noise."""
    lines = updates_of(read_log(folder))
    held = [(line["images"], loss) for line in lines if (loss := line.get("held_out")) is not None]
    curves: dict[str, dict[str, tuple[list[float], list[float]]]] = {
        "loss": {"training": ([line["images"] for line in lines], [line["loss"] for line in lines])}
    }
    if held:
        curves["loss"]["held out"] = ([images for images, _ in held], [loss for _, loss in held])
    names = ("least noise", "less", "more", "most noise")
    banded = [(line["images"], bands) for line in lines if (bands := line.get("bands"))]
    if banded:
        curves["loss by noise"] = {}
        for k, name in enumerate(names):
            points = [(images, loss) for images, bands in banded if (loss := bands[k]) is not None]
            curves["loss by noise"][name] = ([images for images, _ in points], [loss for _, loss in points])
    plot_curves(folder / PLOT, curves, folder.name)


def improving(lines: Sequence[Line]) -> str:
    """Whether the run still gets better, in a line: the held-out loss (or else that of training) of the last fifth
    against the fifth before, with the 95 % interval of Student's t around the difference of their means. That none is
    seen says something only where the interval is narrow."""
    from scipy.stats import t as student

    values = [loss for line in updates_of(lines) if (loss := line.get("held_out")) is not None]
    what = "held-out loss"
    if len(values) < 5 * FEWEST:
        values, what = [line["loss"] for line in updates_of(lines)], "training loss"
    n = len(values) // 5
    if n < FEWEST:
        return "too short to say whether it still improves"
    before, now = (np.array(part) for part in (values[-2 * n : -n], values[-n:]))
    size = max(abs(before.mean()), 1e-12)
    fall = (before.mean() - now.mean()) / size
    noise = float(student.ppf(0.975, n - 1)) * math.sqrt((before.var(ddof=1) + now.var(ddof=1)) / n) / size
    if fall > noise:
        return f"still improving: the {what} fell by {fall:.1%} over the last fifth; a longer run would be better"
    if fall < -noise:
        return f"getting worse: the {what} rose by {-fall:.1%} over the last fifth; a shorter run, or more data"
    if noise > SEEN:
        return (
            f"too short to say whether it still improves: changes of the {what} below {noise:.0%} are lost in its noise"
        )
    return f"no longer improving: the {what} changed by {abs(fall):.1%} over the last fifth, which is within its noise"


class Board:
    """Events that TensorBoard shows, beside the log. After a crash what came later than `step` is taken back."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def line(self, line: UpdateLine) -> None:
        """The numbers of a line of the log."""
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
