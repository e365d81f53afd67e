"""What is to be seen on a picture of shapes, by plain geometry: colours by distance, shapes by the best outline."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from difftool.text2img.vocabulary import vocabulary
from difftool.train.data.shapes import CENTRES, HOLE, OUTLINES, SIDE, Scene

COLOURS = {name: np.array(rgb, float) for name, rgb in vocabulary()["colours"].items()}
NAMES, PALETTE = list(COLOURS), np.stack([*COLOURS.values()])
LEAST = 24
"""Pixels of one colour that make an object, once the rim, where two colours mix, is taken off."""
FINER = 4
"""How many times finer outlines are drawn than the pixels."""
TURNS = (-10, -5, 0, 5, 10)
"""Degrees by which an outline may be turned."""
FITS = 0.65
"""Of an object and the best outline of its area: what both cover, at least, as a share of what either does."""
MIXED = 60
"""How far from a colour, or from a mixture of two, a pixel may be (RGB, 0 to 255)."""
NEAR = 0.1
"""How far from a place, as a share of the picture, the middle of an object is still at it."""


class Seen(NamedTuple):
    """An object: its shape ("none" where no outline fits), and (across, down) of its middle as shares of a side."""

    shape: str
    middle: tuple[float, float]

    @property
    def place(self) -> str | None:
        """The place whose centre is nearest; None where even that is far."""
        place, far = min(((name, math.dist(self.middle, at)) for name, at in CENTRES.items()), key=lambda one: one[1])
        return place if far <= NEAR else None


class Right(NamedTuple):
    """What of a caption a picture shows."""

    what: bool
    """Exactly these objects, each of its shape and colour, on this ground."""
    where: bool | None
    """All of them, with those that have a place at it; None where the caption names no place."""


def read(pixels: NDArray[np.uint8]) -> tuple[str, dict[str, Seen]]:
    """(colour of the ground, objects by their colour) of a picture (64, 64, 3); "none" for a ground of no colour. Of
    two objects of one colour the shape is "several"."""
    x = pixels.astype(float)
    labels = np.linalg.norm(x[:, :, None] - PALETTE, axis=-1).argmin(-1)
    rim = np.ones((SIDE, SIDE), bool)
    rim[1:-1, 1:-1] = False
    ground = int(np.bincount(labels[rim], minlength=len(NAMES)).argmax())
    seen = {}
    for colour, name in enumerate(NAMES):
        pieces, count = ndimage.label(ndimage.binary_erosion(labels == colour, np.ones((2, 2))), np.ones((3, 3)))
        sizes = ndimage.sum(pieces > 0, pieces, range(1, count + 1))
        objects = int((np.asarray(sizes) >= LEAST).sum())
        if colour != ground and objects:
            seen[name] = _object(x, PALETTE[ground], PALETTE[colour], labels == colour)
            seen[name] = seen[name]._replace(shape="several") if objects > 1 else seen[name]
    plain = np.linalg.norm(np.median(x[rim], axis=0) - PALETTE[ground]) < MIXED
    return NAMES[ground] if plain else "none", seen


def _object(x: NDArray[Any], ground: NDArray[Any], colour: NDArray[Any], labelled: NDArray[Any]) -> Seen:
    # the share of the colour in each pixel, which an antialiased rim has in parts
    way = colour - ground
    share = ((x - ground) @ way / (way @ way)).clip(0, 1)
    off = np.linalg.norm(x - ground - share[..., None] * way, axis=-1)
    share = np.where(ndimage.binary_dilation(labelled, np.ones((3, 3))) & (off < MIXED), share, 0.0)
    # only the largest piece: the rim of another object may be a mixture that looks like this colour
    pieces, count = ndimage.label(share > 0.25)
    if not count:
        return Seen("none", (0.0, 0.0))
    largest = 1 + np.argmax(ndimage.sum(share, pieces, range(1, count + 1)))
    share = np.where(ndimage.binary_dilation(pieces == largest, np.ones((3, 3))), share, 0.0)
    area, (down, across) = share.sum(), ndimage.center_of_mass(share)
    fits = {}
    for shape in vocabulary()["shapes"]:
        drawings = [_outline(shape, area, (down, across), degrees) for degrees in TURNS]
        fits[shape] = max(np.minimum(one, share).sum() / np.maximum(one, share).sum() for one in drawings)
    best = max(fits, key=lambda shape: fits[shape])
    return Seen(best if fits[best] >= FITS else "none", ((across + 0.5) / SIDE, (down + 0.5) / SIDE))


def _outline(shape: str, area: float, middle: tuple[float, ...], degrees: float) -> NDArray[Any]:
    """The share of each pixel that a shape covers, of an area in pixels, around a pixel (row, column)."""
    down, across = ((at + 0.5) * FINER for at in middle)
    radius = FINER * math.sqrt(area / AREAS[shape])
    image = Image.new("L", (SIDE * FINER,) * 2)
    draw = ImageDraw.Draw(image)
    if shape in OUTLINES:
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        corners = [(across + radius * (c * a - s * b), down + radius * (s * a + c * b)) for a, b in OUTLINES[shape]]
        draw.polygon(corners, fill=255)
    else:
        draw.ellipse((across - radius, down - radius, across + radius, down + radius), fill=255)
        if shape == "ring":
            hole = HOLE * radius
            draw.ellipse((across - hole, down - hole, across + hole, down + hole), fill=0)
    return np.asarray(image, float).reshape(SIDE, FINER, SIDE, FINER).mean((1, 3)) / 255


def _area(corners: list[tuple[float, float]]) -> float:
    """Of a polygon, by the shoelace formula."""
    return abs(sum(a * d - b * c for (a, b), (c, d) in zip(corners, corners[1:] + corners[:1], strict=True))) / 2


AREAS = {
    **{shape: _area(corners) for shape, corners in OUTLINES.items()},
    "circle": math.pi,
    "ring": math.pi * (1 - HOLE**2),
}
"""Of shapes of radius 1."""


def right(what: Scene, pixels: NDArray[np.uint8]) -> Right:
    """What of a scene a picture shows."""
    ground, seen = read(pixels)
    fine = ground == what.ground and {colour: one.shape for colour, one in seen.items()} == {
        colour: shape for colour, shape, _ in what.objects
    }
    placed = [(colour, place) for colour, _, place in what.objects if place]
    where = fine and all(seen[colour].place == place for colour, place in placed)
    return Right(fine, where if placed else None)
