"""What a training run left."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ..learning.folder import REPORT
from ..learning.runlog import PLOT, final_loss, grid_path, read_log
from .data.pictures import Pictures


class Trained(NamedTuple):
    """What a run left."""

    folder: Path
    images: int
    """Pictures seen in all."""
    loss: float | None
    """Mean over the last tenth of the log; None where no update was finite."""
    grid: Path
    """The last pictures drawn."""
    plot: Path
    """The loss curve."""
    report: Path
    """A page with all of it."""
    quality: dict[str, float] | None
    """The figures of `judge` against held-out pictures; None where the data set holds too few back."""
    notes: tuple[str, ...]
    """Whether it still improves, and what is odd about it."""
    skipped: tuple[str, ...]
    """Files that could not be read."""
    finished_before: bool
    """Whether nothing was left to do."""


def report(folder: Path, config: dict[str, Any], pictures: Pictures, *, finished_before: bool) -> Trained:
    lines = read_log(folder)
    end = next((line for line in lines if line.get("finished")), {})
    return Trained(
        folder=folder,
        images=config["train"]["images"],
        loss=final_loss(lines),
        grid=grid_path(folder, config["train"]["images"]),
        plot=folder / PLOT,
        report=folder / REPORT,
        quality=end.get("quality"),
        notes=tuple(end.get("notes", ())),
        skipped=pictures.skipped,
        finished_before=finished_before,
    )
