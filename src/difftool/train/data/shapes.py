"""Captioned pictures without end: shapes in colours at places, drawn from a number."""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ...text2img.vocabulary import vocabulary

SIDE, FINE = 64, 4
"""Pixels along a side, and how many times finer they are drawn before they are averaged."""
CENTRES = {
    "in the middle": (0.5, 0.5),
    "at the left": (0.24, 0.5),
    "at the right": (0.76, 0.5),
    "at the top": (0.5, 0.24),
    "at the bottom": (0.5, 0.76),
}
"""Where the places are, as shares of the picture, across and down."""
NEIGHBOURS = 0.3
"""Two objects are at least this far apart, as a share of the picture."""


class Scene(NamedTuple):
    """What is to be seen: (colour, shape, place or "") of one or two objects, and the colour of the ground."""

    objects: tuple[tuple[str, str, str], ...]
    ground: str

    @property
    def caption(self) -> str:
        """ "a red circle at the left and an orange star on a blue ground"."""
        things = [f"{_a(colour)} {shape}{place and f' {place}'}" for colour, shape, place in self.objects]
        return f"{' and '.join(things)} on {_a(self.ground)} ground"


def kept_back(caption: str) -> bool:
    """Whether a caption is never trained on: one of eight, by its SHA-256."""
    return hashlib.sha256(caption.encode()).hexdigest()[0] in "01"


def scene(rng: np.random.Generator) -> Scene:
    """One or two objects, each with a place or (three of ten, of one) without; no two things of one colour."""
    words = vocabulary()
    pair = rng.random() < 0.5
    colours = rng.permutation(list(words["colours"])).tolist()
    places = [""] if not pair and rng.random() < 0.3 else rng.permutation(words["places"]).tolist()
    while pair and math.dist(CENTRES[places[0]], CENTRES[places[1]]) < NEIGHBOURS:
        places = rng.permutation(words["places"]).tolist()
    shapes = rng.choice(words["shapes"], 2).tolist()
    return Scene(tuple(zip(colours[1:], shapes[: 1 + pair], places, strict=False)), colours[0])


def drawn(what: Scene, rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The picture (64, 64, 3) of a scene, antialiased; sizes, places and small rotations vary."""
    colours, whole = vocabulary()["colours"], SIDE * FINE
    image = Image.new("RGB", (whole, whole), tuple(colours[what.ground]))
    draw = ImageDraw.Draw(image)
    single = len(what.objects) == 1
    for colour, shape, place in what.objects:
        radius = rng.uniform(*((0.16, 0.25) if single else (0.12, 0.155)))
        spread = 0.03 if place else 0.2
        centre = [c + rng.uniform(-spread, spread) for c in CENTRES[place or "in the middle"]]
        centre = [min(max(c, radius + 0.02), 0.98 - radius) for c in centre]
        _draw(draw, shape, tuple(colours[colour]), tuple(colours[what.ground]), centre, radius, rng.uniform(-10, 10))
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

    def round_(size: float, fill: tuple[int, ...]) -> None:
        draw.ellipse((x - size, y - size, x + size, y + size), fill=fill)

    if shape in ("circle", "ring"):
        round_(r, colour)
        if shape == "ring":
            round_(HOLE * r, ground)
        return
    draw.polygon([(x + r * a, y + r * b) for a, b in (_turned(p, degrees) for p in OUTLINES[shape])], fill=colour)


def _polygon(corners: int, first: float, radii: tuple[float, ...] = (1.0,)) -> list[tuple[float, float]]:
    """Corners around the middle, the first at so many degrees (up is -90), at radii that repeat."""
    angles = [math.radians(first + 360 * k / corners) for k in range(corners)]
    return [(radii[k % len(radii)] * math.cos(a), radii[k % len(radii)] * math.sin(a)) for k, a in enumerate(angles)]


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
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return c * point[0] - s * point[1], s * point[0] + c * point[1]


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def draw_set(count: int, *, held: bool, seed: int = 0) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], list[Scene]]:
    """`count` pictures (N, 64, 64, 3) and what is on them; with `held` only of captions that are never trained on,
    without it of none such. Picture k is the same whatever the count."""
    pixels = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    scenes: list[Scene] = []
    number = 0
    while len(scenes) < count:
        rng = np.random.default_rng([seed, held, number])
        number += 1
        what = scene(rng)
        if kept_back(what.caption) == held:
            pixels[len(scenes)] = drawn(what, rng)
            scenes.append(what)
    return pixels, scenes
