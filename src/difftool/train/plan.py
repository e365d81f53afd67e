"""The plan of a run, for --dry-run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..learning.config import chosen, items_of, last_part
from .data.labels import classes_of
from .recipe import Job, PictureConfig
from .run import check

BYTES = 20
"""Bytes per parameter: weights, their average, gradients and the two moments of AdamW, in fp32."""


class TrainingPlan(NamedTuple):
    """A checked run."""

    folder: Path
    config: PictureConfig
    """Without train.images until a run of minutes has been measured."""
    finished: bool
    """Whether nothing is left to do."""
    stands: bool
    """Whether it resumes the run in the folder."""
    held_out: int
    """Number of held-out pictures or windows."""
    skipped: tuple[str, ...]
    """Files that cannot be read."""
    parameters: int | None
    """Of the network; None if there are two, or nothing is left to do."""

    def summary(self) -> list[str]:
        """The plan in lines of text."""
        train, data = self.config["train"], self.config["train"]["data"]
        given, before = last_part(train)
        ((unit, value),) = given.items()
        items = items_of(self.config)
        noun = items if unit == "images" else unit
        length = f"for {round(value, 3):,.12g} {'more ' if before else ''}{noun}"
        last = f"would {'resume' if self.stands else 'write'} {self.folder}"
        if before:
            last = f"would extend {self.folder} beyond {before:,} {items}"
        if self.parameters is None:
            parts = "a text encoder and a U-Net" if before else "an autoencoder, then a text encoder and a U-Net"
            return [f"would train {parts} on {data['name']} ({data['pictures']:,}) {length}", last]
        height, width = self.config["size"]
        shape = f"{width}x{height}x{self.config['net'].get('channels')}"
        if sound := self.config.get("sound"):
            shape = f"{sound['frames']} frames in {sound['format']}"
        source = f"{data['pictures']:,} {items} of {shape}: {data['name']}"
        if self.config["classes"]:
            source += f" in {classes_of(self.config['classes'])}"
        lines = [f"would train {self.parameters:,} parameters on {source}"]
        if self.held_out:
            lines.append(f"{self.held_out:,} more held out for evaluation")
        recipe = f"batch size {train['batch_size']}, lr {train['lr']:g}, target {self.config['target']}"
        mirrored = ", mirrored half of the time" if chosen(train, "flip", False) else ""
        lines.append(f"{length}, {recipe}, seed {train['seed']}{mirrored}")
        if "init_from" in train:
            lines.append(f"beginning with the weights of {train['init_from']['name']}")
        further = 4 * chosen(train, "keep_averages", False)  # another average of the weights
        megabytes = self.parameters * (BYTES + further) / 1e6
        lines.append(f"needs {megabytes:.0f} MB for weights and optimiser, plus the memory of a batch")
        return [*lines, last]


def plan_training(job: Job, folder: Path, *, overwrite: bool = False) -> TrainingPlan:
    """The plan of `run`. Raises DifftoolError as `check`."""
    from ..models import build_net

    config, finished = check(job, folder, overwrite)
    held_out = 0 if job.data.held_out is None else job.data.held_out.items
    stands = not overwrite and (folder / "config.json").exists()
    parameters = None
    if not finished and "autoencoder" not in config:
        parameters = sum(p.numel() for p in build_net(config["net"]).parameters())
    return TrainingPlan(folder, config, finished, stands, held_out, job.data.skipped, parameters)
