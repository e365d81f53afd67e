from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftool.core import CLEAN, SPACINGS, DiscreteVP, Flow, betas, grid

SD = DiscreteVP(betas("scaled_linear"))


@pytest.mark.parametrize(
    ("spacing", "n", "clocks"),
    [
        ("trailing", 10, [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]),
        ("trailing", 3, [999, 666, 332]),
        ("leading", 5, [800, 600, 400, 200, 0]),
        ("leading", 3, [666, 333, 0]),
        ("linspace", 5, [999, 749.25, 499.5, 249.75, 0]),
        ("linspace", 1, [999]),
        ("karras", 2, [999, 0]),
        ("karras", 1, [999]),
    ],
)
def test_clocks(spacing: str, n: int, clocks: list[float]) -> None:
    """Table 2 of Lin et al. 2023 for the first three."""
    levels = grid(SD, n, spacing)
    assert [level.t for level in levels[:-1]] == pytest.approx(clocks)
    assert levels[-1] == CLEAN


def test_leading_on_a_flow() -> None:
    assert [level.sigma for level in grid(Flow(), 4, "leading")] == pytest.approx([0.751, 0.501, 0.251, 0.001, 0])


def test_karras_is_even_in_the_seventh_root() -> None:
    for path, coordinate in ((SD, lambda p: p.sigma / p.alpha), (Flow(), lambda p: p.sigma)):
        roots = [coordinate(level) ** (1 / 7) for level in grid(path, 12, "karras")[:-1]]
        steps = [a - b for a, b in itertools.pairwise(roots)]
        assert steps == pytest.approx([steps[0]] * 11)
        assert roots[0] ** 7 == pytest.approx(coordinate(path.level(path.hi)))
        assert roots[-1] ** 7 == pytest.approx(coordinate(path.level(path.lo)))


def test_all_levels() -> None:
    assert [level.t for level in grid(SD, 1000)[:-1]] == list(range(999, -1, -1))


def test_a_step_of_no_length_is_left_out() -> None:
    levels = grid(SD, 5, "leading", end=SD.level(0))
    assert [level.t for level in levels] == [800, 600, 400, 200, 0]


@given(st.integers(1, 1000), st.sampled_from(SPACINGS), st.sampled_from(["linear", "cosine", "flow"]))
def test_noise_only_falls(n: int, spacing: str, kind: str) -> None:
    path = Flow(3.0) if kind == "flow" else DiscreteVP(betas(kind))
    levels = grid(path, n, spacing)
    assert len(levels) == n + 1
    assert levels[-1] == CLEAN
    assert all(a.lam < b.lam for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((SD, 0), "at least 1"),
        ((SD, -3), "at least 1"),
        ((SD, 1001), "1000 levels"),
        ((SD, 10, "trailling"), "unknown spacing"),
        ((DiscreteVP([*betas("linear")[:-1], 1.0]), 10, "karras"), "signal at its start"),
    ],
)
def test_wrong_numbers(arguments: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        grid(*arguments)
