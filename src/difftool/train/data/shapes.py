"""Captioned pictures of coloured shapes, as many as needed, each drawn from a seed."""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ...text2img.vocabulary import vocabulary

SIDE, FINE = 64, 4
"""Pixels along a side, and the factor of supersampling."""
CENTRES = {
    "in the middle": (0.5, 0.5),
    "at the left": (0.24, 0.5),
    "at the right": (0.76, 0.5),
    "at the top": (0.5, 0.24),
    "at the bottom": (0.5, 0.76),
}
"""The centre of each place, as shares of width and height."""
NEIGHBOURS = 0.3
"""Least distance of two objects, as a share of the picture."""


class Scene(NamedTuple):
    """The contents of a picture: (colour, shape, place or "") of one or two objects, and the colour of the ground."""

    objects: tuple[tuple[str, str, str], ...]
    ground: str

    @property
    def caption(self) -> str:
        """ "a red circle at the left and an orange star on a blue ground"."""
        things = []
        for colour, shape, place in self.objects:
            thing = f"{_a(colour)} {shape}"
            things.append(f"{thing} {place}" if place else thing)
        return f"{' and '.join(things)} on {_a(self.ground)} ground"


def is_held_out(caption: str) -> bool:
    """Whether a caption is held out: one in eight, by its SHA-256."""
    return hashlib.sha256(caption.encode()).hexdigest()[0] in "01"


def scene(rng: np.random.Generator) -> Scene:
    """One or two objects, each with a place; three in ten single objects have none. No two colours are the same."""
    words = vocabulary()
    pair = rng.random() < 0.5
    colours = rng.permutation(list(words["colours"])).tolist()
    places = [""] if not pair and rng.random() < 0.3 else rng.permutation(words["places"]).tolist()
    while pair and math.dist(CENTRES[places[0]], CENTRES[places[1]]) < NEIGHBOURS:
        places = rng.permutation(words["places"]).tolist()
    shapes = rng.choice(words["shapes"], 2).tolist()
    return Scene(tuple(zip(colours[1:], shapes[: 1 + pair], places, strict=False)), colours[0])


def drawn(scene: Scene, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The picture (64, 64, 3) of a scene, antialiased; sizes, positions and small rotations vary."""
    colours, whole = vocabulary()["colours"], SIDE * FINE
    ground = tuple(colours[scene.ground])
    image = Image.new("RGB", (whole, whole), ground)
    draw = ImageDraw.Draw(image)
    single = len(scene.objects) == 1
    for colour, shape, place in scene.objects:
        low, high = (0.16, 0.25) if single else (0.12, 0.155)
        radius = rng.uniform(low, high)
        spread = 0.03 if place else 0.2
        usual = CENTRES[place or "in the middle"]
        moved = [c + rng.uniform(-spread, spread) for c in usual]
        centre = [min(max(c, radius + 0.02), 0.98 - radius) for c in moved]
        degrees = rng.uniform(-10, 10)
        _draw(draw, shape, tuple(colours[colour]), ground, centre, radius, degrees)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def _draw(
    draw: ImageDraw.ImageDraw,
    shape: str,
    colour: tuple[int, ...],
    ground: tuple[int, ...],
    centre: list[float],
    radius: float,
    degrees: float,
) -> None:
    whole = SIDE * FINE
    x, y = (c * whole for c in centre)
    r = radius * whole

    def disc(size: float, fill: tuple[int, ...]) -> None:
        box = x - size, y - size, x + size, y + size
        draw.ellipse(box, fill=fill)

    if shape in ("circle", "ring"):
        disc(r, colour)
        if shape == "ring":
            disc(HOLE * r, ground)
        return
    outline = [_turned(point, degrees) for point in OUTLINES[shape]]
    draw.polygon([(x + r * a, y + r * b) for a, b in outline], fill=colour)


def _polygon(corners: int, first: float, radii: tuple[float, ...] = (1.0,)) -> list[tuple[float, float]]:
    """Corners around the centre, the first at this angle in degrees (up is -90), at radii that repeat."""
    points = []
    for k in range(corners):
        angle = math.radians(first + 360 * k / corners)
        radius = radii[k % len(radii)]
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    return points


_ARM, HOLE = 0.34, 0.55
OUTLINES = {
    "square": _polygon(4, -45, (1.1,)),
    "triangle": _polygon(3, -90, (1.1,)),
    "star": _polygon(10, -90, (1.15, 0.46)),
    "cross": [
        (s * a, t * b)
        for s, t, corner in ((1, -1, 0), (1, 1, 1), (-1, 1, 0), (-1, -1, 1))
        for a, b in (((_ARM, 1), (_ARM, _ARM), (1, _ARM)) if not corner else ((1, _ARM), (_ARM, _ARM), (_ARM, 1)))
    ],
}
"""Corners in units of the radius, x to the right and y down."""


def _turned(point: tuple[float, float], degrees: float) -> tuple[float, float]:
    angle = math.radians(degrees)
    c, s = math.cos(angle), math.sin(angle)
    x, y = point
    return c * x - s * y, s * x + c * y


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def draw_set(count: int, *, held: bool, seed: int = 0) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], list[Scene]]:
    """`count` pictures (N, 64, 64, 3) and their scenes, with held-out captions only or without any. Picture k does not
    depend on the count."""
    pixels = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    scenes: list[Scene] = []
    number = 0
    while len(scenes) < count:
        rng = np.random.default_rng([seed, held, number])
        number += 1
        candidate = scene(rng)
        if is_held_out(candidate.caption) == held:
            pixels[len(scenes)] = drawn(candidate, rng)
            scenes.append(candidate)
    return pixels, scenes
