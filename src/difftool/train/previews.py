"""The previews of a run, and their place in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..learning.config import items_of
from ..learning.folder import Layout
from ..learning.metrics import nearest
from ..learning.runlog import EventLog, plot
from ..models import AVERAGES
from ..pictures.png import write_png
from ..pictures.sheets import image_grid
from .recipe import meanings, option_names

if TYPE_CHECKING:
    from ..learning.config import RunConfig
    from ..pictures import Pixels

SAMPLES, AUTOENCODER = "samples", "autoencoder"
PIPELINE = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
"""Folders of the parts of a pipeline, for runs that make one."""
STRIP = 10
"""Number of samples shown beside their nearest training picture."""
FIGURES = {
    "c2st": ("C2ST", "accuracy of a classifier that tells samples from real pictures; 1: always recognised"),
    "fd": ("FD of pixels", "distance of the distributions of pixels, in grey levels squared; lower is better"),
    "fd_features": ("FD of random features", "the same of features of a fixed random network"),
    "kid": ("KID of random features", "another distance of these features, times 1,000; real pictures are near 0"),
    "nearest": ("nearest training picture", "distance, relative to that of held-out pictures; far below 1: copies"),
    "exploded": ("exploded", "samples brighter than any real picture"),
    "legible": ("classified as their label", "share, by a classifier trained on real pictures"),
}
"""Label and explanation of each figure in the report of a run."""


FIGURES_OF_SOUNDS = {
    "fd": ("FD of bands", "distance of the distributions of the bands and their changes, in dB squared"),
    "nearest": ("nearest training window", "distance, relative to that of held-out windows; far below 1: copies"),
    "ceiling": ("ceiling", "dB that the inversion to sound changes held-out windows by; no model sounds better"),
    "ceiling_fd": ("FD of the ceiling", "of the same windows, before and after the inversion"),
}


def layout(config: RunConfig | None = None) -> Layout:
    """The folder of a run, by its config; by default, of one on pictures."""
    items = items_of(config or {})
    figures = ["c2st", "fd", "nearest", "exploded"] if items == "pictures" else [*FIGURES_OF_SOUNDS]
    return Layout(
        items=items,
        previews=SAMPLES,
        drawn="[0-9]" * 9 + "*.png",
        preview=grid_path,
        models=("model.safetensors", "model_index.json"),
        folders=(AVERAGES, AUTOENCODER, *PIPELINE),
        figures=figures,
        defaults=meanings(),
        options=option_names(items),
    )


def grid_path(folder: Path, images: int, kind: str = "") -> Path:
    """The grid drawn after `images` pictures; other kinds are raw and nearest."""
    suffix = f"-{kind}" if kind else ""
    return folder / SAMPLES / f"{images:09d}{suffix}.png"


def show(
    folder: Path,
    seen: int,
    step: int,
    sheets: Mapping[str, tuple[Pixels, Mapping[str, object] | None]],
    events: EventLog | None,
) -> None:
    """Writes the previews after `seen` pictures, sheets with their manifests by kind ("" is the main one), also for
    TensorBoard, and the loss curves so far."""
    grid_path(folder, seen).parent.mkdir(exist_ok=True)
    for kind, (picture, manifest) in sheets.items():
        write_png(grid_path(folder, seen, kind), picture, manifest)
        if events is not None:
            shown = picture if picture.shape[2] != 2 else picture[..., :1]
            tag = f"samples_{kind}" if kind else "samples"
            events.writer.add_image(tag, shown, step, dataformats="HWC")
            events.writer.flush()
    plot(folder)


def nearest_strip(drawn: Pixels, trained: Pixels) -> Pixels:
    """A row of samples, and below each the nearest training picture."""
    samples = drawn[:STRIP]
    _, rows = nearest(samples, trained)
    both = np.concatenate([samples, np.asarray(trained)[rows]])
    return image_grid(both, len(samples))
