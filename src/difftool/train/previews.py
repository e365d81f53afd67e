"""The pictures that a run shows of itself on the way, and where in its folder they stand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..learning.folder import Layout
from ..learning.metrics import nearest
from ..learning.runlog import Board, plot
from ..pictures.png import write_png
from ..pictures.sheets import grid
from .recipe import defaults

if TYPE_CHECKING:
    from ..pictures import Pixels

SAMPLES, AUTOENCODER = "samples", "autoencoder"
PIPELINE = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
"""Folders of the parts of a pipeline, where a run makes one."""
STRIP = 10
"""Drawn pictures whose nearest training picture is shown."""
FIGURES = {
    "c2st": ("C2ST", "0.5: as if real, 1: told apart"),
    "fd": ("FD of pixels", "grey levels squared"),
    "fd_features": ("FD of random features", ""),
    "kid": ("KID of random features", "times 1,000"),
    "nearest": ("nearest training picture", "1: as far as held-out ones, far below: copied"),
    "exploded": ("exploded", "brighter than any real one"),
    "legible": ("read as their label", "share"),
}
"""What the figures of a run are called in its report, and what they mean."""


def layout() -> Layout:
    """What a run of pictures leaves in its folder."""
    return Layout(
        items="pictures",
        previews=SAMPLES,
        drawn="[0-9]" * 9 + "*.png",
        preview=grid_path,
        models=("model.safetensors", "model_index.json"),
        folders=(AUTOENCODER, *PIPELINE),
        figures=("c2st", "fd", "nearest", "exploded"),
        defaults=defaults(),
    )


def grid_path(folder: Path, images: int, kind: str = "") -> Path:
    """Where the pictures stand that were drawn after `images` pictures; of another `kind`: raw, nearest."""
    return folder / SAMPLES / f"{images:09d}{kind and f'-{kind}'}.png"


def show(
    folder: Path,
    seen: int,
    step: int,
    sheets: Mapping[str, tuple[Pixels, Mapping[str, object] | None]],
    board: Board | None,
) -> None:
    """Writes what was drawn after `seen` pictures, sheets with their manifests by kind ("" is the main one), also for
    TensorBoard, and the curves so far."""
    grid_path(folder, seen).parent.mkdir(exist_ok=True)
    for kind, (picture, manifest) in sheets.items():
        write_png(grid_path(folder, seen, kind), picture, manifest)
        if board is not None:
            shown = picture if picture.shape[2] != 2 else picture[..., :1]
            board.writer.add_image(f"samples{kind and f'_{kind}'}", shown, step, dataformats="HWC")
            board.writer.flush()
    plot(folder)


def nearest_strip(drawn: Pixels, trained: Pixels) -> Pixels:
    """Some drawn pictures above, and below each the training picture that is nearest to it."""
    some = drawn[:STRIP]
    return grid(np.concatenate([some, np.asarray(trained)[nearest(some, trained)[1]]]), len(some))
