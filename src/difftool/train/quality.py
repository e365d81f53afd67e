"""The figures of a model, against held-out pictures."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..pixels.draw import Sampled
    from .data.pictures import Pictures
    from .data.sounds import Sounds
from ..learning.metrics import distances, legible, quality_of, scattered

log = logging.getLogger(__name__)
JUDGED, JUDGE_SEED = 500, 1000
"""Number of pictures drawn for evaluation, and the seed of the first: they share no noise with the previews."""
COPIED = 0.5
"""Ratio of nearest distances below which a run is reported to copy its training pictures."""
FEWEST = 50
"""Least number of held-out pictures for figures."""


def measure(drawn: Sampled, pictures: Pictures) -> dict[str, float]:
    """The figures of `judge` for samples of a model of these pictures, and with labels that of `legible`."""
    assert pictures.held_out is not None
    quality = quality_of(drawn.pixels, pictures.held_out.pixels, pictures.pixels, pictures.tones)._asdict()
    labels = [item.get("label") or "" for item in drawn.items]
    if pictures.labels is not None and all(label in pictures.classes for label in labels):
        meant = np.array([pictures.classes.index(label) for label in labels])
        quality["legible"] = legible(drawn.pixels, meant, pictures.pixels, pictures.labels)
    return quality


def of_real(pictures: Pictures) -> dict[str, float]:
    """The figures of `measure` for real pictures in place of samples: the distances of as many training pictures, and
    the known or measured value of held-out ones."""
    assert pictures.held_out is not None
    held, some = pictures.held_out, pictures.pixels[scattered(len(pictures.pixels), JUDGED)]
    fd, fd_features, kid = distances(some, held.pixels, pictures.tones)
    figures = {"c2st": 0.5, "fd": fd, "fd_features": fd_features, "kid": kid, "exploded": 0.0}
    if not pictures.points:  # most of which have a training point in the same place
        figures["nearest"] = 1.0
    if pictures.labels is not None and held.labels is not None:
        figures["legible"] = legible(held.pixels, held.labels, pictures.pixels, pictures.labels)
    return figures


def is_measurable(pictures: Pictures) -> bool:
    """Whether enough pictures are held out for figures."""
    return pictures.held_out is not None and len(pictures.held_out.pixels) >= FEWEST


def by_share(data: Pictures | Sounds, known: Sequence[str], count: int) -> list[str] | None:
    """The classes of `count` items to draw, well mixed, in the shares they have in `data`, with which the figures
    compare. None if drawing the `known` classes of the model in turn gives the same, or without labels."""
    if data.labels is None or not known:
        return None
    classes = data.classes
    have = np.bincount(data.labels, minlength=len(classes))
    unknown = [classes[k] for k in np.flatnonzero(have) if classes[k] not in known]
    if unknown:
        log.warning(f"the model has no class {unknown[0]!r}; drawing all its classes equally often")
        return None
    # the largest remainders are rounded up
    each, rest = np.divmod(have * count, have.sum())
    largest = np.argsort(-rest, kind="stable")
    each[largest[: count - each.sum()]] += 1
    in_turn = {name: len(range(k, count, len(known))) for k, name in enumerate(known)}
    drawn = zip(classes, each, strict=True)
    if all(in_turn[name] == n for name, n in drawn if name in in_turn):
        return None
    # each class spread evenly over the run
    places = np.concatenate([(np.arange(n) + 0.5) / n for n in each if n])
    mixed = np.argsort(places, kind="stable")
    numbers = np.repeat(np.arange(len(classes)), each)
    return [classes[k] for k in numbers[mixed]]
