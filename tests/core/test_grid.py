from __future__ import annotations

import itertools
import json
import math
import re
from functools import cache
from pathlib import Path as FilePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftool.core import CLEAN, SPACINGS, DiscreteVP, Flow, Karras, Path, betas, flux2_shift, grid

SD = DiscreteVP(betas("scaled_linear"))


@cache
def golden() -> dict:
    return json.loads((FilePath(__file__).parents[1] / "golden" / "samplers2.json").read_text())


@pytest.mark.parametrize(
    ("spacing", "n", "clocks"),
    [
        ("trailing", 10, [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]),
        ("trailing", 3, [999, 666, 332]),
        ("trailing", 16, [999, 937, 874, 811, 749, 687, 624, 561, 499, 437, 374, 311, 249, 187, 124, 61]),
        ("leading", 5, [800, 600, 400, 200, 0]),
        ("leading", 3, [666, 333, 0]),
        ("linspace", 5, [999, 749.25, 499.5, 249.75, 0]),
        ("linspace", 1, [999]),
        ("karras", 2, [999, 0]),
        ("karras", 1, [999]),
        ("openai", 4, [999, 666, 333, 0]),
        ("openai", 1, [0]),
        ("ddim", 3, [668, 334, 0]),
        ("sway", 4, [999, 922.87953, 706.10678, 381.68343]),
        ("epss", 5, [999, 936.5, 874, 749, 499]),
        ("normal", 5, [999, 749.25, 499.5, 249.75, 0]),
        ("simple", 3, [999, 666, 333]),
        ("simple", 1, [999]),
        ("sgm_uniform", 3, [999, 666, 333]),
        ("sgm_uniform", 4, [999, 749.25, 499.5, 249.75]),
        ("ddim_uniform", 4, [751, 501, 251, 1]),
        ("ddim_uniform", 1, [1]),
        ("smoothstep", 2, [999, 500]),
        ("beta66", 2, [999, 500]),
        ("beta57", 1, [999]),
    ],
)
def test_clocks(spacing: str, n: int, clocks: list[float]) -> None:
    """Table 2 of Lin et al. 2023 for the first three."""
    levels = grid(SD, n, spacing)
    assert [level.t for level in levels[:-1]] == pytest.approx(clocks)
    assert levels[-1] == CLEAN


def test_schedules_of_other_programs() -> None:
    """ComfyUI and stable-diffusion.cpp; their beta is beta66 here, and the shift of flux2 is one of the path."""
    worst, cases = 0.0, 0
    for case in golden()["grids"]:
        if "no_reference" in case and case["schedule"] != "beta":
            continue
        name, n = case["schedule"], case["n"]
        shift = float((re.search(r"shift (\d+)", case["path"]) or [0, "1"])[1])
        if name == "flux2":
            name, shift = "trailing", flux2_shift(case["tokens"], n)
        if name == "logit_normal":
            shift = math.sqrt(case["tokens"] / 1024)
        is_flow = case["path"].startswith("flow")
        levels = grid(Flow(shift) if is_flow else SD, n, "beta66" if name == "beta" else name)
        sigmas = [level.sigma if is_flow else level.sigma / level.alpha for level in levels]
        assert sigmas == pytest.approx(case["sigmas"], rel=0, abs=2e-5), case["id"]
        worst, cases = max(worst, *(abs(a - b) for a, b in zip(sigmas, case["sigmas"], strict=True))), cases + 1
    assert cases == 101
    assert worst < 1e-5


def test_tables_of_gits() -> None:
    """By coefficient and number of steps; without a row, log-linear in the longest."""
    for coefficient, rows in golden()["gits"].items():
        for row in rows:
            levels = grid(SD, len(row) - 1, "gits", rho=float(coefficient))[:-1]
            assert [level.sigma / level.alpha for level in levels] == pytest.approx(row[:-1], rel=1e-6)
    assert grid(SD, 8, "gits") == grid(SD, 8, "gits", rho=1.2)
    assert grid(SD, 1, "gits")[:-1] == [SD.level(999)]
    few, many = grid(SD, 20, "gits"), grid(SD, 40, "gits")
    assert [level.lam for level in many[2:-1:2]] == pytest.approx([level.lam for level in few[1:-1]], abs=1e-6)
    assert len(grid(SD, 16, "gits", rho=0.8)) == 17


def test_two_betas() -> None:
    """The same distribution in sigma / alpha and in numbers of levels."""
    from scipy.stats import beta

    for name, a, b in (("beta66", 0.6, 0.6), ("beta57", 0.5, 0.7)):
        for n in (1, 2, 9, 30, 100):
            numbers = [round(round(999 * beta.ppf(1 - i / n, a, b), 9)) for i in range(n)]
            assert [level.t for level in grid(SD, n, name)[:-1]] == [*dict.fromkeys(numbers)]
    beta, beta66 = grid(SD, 10, "beta"), grid(SD, 10, "beta66")
    assert [round(level.sigma / level.alpha, 1) for level in beta[:3]] == [14.6, 13.9, 12.5]
    assert [round(level.sigma / level.alpha, 1) for level in beta66[:3]] == [14.6, 11.5, 7.4]


