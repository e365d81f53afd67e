from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftool.core import CLEAN, DiscreteVP, Flow, Karras, Level, betas, dynamic_shift
from difftool.core.paths import SWAYS

KINDS = ["linear", "scaled_linear", "cosine", "sigmoid"]


@pytest.mark.parametrize("kind", KINDS)
def test_discrete_path(kind: str) -> None:
    path = DiscreteVP(betas(kind, 1000))
    levels = [path.level(i) for i in range(1000)]
    assert [level.t for level in levels] == list(range(1000))
    assert all(a.lam > b.lam for a, b in itertools.pairwise(levels))
    assert all(math.isclose(level.alpha**2 + level.sigma**2, 1, abs_tol=1e-12) for level in levels)


@given(st.floats(0, 999), st.sampled_from(KINDS))
def test_between_two_indices(u: float, kind: str) -> None:
    """Log-linear in sigma / alpha, on the circle, and at() finds it again."""
    path = DiscreteVP(betas(kind, 1000))
    level, i = path.level(u), int(u)
    assert math.isclose(level.alpha**2 + level.sigma**2, 1, abs_tol=1e-12)
    if i < 999:
        expected = (1 - (u - i)) * path.level(i).lam + (u - i) * path.level(i + 1).lam
        assert level.lam == pytest.approx(expected, abs=1e-9)
    again = path.at(level.lam)
    assert again.t == pytest.approx(u, abs=1e-6)
    assert (again.alpha, again.sigma) == pytest.approx((level.alpha, level.sigma), abs=1e-12)


@given(st.floats(-400, 400))
def test_any_lam_has_a_level(lam: float) -> None:
    for path in (DiscreteVP(betas("cosine")), Flow(2.0)):
        level = path.at(lam)
        assert 0 <= level.alpha <= 1
        assert 0 <= level.sigma <= 1
        assert level.lam == pytest.approx(lam, rel=1e-9, abs=1e-9) or abs(lam) > 30
    assert 0 <= DiscreteVP(betas("cosine")).at(lam).t <= 999


@given(st.floats(0, 1), st.floats(0.1, 10), st.floats(*SWAYS))
def test_sway_is_a_bend_on_top_of_the_shift(u: float, shift: float, sway: float) -> None:
    t = Flow(shift).level(u).alpha
    level = Flow(shift, lambda s: 1 - s, sway).level(u)
    assert level.alpha == pytest.approx(t + sway * (math.cos(math.pi / 2 * t) - 1 + t), abs=1e-12)
    assert level.alpha + level.sigma == pytest.approx(1)
    assert level.t == pytest.approx(level.alpha, abs=1e-12)
    assert -1e-15 <= level.alpha <= 1 + 1e-15


def test_a_sway_by_which_time_would_run_back() -> None:
    for sway in (-1.01, 1.76):
        with pytest.raises(ValueError, match=r"sway must be from -1 to 1\.752"):
            Flow(sway=sway)
    assert Flow(sway=0.0).level(0.3) == Flow().level(0.3)


def test_infinite_lam() -> None:
    assert Flow().at(-math.inf) == Level(1.0, 0.0, 1.0)
    assert Flow().at(math.inf) == Level(0.0, 1.0, 0.0)
    assert CLEAN.lam == math.inf
    assert DiscreteVP(betas("linear")).at(math.inf)[1:] == (1.0, 0.0)


@given(st.floats(0, 1), st.floats(0.1, 10))
def test_flow(u: float, shift: float) -> None:
    level = Flow(shift, clock=lambda s: 1000 * s).level(u)
    assert level.alpha + level.sigma == pytest.approx(1)
    assert level.t == pytest.approx(1000 * level.sigma)
    # Esser et al. 2024, eq. 23: shifting multiplies sigma / alpha
    if 0 < u < 1:
        assert level.sigma / level.alpha == pytest.approx(shift * u / (1 - u), rel=1e-6)


def test_zero_terminal_snr_ends_in_pure_noise() -> None:
    path = DiscreteVP([*betas("scaled_linear")[:-1], 1.0])
    assert path.level(999) == Level(999.0, 0.0, 1.0)
    assert path.level(998.5).alpha == 0
    assert path.at(-50.0).t == 999
    assert path.at(path.level(600).lam).t == pytest.approx(600)


def test_zero_snr_keeps_the_first_level() -> None:
    """Algorithm 1 of Lin et al. 2023: sqrt(alpha_bar) is shifted and stretched."""
    plain = DiscreteVP(betas("scaled_linear"))
    path = plain.zero_snr()
    first, last = plain.level(0).alpha, plain.level(999).alpha
    assert path.level(999) == Level(999.0, 0.0, 1.0)
    for i in (0, 1, 400, 998):
        expected = (plain.level(i).alpha - last) * first / (first - last)
        assert path.level(i).alpha == pytest.approx(expected, rel=1e-9)


@given(st.floats(1e-3, 1e3))
def test_karras(sigma: float) -> None:
    level = Karras().level(sigma)
    assert level == Level(math.log(sigma) / 4, 1.0, sigma)
    assert Karras().at(level.lam).sigma == pytest.approx(sigma)
    assert Karras(clock=lambda s: 1000 * s).level(sigma).t == 1000 * sigma
    assert Karras().level(0.0) == Karras().at(math.inf) == CLEAN


def test_dynamic_shift() -> None:
    """FLUX.1 at 256x256 has 256 tokens and mu 0.5, at 1024x1024 4,096 and 1.15; its last of 28 levels is 0.1047."""
    assert dynamic_shift(256) == pytest.approx(math.exp(0.5))
    assert dynamic_shift(4096) == pytest.approx(math.exp(1.15))
    assert Flow(dynamic_shift(4096)).level(1 / 28).sigma == pytest.approx(0.1047, abs=5e-5)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: betas("cosin"), "unknown beta schedule"),
        (lambda: betas("linear", 0), "at least 1"),
        (lambda: betas("linear", 10, 0.0, 0.5), "between 0 and 1"),
        (lambda: betas("cosine", 10, 0.1), "no start"),
        (lambda: DiscreteVP([]), "non-empty"),
        (lambda: DiscreteVP([0.5]).zero_snr(), "two different levels"),
        (lambda: DiscreteVP([0.5, 1.5]), "between 0 and 1"),
        (lambda: DiscreteVP([0.1] * 10).level(10), "outside 0 to 9"),
        (lambda: betas("sigmoid", 10, None, 0.1), "no start"),
        (lambda: Flow(0.0), "above 0"),
        (lambda: Karras(0.0, 80), "lo must be above 0"),
        (lambda: Karras(80, 0.002), "lo must be above 0"),
        (lambda: Karras().level(-1.0), "below 0"),
        (lambda: Karras().level(math.nan), "below 0"),
        (lambda: Flow().level(1.01), "outside 0 to 1"),
    ],
)
def test_wrong_numbers(call: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()  # type: ignore[operator]
