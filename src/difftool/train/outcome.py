"""The result of a training run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from ..learning.folder import REPORT
from ..learning.runlog import PLOT, ClosingLine, final_loss, read_log
from ..models import typed
from .data.pictures import Pictures
from .data.sounds import Sounds
from .previews import grid_path
from .recipe import PictureConfig


class Trained(NamedTuple):
    """The result of a run."""

    folder: Path
    images: int
    """Pictures seen in all."""
    loss: float | None
    """Mean over the last tenth of the log; None if no update was finite."""
    grid: Path
    """The last grid of samples."""
    plot: Path
    """The loss curve."""
    report: Path
    """The HTML report."""
    quality: dict[str, float] | None
    """The figures of `judge` against held-out pictures; None if there are too few."""
    notes: tuple[str, ...]
    """Whether the loss still improves, and other findings."""
    skipped: tuple[str, ...]
    """Files that could not be read."""
    finished_before: bool
    """Whether nothing was left to do."""
    config: PictureConfig
    """The contents of config.json."""


def report(folder: Path, config: PictureConfig, data: Pictures | Sounds, *, finished_before: bool) -> Trained:
    """The result of the run in a folder, from its log."""
    lines = read_log(folder)
    unfinished: ClosingLine = {"finished": False, "quality": None, "notes": []}
    end = next((line for line in lines if "finished" in line), unfinished)
    return Trained(
        folder=folder,
        images=config["train"]["images"],
        loss=final_loss(lines),
        grid=grid_path(folder, config["train"]["images"]),
        plot=folder / PLOT,
        report=folder / REPORT,
        quality=end.get("quality"),
        notes=tuple(end["notes"]),
        skipped=data.skipped,
        finished_before=finished_before,
        config=config,
    )


def next_command(folder: Path, config: PictureConfig) -> str:
    """The command that generates from the model of a run."""
    if "autoencoder" not in config:
        return f"difftool sample {shlex.quote(typed(folder))}"
    from ..text2img.settings import BUNDLED

    return f"difftool txt2img PROMPT --model {shlex.quote(typed(folder, BUNDLED))}"


def more_command(folder: Path, data: str | Path | None) -> str:
    """The command that trains a finished run further, without the options that are repeated."""
    source = "" if data is None else f" {shlex.quote(str(data))}"
    return f"difftool train{source} --output-dir {shlex.quote(str(folder))} --more 10m"