def test_numbered_levels_of_a_karras_path() -> None:
    """Even in log sigma, as ComfyUI has them, from the first to the last level."""
    path = Karras()
    for name in ("simple", "sgm_uniform"):
        logs = [-level.lam for level in grid(path, 10, name)[:-1]]
        assert logs[0] == pytest.approx(math.log(80))
        steps = [a - b for a, b in itertools.pairwise(logs)]
        assert steps == pytest.approx([steps[0]] * 9, rel=2e-3)
    assert [level.lam for level in grid(path, 10, "normal")] == pytest.approx(
        [level.lam for level in grid(path, 10, "exponential")]
    )


def test_linspace_by_number() -> None:
    for path in (SD, SD.zero_snr(), Flow(3.0)):
        for n in (1, 2, 7, 25):
            pairs = zip(grid(path, n, "normal"), grid(path, n, "linspace"), strict=True)
            assert all(a.sigma == pytest.approx(b.sigma, abs=1e-12) for a, b in pairs)


def test_from_pure_noise() -> None:
    """Schedules by number begin there; those in sigma / alpha say that they cannot."""
    path = SD.zero_snr()
    for name in ("simple", "sgm_uniform", "normal", "beta66", "beta57", "smoothstep"):
        assert grid(path, 10, name)[0].alpha == 0
    for name in ("kl_optimal", "bong_tangent", "linear_quadratic"):
        with pytest.raises(ValueError, match="pure noise"):
            grid(path, 10, name)
    assert grid(path, 10, "logit_normal")[0].lam == grid(Flow(9.0), 10, "logit_normal")[0].lam == -9


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


STEPS = {"epss": [5, 6, 7, 10, 12, 16], "all": [1000], "ddim": [1, 2, 10, 25, 100, 1000]}
LATER = ("leading", "ddim", "ddim_uniform")
"""Spacings that begin below the noisiest level."""
DOUBLES = ("beta66", "beta57", "smoothstep")
"""Spacings that round to levels, so that many steps coincide."""


def has(path: Path, kind: str, spacing: str) -> bool:
    """Whether there is such a grid on this path."""
    if spacing.startswith("ays") or spacing == "gits":
        return kind == "scaled_linear" and spacing != "ays_svd"
    if spacing in ("openai", "ddim", "all"):
        return path.discrete
    return not (spacing in ("lu", "loglinear") and isinstance(path, Flow))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "cosine", "flow", "shifted", "karras"])
