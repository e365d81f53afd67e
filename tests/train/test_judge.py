"""The anchors of the digits: what the figures say of pictures whose quality is known."""

from __future__ import annotations

import numpy as np
import pytest

from difftool.train.data import digits
from difftool.train.judge import frechet, judge, legible


def test_frechet_of_two_gaussians() -> None:
    """Of N(m, a I) and N(0, b I) it is |m|^2 + d (sqrt(a) - sqrt(b))^2."""
    rng = np.random.default_rng(0)
    a = rng.normal(0, 2, (200_000, 5)) + 3
    b = rng.normal(0, 1, (200_000, 5))
    assert frechet(a, b) == pytest.approx(5 * 9 + 5 * 1, rel=0.01)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_anchors() -> None:
    """Real pictures: 0.5 and 32 and 0 (they are training pictures). Noise: 1 and above 2,000."""
    data = digits()
    assert data.held_out is not None
    rng = np.random.RandomState(1)
    real = judge(data.pixels[rng.permutation(1297)[:500]], data.held_out.pixels, data.pixels, data.tones)
    assert real.c2st == pytest.approx(0.5, abs=0.05)
    assert real.fd == pytest.approx(32, abs=2)
    assert real.nearest == 0
    assert abs(real.kid) < 0.05
    assert real.exploded == 0
    noise = judge(rng.randint(0, 256, (500, 8, 8, 1)).astype(np.uint8), data.held_out.pixels, data.pixels, data.tones)
    assert noise.c2st > 0.99
    assert noise.fd > 2000
    assert noise.fd_features > 50 * real.fd_features
    assert noise.kid > 100 * abs(real.kid)
    assert noise.nearest > 1.5
    assert noise.exploded > 450  # on the whole a third brighter than digits can be


def test_fractions_do_not_give_drawn_pictures_away() -> None:
    """A tree could tell 5.2 grey levels from 5; what is judged has whole ones."""
    data = digits()
    assert data.held_out is not None
    rng = np.random.RandomState(1)
    shaken = data.pixels[rng.permutation(1297)[:500]].astype(int) + rng.randint(-5, 6, (500, 8, 8, 1))
    found = judge(shaken.clip(0, 255).astype(np.uint8), data.held_out.pixels, data.pixels, data.tones)
    assert found.c2st == pytest.approx(0.5, abs=0.05)


def test_legible() -> None:
    data = digits()
    assert data.labels is not None
    half = len(data.pixels) // 2
    first, second = slice(None, half), slice(half, None)
    assert legible(data.pixels[second], data.labels[second], data.pixels[first], data.labels[first]) > 0.97
    wrong = (data.labels[second] + 1) % 10
    assert legible(data.pixels[second], wrong, data.pixels[first], data.labels[first]) < 0.03
