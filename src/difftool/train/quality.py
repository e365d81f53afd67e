"""The figures of a model against the pictures that were held out of its training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..pixels.draw import Sampled
    from .data.pictures import Pictures
from ..learning.metrics import judge, legible

log = logging.getLogger(__name__)
JUDGED, JUDGE_SEED = 500, 1000
"""Pictures drawn to be judged, and the seed of the first: they share no noise with those shown on the way."""
COPIED = 0.5
"""A nearest ratio below which a run is said to draw its training pictures again."""
FEWEST = 50
"""Held-out pictures below which nothing is judged."""


def measure(drawn: Sampled, pictures: Pictures) -> dict[str, float]:
    """The figures of `judge` for what a model drew after these pictures, and with labels that of `legible`."""
    assert pictures.held_out is not None
    quality = judge(drawn.pixels, pictures.held_out.pixels, pictures.pixels, pictures.tones)._asdict()
    labels = [item.get("label") or "" for item in drawn.items]
    if pictures.labels is not None and all(label in pictures.classes for label in labels):
        meant = np.array([pictures.classes.index(label) for label in labels])
        quality["legible"] = legible(drawn.pixels, meant, pictures.pixels, pictures.labels)
    return quality


def judged(pictures: Pictures) -> bool:
    """Whether enough is held out to judge by."""
    return pictures.held_out is not None and len(pictures.held_out.pixels) >= FEWEST


def by_share(pictures: Pictures, known: Sequence[str], count: int) -> list[str] | None:
    """The classes of `count` pictures to be drawn, well mixed, in the shares that they have among `pictures`: figures
    compare with those. None where the `known` classes of the model in turn are that, or where the data do not say."""
    if pictures.labels is None or not known:
        return None
    classes, have = pictures.classes, np.bincount(pictures.labels, minlength=len(pictures.classes))
    if strange := [classes[k] for k in np.flatnonzero(have) if classes[k] not in known]:
        log.warning(f"the model knows no class {strange[0]!r}: its own are drawn in turn, and not by their share")
        return None
    each, rest = np.divmod(have * count, have.sum())
    each[np.argsort(-rest, kind="stable")[: count - each.sum()]] += 1
    in_turn = {name: len(range(k, count, len(known))) for k, name in enumerate(known)}
    if all(in_turn[name] == n for name, n in zip(classes, each, strict=True) if name in in_turn):
        return None
    places = np.concatenate([(np.arange(n) + 0.5) / n for n in each if n])
    return [classes[k] for k in np.repeat(np.arange(len(classes)), each)[np.argsort(places, kind="stable")]]
