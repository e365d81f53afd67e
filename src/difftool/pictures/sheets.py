"""Pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from . import Pixels


GAP = 2
GRID_PIXELS = 512


def to_pixels(x: Tensor) -> Pixels:
    """Pictures (N, C, H, W) with values in [-1, 1] as uint8 (N, H, W, C); what lies outside is cut off."""
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def grid(pixels: Pixels, columns: int | None = None) -> Pixels:
    """Pictures (N, H, W, C) side by side, row by row, each enlarged by the same whole factor until the grid is 512 px
    wide."""
    n, height, width, channels = pixels.shape
    columns = min(columns or math.ceil(math.sqrt(n)), n)
    rows = math.ceil(n / columns)
    factor = max(1, math.ceil((GRID_PIXELS - GAP * (columns - 1)) / (columns * width)))
    large = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor, width * factor
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 128, dtype=np.uint8)
    for k, picture in enumerate(large):
        top, left = (k // columns) * (height + GAP), (k % columns) * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def points(pixels: Pixels) -> bool:
    """Whether pictures (N, H, W, C) are points of the plane: one pixel of two values."""
    return pixels.shape[1:] == (1, 1, 2)


def sheet(pixels: Pixels, columns: int | None = None) -> Pixels:
    """Pictures as a `grid`, points in a scatter plot."""
    return plot_points(pixels) if points(pixels) else grid(pixels, columns)


def strip(columns: Sequence[Pixels]) -> Pixels:
    """A sheet with a column for each of these moments (N, H, W, C) and a row for each picture."""
    rows = np.stack(columns, axis=1)
    return grid(rows.reshape(-1, *rows.shape[2:]), len(columns))


def plot_points(points: Pixels) -> Pixels:
    """A scatter plot (H, W, 3) of points (N, 1, 1, 2) whose values 0 to 255 lie evenly over the picture, y upwards;
    where more points lie it is darker."""
    side = 2 * 256
    count = np.zeros((side, side), dtype=np.float32)
    x, y = points[:, 0, 0, 0].astype(int) * 2, (255 - points[:, 0, 0, 1].astype(int)) * 2
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        np.add.at(count, (y + a, x + b), 1.0)
    shade = np.where(count > 0, 0.35 + 0.65 * count / max(float(count.max()), 1.0), 0.0)[..., None]
    return (255 * (1 - shade) + np.array([31, 78, 160]) * shade).round().astype(np.uint8)
