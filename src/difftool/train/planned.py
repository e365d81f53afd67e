"""What a run would do, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..learning.config import chosen
from .recipe import Job, PictureConfig, classes_of
from .run import check

BYTES = 20
"""Of a parameter: weights, their average, gradients and the two moments of AdamW, in fp32."""


class Planned(NamedTuple):
    """A run that is checked."""

    folder: Path
    config: PictureConfig
    """Without train.images while minutes are not yet measured."""
    finished: bool
    """Whether nothing is left to do."""
    stands: bool
    """Whether it goes on with what stands in the folder."""
    held_out: int
    """Pictures that it is judged by."""
    skipped: tuple[str, ...]
    """Files that cannot be read."""
    parameters: int | None
    """Of its network; None where there are two, or nothing is left to do."""

    def summary(self) -> list[str]:
        """What would be done, in lines."""
        train, data = self.config["train"], self.config["train"]["data"]
        ((unit, value),) = train["length"].items()
        last = f"would {'go on in' if self.stands else 'write'} {self.folder}"
        if self.parameters is None:
            parts = f"an autoencoder, then a text encoder and a U-Net on {data['name']} ({data['pictures']:,})"
            return [f"would train {parts} for {value:g} {unit}", last]
        shape = "x".join(map(str, [*reversed(self.config["size"]), self.config["net"].get("channels")]))
        classes = f" in {classes_of(self.config['classes'])}" if self.config["classes"] else ""
        learned_from = f"{data['pictures']:,} pictures of {shape}: {data['name']}{classes}"
        recipe = f"{train['batch_size']} an update, lr {train['lr']:g}, target {self.config['target']}"
        mirrored = ", mirrored half of the time" if chosen(train, "flip", False) else ""
        return [
            f"would train {self.parameters:,} parameters on {learned_from}",
            *([f"and judge by {self.held_out:,} more, held out"] if self.held_out else []),
            f"for {value:g} {unit}, {recipe}, seed {train['seed']}{mirrored}",
            f"needs {self.parameters * BYTES / 1e6:.0f} MB for weights and optimiser, and what a batch takes",
            last,
        ]


def planned(job: Job, folder: Path, *, overwrite: bool = False) -> Planned:
    """What `run` would do. Raises DifftoolError as `check`."""
    from ..models import build_net

    config, finished = check(job, folder, overwrite)
    held_out = 0 if job.pictures.held_out is None else len(job.pictures.held_out.pixels)
    stands = not overwrite and (folder / "config.json").exists()
    parameters = None
    if not finished and "autoencoder" not in config:
        parameters = sum(p.numel() for p in build_net(config["net"]).parameters())
    return Planned(folder, config, finished, stands, held_out, job.pictures.skipped, parameters)
