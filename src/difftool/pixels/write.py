"""The files of pictures from models without words: singles, their grid, and the way there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..outputs import Places
from ..pictures.png import write_gif, write_png
from ..pictures.sheets import grid, points, sheet, strip
from .draw import Frame, Sampled, columns

FRAMES, COLUMNS, ROWS = 51, 11, 4
"""Of the way there: frames of the animation, columns of the strip, and pictures shown in it."""


class Written(NamedTuple):
    """What was drawn and written."""

    drawn: Sampled
    places: Places
    """The files that there are now."""
    outputs: list[Mapping[str, object]]
    """Of each picture its path, index, seed, label and size."""


def write(drawn: Sampled, places: Places) -> Written:
    """Writes pictures, the way there where frames of it were drawn, and the grid; of points of the plane there is one
    plot of all."""
    outputs: list[Mapping[str, object]] = []
    if points(drawn.pixels):
        places = Places([], places.grid or places.singles[0], places.way)
        outputs.append({"path": str(places.grid), **drawn.items[0]})
    else:
        for pixels, item, path in zip(drawn.pixels, drawn.items, places.singles, strict=True):
            write_png(path, pixels, {**drawn.manifest, "item": item})
            height, width, _ = pixels.shape
            outputs.append({"path": str(path), **item, "width": width, "height": height})
    if places.way:
        strip_path, animation = places.way
        write_png(strip_path, _strip(drawn), {**drawn.manifest, "command": "sample --trajectory"})
        write_gif(animation, [sheet(frame.state, columns(drawn)) for frame in drawn.way], drawn.manifest)
    if places.grid is not None:
        write_png(places.grid, sheet(drawn.pixels, columns(drawn)), drawn.manifest)
    return Written(drawn, places, outputs)


def _strip(drawn: Sampled) -> np.ndarray:
    """Some of the frames side by side: of points plots, of pictures each state above what the network sees in it."""
    last = len(drawn.way) - 1
    frames = [drawn.way[k] for k in sorted({round(k * last / (COLUMNS - 1)) for k in range(COLUMNS)})]
    if points(drawn.pixels):
        return grid(np.stack([sheet(frame.state) for frame in frames]), len(frames))
    return strip([_pairs(frame) for frame in frames])


def _pairs(frame: Frame) -> np.ndarray:
    """The first pictures of a frame, each followed by its estimate."""
    shown = range(min(ROWS, len(frame.state)))
    return np.stack([part[k] for k in shown for part in (frame.state, frame.estimate)])