def test_noise_only_falls(spacing: str, kind: str) -> None:
    """Every rule that a path has visits n levels from the top (or a step below it) down, and ends clean."""
    path: Path = {"flow": Flow(), "shifted": Flow(3.0), "karras": Karras()}.get(kind) or DiscreteVP(betas(kind))
    for n in STEPS.get(spacing, [1, 2, 3, 10, 25, 333]) if has(path, kind, spacing) else []:
        levels = grid(path, n, spacing)
        count = len(levels) - 1
        assert count == (-(-999 // (1000 // n)) if spacing == "ddim_uniform" else n) or (spacing in DOUBLES and n > 25)
        assert levels[-1] == CLEAN
        assert all(a.lam < b.lam for a, b in itertools.pairwise(levels))
        if spacing not in LATER and not (spacing == "openai" and n == 1):
            top = path.level(path.hi)
            assert levels[0] == (path.at(-9) if spacing == "logit_normal" and top.lam < -9 else top)


@given(
    st.integers(1, 1000),
    st.sampled_from(["trailing", "leading", "linspace", "karras"]),
    st.sampled_from(["linear", "cosine", "flow"]),
)
def test_noise_only_falls_for_any_n(n: int, spacing: str, kind: str) -> None:
    path = Flow(3.0) if kind == "flow" else DiscreteVP(betas(kind))
    levels = grid(path, n, spacing)
    assert len(levels) == n + 1
    assert levels[-1] == CLEAN
    assert all(a.lam < b.lam for a, b in itertools.pairwise(levels))


def test_equal_steps_of_lam() -> None:
    for path in (SD, Karras(0.03, 15)):
        for spacing in ("lu", "loglinear"):
            lams = [level.lam for level in grid(path, 12, spacing)[:-1]]
            steps = [b - a for a, b in itertools.pairwise(lams)]
            assert steps == pytest.approx([steps[0]] * 11)
            assert lams[0] == path.level(path.hi).lam
            end = lams[-1] if spacing == "lu" else lams[-1] + steps[0]
            assert end == pytest.approx(path.level(path.lo).lam)
        for other in (grid(path, 12, "exponential"), grid(path, 12, "polyexponential", rho=1)):
            assert [p.lam for p in other[:-1]] == pytest.approx([p.lam for p in grid(path, 12, "lu")[:-1]])


def test_polyexponential_bends() -> None:
    logs = [-level.lam for level in grid(SD, 11, "polyexponential", rho=2)[:-1]]
    shares = [(log - logs[-1]) / (logs[0] - logs[-1]) for log in logs]
    assert shares == pytest.approx([(1 - i / 10) ** 2 for i in range(11)])


def test_beta_against_scipy() -> None:
    from scipy.stats import beta

    path = Karras(0.03, 15)
    quantiles = beta.ppf([1 - i / 19 for i in range(20)], 0.6, 0.6)
    expected = [0.03 + (15 - 0.03) * share for share in quantiles]
    assert [level.sigma for level in grid(path, 20, "beta")[:-1]] == pytest.approx(expected, rel=1e-10)


def test_align_your_steps_in_between() -> None:
    """Twice the steps visit the same levels and, log-linear, one between each two."""
    few, many = grid(SD, 10, "ays"), grid(SD, 20, "ays")
    assert [level.lam for level in many[2:-1:2]] == pytest.approx([level.lam for level in few[1:-1]], abs=1e-4)
    for before, middle, after in zip(many[2:-3:2], many[3:-2:2], many[4:-1:2], strict=True):
        assert middle.lam == pytest.approx((before.lam + after.lam) / 2, abs=1e-4)


def test_align_your_steps_for_video() -> None:
    sigmas = [level.sigma for level in grid(Karras(0.002, 700), 10, "ays_svd")]
    assert sigmas == pytest.approx([700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0])


@pytest.mark.parametrize("spacing", [spacing for spacing in SPACINGS if spacing != "ays_svd"])
def test_strength_is_a_noise_level(spacing: str) -> None:
    """A run from a share of the noise takes all its steps below it."""
    n = 600 if spacing == "all" else STEPS.get(spacing, [10])[0]
    levels = grid(SD, n, spacing, start=0.6)
    assert len(levels) == n + 1
    assert levels[-1] == CLEAN
    if spacing in LATER:
        assert levels[0].t <= 599
    else:
        assert levels[0] == SD.level(599)


def test_strength_on_a_flow() -> None:
    assert [level.sigma for level in grid(Flow(), 3, start=0.3)] == pytest.approx([0.3, 0.2, 0.1, 0])


def test_each_path_has_its_own_grid() -> None:
    for path, spacing in ((SD, "trailing"), (Flow(3.0), "trailing"), (Karras(), "karras")):
        assert grid(path, 10) == grid(path, 10, spacing)


def test_a_share_of_the_levels_is_a_whole_number() -> None:
    path = DiscreteVP(betas("linear", 100))
    assert len(grid(path, 57, "all", start=0.57)) == 58
    assert grid(path, 10, "openai", start=0.57)[0].t == 56


def test_a_run_of_no_step() -> None:
    with pytest.raises(ValueError, match="noisier than its end"):
        grid(SD, 10, start=0.05, end=SD.level(100))


def test_sections() -> None:
    assert [level.t for level in grid(SD, [2, 1, 3], "openai")[:-1]] == [999, 833, 667, 334, 333, 0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((SD, 0), "at least 1"),
        ((SD, -3), "at least 1"),
        ((SD, 1001), "1000 levels"),
        ((SD, 10, "trailling"), "unknown spacing"),
        ((DiscreteVP([*betas("linear")[:-1], 1.0]), 10, "karras"), "pure noise"),
        ((Flow(), 10, "lu"), "pure noise"),
        ((Flow(), 10, "openai"), "discrete path"),
        ((Flow(), 10, "ddim"), "discrete path"),
        ((Karras(), 10, "all"), "discrete path"),
        ((SD, 10, "all"), "all takes 1000 steps"),
        ((SD, 400, "ddim"), "no integer stride"),
        ((SD, 11, "epss"), "tables for 5, 6, 7, 10, 12, 16"),
        ((DiscreteVP(betas("cosine")), 10, "ays"), "Stable Diffusion"),
        ((SD, [10, 10], "karras"), "sections"),
        ((SD, [500, 501], "openai"), "1000 levels"),
        ((SD, [600, 10], "openai"), "section of 500"),
        ((SD, []), "at least 1"),
        ((DiscreteVP(betas("cosine")), 10, "gits"), "gits is defined only"),
        ((Flow(), 10, "gits"), "gits is defined only"),
    ],
)
def test_wrong_numbers(arguments: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        grid(*arguments)


def test_an_unknown_coefficient() -> None:
    with pytest.raises(ValueError, match=r"gits has tables for the coefficients 0\.80, .* 1\.50, not for 0\.7"):
        grid(SD, 10, "gits", rho=0.7)


@pytest.mark.parametrize("start", [0.0, -0.5, 1.5, float("nan")])
def test_wrong_strengths(start: float) -> None:
    with pytest.raises(ValueError, match="start must be above 0"):
        grid(SD, 10, start=start)
    with pytest.raises(ValueError, match="100 levels are too few"):
        grid(SD, 101, start=0.1)


def test_levels_that_differ_by_rounding_are_one() -> None:
    """Below the least noisy level all steps coincide, up to the last bits."""
    shares = [level.sigma for level in grid(Flow(30.0), 10, "kl_optimal", start=0.0004)]
    assert all(a > b for a, b in itertools.pairwise(shares))
