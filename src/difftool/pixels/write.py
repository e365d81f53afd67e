"""The files of `sample`: single pictures, their grid, and the trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..outputs import Places
from ..pictures.png import write_gif, write_png
from ..pictures.sheets import image_grid, points, sheet, strip
from .draw import Frame, Sampled, columns, evenly

FRAMES, COLUMNS, ROWS = 51, 11, 4
"""Trajectory: frames of the animation, columns of the strip, pictures in the strip."""


class Written(NamedTuple):
    """The pictures and their files."""

    drawn: Sampled
    places: Places
    """The files that were written."""
    outputs: list[Mapping[str, object]]
    """The path, index, seed, label and size of each picture; of a grid alone its path and first seed."""


def write(drawn: Sampled, places: Places) -> Written:
    """Writes the pictures, the trajectory if it has frames, and the grid; 2-D points are one plot."""
    outputs: list[Mapping[str, object]] = []
    if points(drawn.pixels):
        places = Places([], places.grid or places.singles[0], places.trajectory)
        outputs.append({"path": str(places.grid), **drawn.items[0]})
    elif not places.singles:
        outputs.append({"path": str(places.grid), "seed": drawn.items[0]["seed"]})
    else:
        for pixels, item, path in zip(drawn.pixels, drawn.items, places.singles, strict=True):
            write_png(path, pixels, {**drawn.manifest, "item": item})
            height, width, _ = pixels.shape
            outputs.append({"path": str(path), **item, "width": width, "height": height})
    if places.trajectory:
        strip_path, animation = places.trajectory
        write_png(strip_path, _strip(drawn), {**drawn.manifest, "command": "sample --trajectory"})
        frames = [sheet(frame.state, columns(drawn)) for frame in drawn.trajectory]
        write_gif(animation, frames, drawn.manifest)
    if places.grid is not None:
        write_png(places.grid, sheet(drawn.pixels, columns(drawn)), drawn.manifest)
    return Written(drawn, places, outputs)


def _strip(drawn: Sampled) -> np.ndarray:
    """Some frames side by side: plots of points, or pictures with each state above the network's estimate."""
    frames = [drawn.trajectory[k] for k in evenly(len(drawn.trajectory) - 1, COLUMNS)]
    if points(drawn.pixels):
        return image_grid(np.stack([sheet(frame.state) for frame in frames]), len(frames))
    return strip([_pairs(frame) for frame in frames])


def _pairs(frame: Frame) -> np.ndarray:
    """The first pictures of a frame, each followed by its estimate."""
    shown = range(min(ROWS, len(frame.state)))
    return np.stack([part[k] for k in shown for part in (frame.state, frame.estimate)])
