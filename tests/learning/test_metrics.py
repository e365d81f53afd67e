"""The anchors of the digits: what the figures say of pictures whose quality is known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from difftool.learning.metrics import c2st, frechet, legible, quality_of, scattered
from difftool.train.data.pictures import Pictures, digits
from difftool.train.previews import FIGURES
from difftool.train.quality import by_share, of_real


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
    real = quality_of(data.pixels[rng.permutation(1297)[:500]], data.held_out.pixels, data.pixels, data.tones)
    assert real.c2st == pytest.approx(0.5, abs=0.05)
    assert real.fd == pytest.approx(32, abs=2)
    assert real.nearest == 0
    assert abs(real.kid) < 0.05
    assert real.exploded == 0
    noise = quality_of(
        rng.randint(0, 256, (500, 8, 8, 1)).astype(np.uint8), data.held_out.pixels, data.pixels, data.tones
    )
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
    found = quality_of(shaken.clip(0, 255).astype(np.uint8), data.held_out.pixels, data.pixels, data.tones)
    assert found.c2st == pytest.approx(0.5, abs=0.05)


def test_legible() -> None:
    data = digits()
    assert data.labels is not None
    half = len(data.pixels) // 2
    first, second = slice(None, half), slice(half, None)
    assert legible(data.pixels[second], data.labels[second], data.pixels[first], data.labels[first]) > 0.97
    wrong = (data.labels[second] + 1) % 10
    assert legible(data.pixels[second], wrong, data.pixels[first], data.labels[first]) < 0.03


def set_of(*counts: int) -> Pictures:
    """Pictures in the order of their classes, a, b, ..., of which there are so many each."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return Pictures("", np.zeros((len(labels), 2, 2, 1), np.uint8), labels, [*"abcdefghij"[: len(counts)]])


@pytest.mark.parametrize(
    ("counts", "count", "drawn"),
    [
        ((90, 10), 50, {"a": 45, "b": 5}),
        ((70, 20, 10), 500, {"a": 350, "b": 100, "c": 50}),
        ((999, 1), 50, {"a": 50}),
        ((2, 0, 1), 40, {"a": 27, "c": 13}),  # more than there are, and a class that is not there
    ],
)
def test_classes_are_drawn_by_their_share(counts: tuple[int, ...], count: int, drawn: dict[str, int]) -> None:
    found = by_share(set_of(*counts), [*"abcdefghij"], count)
    assert found is not None
    assert Counter(found) == drawn
    half = Counter(found[: count // 2])  # wherever it is cut off, for who takes the first ones
    assert all(abs(half[name] - n / 2) <= 1 for name, n in drawn.items())


def test_the_digits_are_drawn_as_they_are_held_out() -> None:
    held = digits().held_out
    assert held is not None and held.labels is not None
    found = by_share(held, held.classes, 500)
    assert found is not None
    assert Counter(found) == Counter(held.classes[k] for k in held.labels)


@pytest.mark.parametrize(("counts", "count"), [((10, 10, 10), 40), ((10, 10), 7), ((101, 100, 99), 30)])
def test_with_equal_shares_nothing_changes(counts: tuple[int, ...], count: int) -> None:
    data = set_of(*counts)
    assert by_share(data, data.classes, count) is None
    assert by_share(data._replace(labels=None), data.classes, count) is None
    assert by_share(digits(), digits().classes, 40) is None  # the previews of the preset


def test_a_class_that_the_model_never_saw_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert by_share(set_of(90, 10), ["a"], 50) is None
    assert "'b'" in caplog.text


def test_a_few_stand_for_all_of_them() -> None:
    """Held-out pictures of a folder lie class by class: the first ones would be of one class."""
    labels = np.repeat([0, 1], 300)
    few = scattered(600, 100)
    assert len(set(few)) == 100 and abs(labels[few].mean() - 0.5) < 0.1
    assert np.array_equal(few, scattered(600, 100))
    assert np.array_equal(scattered(50, 100), np.arange(50))
    rng = np.random.default_rng(0)
    held = np.concatenate([rng.normal(0, 1, (300, 4)), rng.normal(8, 1, (300, 4))])
    drawn = np.concatenate([rng.normal(0, 1, (50, 4)), rng.normal(8, 1, (50, 4))])
    assert c2st(drawn, held) < 0.6  # three quarters against the first hundred


def test_the_figures_of_real_digits() -> None:
    """What samples are compared with: as many training digits against the held-out ones."""
    pictures = digits()
    real = of_real(pictures)
    assert real["fd"] == pytest.approx(32.07, abs=0.01)
    assert real["fd_features"] < 0.03
    assert abs(real["kid"]) < 0.2
    assert real["legible"] == pytest.approx(0.99)
    assert (real["c2st"], real["nearest"], real["exploded"]) == (0.5, 1.0, 0.0)
    assert real.keys() == FIGURES.keys()
    assert "legible" not in of_real(pictures._replace(labels=None))

    def dots(part: Pictures) -> Pictures:
        return part._replace(pixels=part.pixels[:, 3:4, 2:3].repeat(2, 3), labels=None, held_out=None)

    assert pictures.held_out is not None
    points = dots(pictures)._replace(held_out=dots(pictures.held_out))
    assert points.points
    assert "nearest" not in of_real(points)
