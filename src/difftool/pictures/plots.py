"""Plots as PNGs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from . import Pixels
from .png import _as_json
from .sheets import image_grid


def plot_compared(
    path: Path, blocks: Sequence[tuple[str, Pixels]], title: str, manifest: Mapping[str, object] | None = None
) -> None:
    """Writes a PNG of blocks side by side, each a caption and pictures (rows, columns, H, W, C)."""
    across = min(len(blocks), 4)
    down = math.ceil(len(blocks) / across)
    rows, columns = blocks[0][1].shape[:2]
    metadata = {} if manifest is None else {"difftool": _as_json(manifest)}
    block_height = 3.0 * rows / columns + 0.6
    with _figure(path, 3.2 * across, block_height * down + 0.4, metadata) as figure:
        for place, (caption, pixels) in enumerate(blocks, 1):
            axes = figure.add_subplot(down, across, place)
            sheet = image_grid(pixels.reshape(-1, *pixels.shape[2:]), columns)
            if sheet.shape[2] == 1:
                sheet = sheet.squeeze(2)
            axes.imshow(sheet, cmap="gray", vmin=0, vmax=255)
            axes.set_title(caption, fontsize=9, parse_math=False)
            axes.set_axis_off()
        figure.suptitle(title, fontsize=10, parse_math=False)


Curve = tuple[Sequence[float], Sequence[float]]


def plot_curves(path: Path, panels: Mapping[str, Mapping[str, Curve]], title: str) -> None:
    """Writes a PNG of panels below each other, each with named curves of (pictures seen, value): the values in pale
    colour, their running mean on top."""
    from matplotlib.ticker import EngFormatter

    with _figure(path, 8, 3.6 * len(panels) + 0.6) as figure:
        for place, (name, curves) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(len(panels), 1, place)
            for k, (label, (x, y)) in enumerate(curves.items()):
                colour = f"C{k}"
                window = np.ones(max(len(y) // 20, 1))
                if len(y):
                    weights = np.convolve(np.ones(len(y)), window, "same")  # fewer at the ends
                    mean = np.convolve(y, window, "same") / weights
                    axes.plot(x, y, color=colour, linewidth=1, alpha=0.25)
                    axes.plot(x, mean, color=colour, label=label)
            if any(len(y) for _, y in curves.values()):
                axes.legend()
            axes.set(xlabel="pictures seen", ylabel=name)
            axes.xaxis.set_major_formatter(EngFormatter())
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
        figure.suptitle(title, parse_math=False)


@contextmanager
def _figure(path: Path, width: float, height: float, metadata: Mapping[str, str] | None = None) -> Iterator[Figure]:
    """A figure of this size in inches, written as PNG on exit; independent of the caller's matplotlib settings."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata=dict(metadata or {}))
