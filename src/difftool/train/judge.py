"""How good drawn pictures are, measured against pictures that were never trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..image.pixels import Sampled
    from .data import Pictures


class Quality(NamedTuple):
    """Figures of drawn pictures against held-out real ones."""

    c2st: float
    """Accuracy of a classifier that tells drawn from real: 0.5 cannot, 1 always."""
    fd: float
    """Frechet distance of the pixels, in grey levels squared."""
    nearest: float
    """Median distance to the nearest training picture over the same for held-out ones: far below 1 is memorised."""
    exploded: int
    """Drawn pictures that are brighter than any real one: what is left of numbers that ran off."""


def judge(
    drawn: np.ndarray[Any, Any], held_out: np.ndarray[Any, Any], trained: np.ndarray[Any, Any], tones: int = 256
) -> Quality:
    """Compares uint8 pictures (N, H, W, C). All are first brought to the data's own `tones` grey levels, 0 .. tones -
    1: else a classifier wins by asking for fractions."""
    a, b, c = (np.round(p.reshape(len(p), -1) * ((tones - 1) / 255)) for p in (drawn, held_out, trained))
    exploded = int((a.sum(1) > max(b.sum(1).max(), c.sum(1).max())).sum())
    return Quality(c2st(a, b), frechet(a, b), float(np.median(_nearest(a, c)) / np.median(_nearest(b, c))), exploded)


def legible(
    drawn: np.ndarray[Any, Any],
    meant: np.ndarray[Any, Any],
    trained: np.ndarray[Any, Any],
    labels: np.ndarray[Any, Any],
) -> float:
    """Share of drawn pictures (N, H, W, C) that a support vector machine, which learned the labels of the real ones,
    reads as the label they were `meant` to have (N,)."""
    from sklearn.svm import SVC

    reader = SVC(C=10).fit(trained.reshape(len(trained), -1), labels)
    return float((reader.predict(drawn.reshape(len(drawn), -1)) == meant).mean())


def measure(drawn: Sampled, pictures: Pictures) -> dict[str, float]:
    """The figures of `judge` for what a model drew after these pictures, and with labels that of `legible`."""
    assert pictures.held_out is not None
    quality = judge(drawn.pixels, pictures.held_out, pictures.pixels, pictures.tones)._asdict()
    if pictures.labels is not None:
        meant = np.array([pictures.classes.index(item["label"]) for item in drawn.items])
        quality["legible"] = legible(drawn.pixels, meant, pictures.pixels, pictures.labels)
    return quality


def c2st(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv:1610.06545): 5-fold accuracy of gradient-boosted
    trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    x, y = np.concatenate([a, b]), np.repeat([1, 0], [len(a), len(b)])
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(cross_val_score(HistGradientBoostingClassifier(random_state=0), x, y, cv=folds).mean())


def frechet(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """Frechet distance of the Gaussians fitted to two sets of vectors (N, D) (Heusel et al. 2017, arXiv:1706.08500)."""
    one, two = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # the trace of (one @ two)^(1/2) from its eigenvalues, which are real and not negative
    root = np.sqrt(np.maximum(np.linalg.eigvals(one @ two).real, 0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one) + np.trace(two) - 2 * root)


def _nearest(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors(n_neighbors=1).fit(b).kneighbors(a)[0][:, 0]
