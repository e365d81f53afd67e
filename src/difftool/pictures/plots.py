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

    from ..core.paths import Level
    from . import Pixels
from .png import _as_json
from .sheets import sheet

WIDTH, DPI = 4.8, 200
"""Inches and resolution of a plot: where it is shown 400 pixels wide, its text is still 10 pixels high."""
SPECTRUM = "magma"
"""Colours of spectrograms."""
ACROSS = 2
"""Blocks side by side at this width."""
COLOURS = ("#1f6fb4", "#bf4f0b", "#6a4bb0", "#20798b", "#2d8449", "#877a00")
"""Colours of curves, with a contrast of at least 4 on white; in report.css too."""


def plot_compared(
    path: Path, blocks: Sequence[tuple[str, Pixels]], title: str, manifest: Mapping[str, object] | None = None
) -> None:
    """Writes a PNG of blocks side by side, each a caption and pictures (rows, columns, H, W, C)."""
    across = min(len(blocks), ACROSS)
    down = math.ceil(len(blocks) / across)
    rows, columns = blocks[0][1].shape[:2]
    metadata = {} if manifest is None else {"difftool": _as_json(manifest)}
    text = 0.2 * max(caption.count("\n") + 1 for caption, _ in blocks)
    block_height = WIDTH / across * rows / columns + text
    with _figure(path, block_height * down + 0.3, metadata) as figure:
        for place, (caption, pixels) in enumerate(blocks, 1):
            axes = figure.add_subplot(down, across, place)
            picture = sheet(pixels.reshape(-1, *pixels.shape[2:]), columns)
            if picture.shape[2] == 1:
                picture = picture.squeeze(2)
            elif picture.shape[2] == 2:  # grey with alpha
                picture = picture[..., [0, 0, 0, 1]]
            axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axes.set_title(caption, fontsize=10, parse_math=False)
            axes.set_axis_off()
        figure.suptitle(title, fontsize=10, parse_math=False)


def coloured(pixels: Pixels) -> Pixels:
    """Grey spectrograms (N, H, W, 1), the lowest band first, as pictures (N, H, W, 3) with that band at the bottom."""
    import matplotlib

    shades = matplotlib.colormaps[SPECTRUM](np.arange(256), bytes=True)[:, :3]
    return shades[pixels[:, ::-1, :, 0]]


def plot_spectrograms(
    path: Path,
    rows: Sequence[tuple[str, Pixels]],
    seconds: float,
    hertz: Sequence[float],
    manifest: Mapping[str, object],
) -> None:
    """Writes a PNG of spectrograms (H, W, 1), the lowest band first, side by side, each with a caption. `seconds`: from
    a frame to the next; `hertz`: the middle of each band."""
    across = min(len(rows), 2 * ACROSS)
    down = math.ceil(len(rows) / across)
    marks = [mark for mark in (300, 1000, 3000, 10_000) if hertz[0] <= mark <= hertz[-1]]
    with _figure(path, 1.35 * down + 0.5, {"difftool": _as_json(manifest)}) as figure:
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, (caption, pixels) in zip(panels, rows, strict=False):
            bands, frames = pixels.shape[:2]
            ends = (0, frames * seconds, -0.5, bands - 0.5)
            axes.imshow(pixels[..., 0], cmap=SPECTRUM, vmin=0, vmax=255, origin="lower", aspect="auto", extent=ends)
            title = caption.encode(errors="replace").decode()  # names of folders may be no UTF-8
            axes.set_title(title, fontsize=8, parse_math=False)
            axes.set_yticks(np.interp(marks, hertz, np.arange(bands)), [f"{mark:,}" for mark in marks])
            axes.tick_params(labelsize=7)
        for axes in panels[len(rows) :]:
            axes.set_axis_off()
        figure.supxlabel("seconds", fontsize=8)
        figure.supylabel("Hz", fontsize=8)


Curve = tuple[Sequence[float], Sequence[float]]
"""Pictures seen and a value each, in order."""


