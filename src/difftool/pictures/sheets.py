"""Grids, strips and scatter plots of pictures."""

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
HIGHEST = 16_384
"""Pixels of the height that no grid is enlarged beyond."""


def to_pixels(x: Tensor) -> Pixels:
    """Pictures (N, C, H, W) in [-1, 1] as uint8 (N, H, W, C); values outside are clipped."""
    x = (x.float().clamp(-1, 1) + 1) * 127.5
    x = x.round().byte()
    return x.permute(0, 2, 3, 1).cpu().numpy()


def image_grid(pixels: Pixels, columns: int | None = None) -> Pixels:
    """Pictures (N, H, W, C) in rows, enlarged by a whole factor until the grid is at least 512 px wide, unless it would
    be higher than HIGHEST."""
    n, height, width, channels = pixels.shape
    columns = min(columns or math.ceil(math.sqrt(n)), n)
    rows = math.ceil(n / columns)
    pixels_wanted = GRID_PIXELS - GAP * (columns - 1)
    factor = math.ceil(pixels_wanted / (columns * width))
    factor = max(1, min(factor, HIGHEST // (rows * height)))
    large = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    height, width = height * factor, width * factor
    sheet_height = rows * (height + GAP) - GAP
    sheet_width = columns * (width + GAP) - GAP
    sheet = np.full((sheet_height, sheet_width, channels), 128, dtype=np.uint8)
    for k, picture in enumerate(large):
        row, column = divmod(k, columns)
        top = row * (height + GAP)
        left = column * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def points(pixels: Pixels) -> bool:
    """Whether pictures (N, H, W, C) are 2-D points: one pixel with two values."""
    return pixels.shape[1:] == (1, 1, 2)


def sheet(pixels: Pixels, columns: int | None = None) -> Pixels:
    """Pictures as a `image_grid`, 2-D points as a scatter plot."""
    return plot_points(pixels) if points(pixels) else image_grid(pixels, columns)


def strip(columns: Sequence[Pixels]) -> Pixels:
    """A sheet with a column for each moment (N, H, W, C) and a row for each picture."""
    rows = np.stack(columns, axis=1)
    return image_grid(rows.reshape(-1, *rows.shape[2:]), len(columns))


def plot_points(points: Pixels) -> Pixels:
    """A scatter plot (H, W, 3) of points (N, 1, 1, 2) with values 0 to 255, y upwards; denser is darker."""
    side = 2 * 256
    count = np.zeros((side, side), dtype=np.float32)
    x = points[:, 0, 0, 0].astype(int) * 2
    y = (255 - points[:, 0, 0, 1].astype(int)) * 2
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):  # a point is 2x2 pixels
        np.add.at(count, (y + a, x + b), 1.0)
    most = max(float(count.max()), 1.0)
    shade = np.where(count > 0, 0.35 + 0.65 * count / most, 0.0)[..., None]
    blue = np.array([31, 78, 160])
    blended = 255 * (1 - shade) + blue * shade
    return blended.round().astype(np.uint8)
