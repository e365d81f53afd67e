"""Grids of spectrograms, with seconds and Hz at their axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.mels import MelFormat

if TYPE_CHECKING:
    from . import Pixels

COLUMNS = 4
"""Spectrograms side by side."""
SIDE, DPI = 2.4, 100
"""Inches of a spectrogram, and resolution."""
TICKS = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)
"""Frequencies marked at the axis, in Hz."""


def spectrogram_grid(
    mels: np.ndarray[Any, Any], own: MelFormat, titles: Sequence[str], columns: int = COLUMNS
) -> Pixels:
    """Mels (N, mels, T) in [-1, 1] as an RGB picture (H, W, 3), low frequencies at the bottom, a title above each."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, len(mels))
    rows = math.ceil(len(mels) / columns)
    seconds = mels.shape[2] * own.hop / own.rate
    centres = own.centres()
    marked = [hertz for hertz in TICKS if centres[0] <= hertz <= centres[-1]]
    places = np.interp(marked, centres, np.arange(own.mels) + 0.5)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(SIDE * columns + 0.6, SIDE * rows + 0.4), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        for k, (mel, title) in enumerate(zip(mels, titles, strict=True)):
            axes = figure.add_subplot(rows, columns, k + 1)
            axes.imshow(
                mel, cmap="magma", vmin=-1, vmax=1, origin="lower", aspect="auto", extent=(0, seconds, 0, own.mels)
            )
            axes.set_title(title, fontsize=9, parse_math=False)
            axes.set_yticks(places, [f"{hertz:,}" for hertz in marked] if k % columns == 0 else [])
            axes.tick_params(labelsize=7, labelbottom=k >= len(mels) - columns)
        figure.supxlabel("seconds", fontsize=8)
        figure.supylabel("Hz", fontsize=8)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