def running_mean(values: Sequence[float]) -> Sequence[float]:
    """The mean around each value, over a twentieth of them; over fewer at the ends."""
    if not len(values):
        return values
    window = np.ones(max(len(values) // 20, 1))
    weights = np.convolve(np.ones(len(values)), window, "same")
    return (np.convolve(values, window, "same") / weights).tolist()


def colours_of(panels: Mapping[str, Mapping[str, Curve]]) -> dict[str, int]:
    """A number for each label: the same label has the same colour in all panels, and no other label has it."""
    labels = dict.fromkeys(label for curves in panels.values() for label in curves)
    return {label: k % len(COLOURS) for k, label in enumerate(labels)}


def plot_curves(path: Path, panels: Mapping[str, Mapping[str, Curve]], title: str) -> None:
    """Writes a PNG of panels below each other, each with named curves: the values in pale colour, their running mean on
    top."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    colours = colours_of(panels)
    with _figure(path, 2.16 * len(panels) + 0.36) as figure:
        for place, (name, curves) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(len(panels), 1, place)
            for label, (x, y) in curves.items():
                colour = COLOURS[colours[label]]
                axes.plot(x, y, color=colour, linewidth=0.8, alpha=0.3)
                axes.plot(x, running_mean(y), color=colour, label=label)
            if any(len(y) for _, y in curves.values()):
                axes.legend()
            axes.set(xlabel="pictures seen", ylabel=name)
            axes.xaxis.set_major_formatter(EngFormatter())
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
        figure.suptitle(title, parse_math=False)


DASHES = ("solid", (0, (5, 2)), (0, (1, 1)), (0, (6, 2, 1, 2)))
"""Line styles, so that curves differ in more than their colour."""
MOST_SCHEDULES = math.lcm(len(COLOURS), len(DASHES))
"""Most schedules in one plot: as many as there are pairs of colour and line style."""


def plot_schedules(
    path: Path, schedules: Mapping[str, Sequence[Level]], title: str, manifest: Mapping[str, object]
) -> None:
    """Writes a PNG of alpha, sigma and SNR, below each other, over the steps of each schedule."""
    from matplotlib.ticker import MaxNLocator

    levels = [level for rows in schedules.values() for level in rows]
    wide = max(level.sigma for level in levels) > 2  # as on Karras paths
    panels = [("alpha", "linear"), ("sigma", "log" if wide else "linear"), ("SNR", "log")]
    legend = 0.22 * math.ceil(len(schedules) / 3)
    with _figure(path, 5.2 + legend, {"difftool": _as_json(manifest)}) as figure:
        stacked = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, (name, scale) in zip(stacked, panels, strict=True):
            for k, (label, rows) in enumerate(schedules.items()):
                points = [(i, _quantity(level, name)) for i, level in enumerate(rows)]
                drawn = [(i, value) for i, value in points if scale == "linear" or 0 < value < math.inf]
                colour, dashes = COLOURS[k % len(COLOURS)], DASHES[k % len(DASHES)]
                x, y = [i for i, _ in drawn], [value for _, value in drawn]
                axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.4, label=label)
            axes.set(ylabel=name, yscale=scale)
            axes.grid(alpha=0.3)
        stacked[-1].set_xlabel("steps taken; the last level is clean data")
        stacked[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        handles, labels = stacked[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9, handlelength=3)
        figure.suptitle(title, fontsize=10, parse_math=False)


def _quantity(level: Level, name: str) -> float:
    """alpha, sigma or the SNR of a level; without noise that is infinite."""
    if name == "SNR":
        return level.snr if level.sigma else math.inf
    return getattr(level, name)


@contextmanager
def _figure(path: Path, height: float, metadata: Mapping[str, str] | None = None) -> Iterator[Figure]:
    """A figure of this height in inches, written as PNG on exit; independent of the caller's matplotlib settings."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary, format="png", metadata=dict(metadata or {}))
