"""The classical methods for the probability flow, in a `chart`: a function from a level to the scale c that divides the
state, the coordinate k, and the derivatives by k of alpha / c and sigma / c.

A number w is c = alpha + w * sigma, k = sigma / c: k-diffusion's for 0, a flow's time for 1, which None takes for a run
from (almost) pure noise; `ipndm`, `euler_ge` and LMS that `ends_clean` take it for every run on a flow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .paths import Level, Path, require
from .predict import Predict
from .step import Draw, Levels, Start, State, Terms, begin, between, need, quadrature, scaled, split, step, weighted

if TYPE_CHECKING:
    from torch import Tensor

Chart: TypeAlias = Callable[[Level], tuple[float, float, float, float]]
Weights: TypeAlias = Sequence[Sequence[float]]


class Churn(NamedTuple):
    """Noise that is added before a step and removed by it (Karras et al. 2022, algorithm 2): `amount` in total over the
    run, where lo <= sigma / alpha <= hi, with standard deviation `noise`. Without a `path`, t does not change."""

    amount: float = 0.0
    lo: float = 0.0
    hi: float = math.inf
    noise: float = 1.0


def euler(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    chart: float | Chart | None = None,
    churn: Churn | None = None,
    eta: float = 0.0,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Euler's method: order 1, one call a step."""
    at = _chart(chart, levels)
    now, first, _ = begin(x)
    for i in range(first, len(levels) - 1):
        q = levels[i + 1]
        now, p = _churned(now, levels, i, churn, noise, path)
        x0, slope = _slope(predict, at, now, p)
        to, std = split(p, q, eta)
        now = _along(at, now, slope, p, to)
        if std:
            now.add_(need(noise, "noise")(i, 0), alpha=std)
        yield State(i + 1, q, now, x0)


def heun(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    chart: float | Chart | None = None,
    churn: Churn | None = None,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Heun's method: order 2, two calls a step (Karras et al. 2022, algorithm 1); the step to clean data has one."""
    at = _chart(chart, levels)
    now, first, _ = begin(x)
    for i in range(first, len(levels) - 1):
        q = levels[i + 1]
        now, p = _churned(now, levels, i, churn, noise, path)
        x0, slope = _slope(predict, at, now, p)
        if q.sigma:
            ahead = _along(at, now, slope, p, q)
            _, second = _slope(predict, at, ahead, q)
            slope = scaled([*slope, *second], 1 / 2)
        now = _along(at, now, slope, p, q)
        yield State(i + 1, q, now, x0)


def heunpp(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    chart: float | Chart | None = None,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Heun++ 2 as ComfyUI has it: slopes here and at the next two levels, those with the weights k_1 / (3 k_0) and
    k_2 / (3 k_0) of their coordinates, k_0 that of the start. The weights vanish as the run goes on, so the order is 1
    in spite of three calls a step; the step before the last has two (k_1 / (2 k_0)), the last one."""
    at = _chart(chart, levels, path)
    _, start, *_ = at(levels[0])
    now, first, _ = begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0, slope = _slope(predict, at, now, p)
        slopes = [slope]
        # the slopes at the next levels, as Euler's method gets there
        there, before = now, p
        ahead = [level for level in levels[i + 1 : i + 3] if level.sigma]
        for level in ahead:
            there = _along(at, there, slope, before, level)
            _, slope = _slope(predict, at, there, level)
            slopes.append(slope)
            before = level
        places = [at(level)[1] for level in ahead]
        shares = [place / (len(slopes) * start) for place in places]
        mixed = scaled(slopes[0], 1 - sum(shares))
        for later, share in zip(slopes[1:], shares, strict=True):
            mixed += scaled(later, share)
        now = _along(at, now, mixed, p, q)
        yield State(i + 1, q, now, x0)


def dpm2(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    chart: float | Chart | None = None,
    churn: Churn | None = None,
    eta: float = 0.0,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """The midpoint method: order 2, two calls a step, the second midway in log(sigma / alpha) (k-diffusion)."""
    at = _chart(chart, levels)
    now, first, _ = begin(x)
    for i in range(first, len(levels) - 1):
        q = levels[i + 1]
        now, p = _churned(now, levels, i, churn, noise, path)
        x0, slope = _slope(predict, at, now, p)
        to, std = split(p, q, eta)
        if to.sigma:
            mid = between(p, to, path)
            half = _along(at, now, slope, p, mid)
            _, slope = _slope(predict, at, half, mid)
        now = _along(at, now, slope, p, to)
        if std:
            now.add_(need(noise, "noise")(i, 0), alpha=std)
        yield State(i + 1, q, now, x0)


def lms(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    chart: float | Chart | None = None,
    ends_clean: bool = False,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Linear multistep: Adams-Bashforth for uneven steps, up to order 4, one call a step (k-diffusion). The step to
    clean data sums slopes too, or with `ends_clean` returns the estimate itself, better where estimates are exact."""
    at = _chart(chart, levels, path if ends_clean else None)
    now, first, past = begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0, slope = _slope(predict, at, now, p)
        past = (weighted(slope), *past)[:4]
        if ends_clean and not q.sigma:
            now = step(now, x0, p, q)
        else:
            # the places of the slopes, in steps of this one
            places = [at(levels[i - j])[1] for j in range(len(past))]
            length = at(q)[1] - places[0]
            nodes = [(place - places[0]) / length for place in places]
            weights = quadrature(nodes, [1, 1 / 2, 1 / 3, 1 / 4])
            now = _along(at, now, [*zip(past, weights, strict=True)], p, q)
        yield State(i + 1, q, now, x0, past[:3])


def pndm(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    chart: float | Chart | None = None,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Pseudo numerical methods: order 2; three Runge-Kutta steps of four calls, midway in the clock of a discrete path,
    then Adams-Bashforth for even steps, one call a step (Liu et al. 2022, arXiv:2202.09778)."""
    at = _chart(chart, levels)
    now, first, past = begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0, slope = _slope(predict, at, now, p)
        past = (weighted(slope), *past)[:4]
        if len(past) == 4:
            slope = [*zip(past, ADAMS_BASHFORTH[3], strict=True)]
        elif q.sigma:
            slope = _runge_kutta(predict, at, now, slope, p, q, path)
        now = _along(at, now, slope, p, q)
        yield State(i + 1, q, now, x0, past[:3])


def _runge_kutta(predict: Predict, at: Chart, x: Tensor, first: Terms, p: Level, q: Level, path: Path | None) -> Terms:
    """The slope of the classical method of order 4 from p to q, from the `first` at p."""

    def slope_at(slope: Terms, level: Level) -> Terms:
        there = _along(at, x, slope, p, level)
        _, here = _slope(predict, at, there, level)
        return here

    mid = between(p, q, path, clock=True)
    second = slope_at(first, mid)
    third = slope_at(second, mid)
    fourth = slope_at(third, q)
    middle = [*second, *third]
    return [*scaled(first, 1 / 6), *scaled(middle, 1 / 3), *scaled(fourth, 1 / 6)]


def ipndm(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    order: int = 4,
    chart: float | None = None,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Improved PNDM (Zhang & Chen 2022, arXiv:2204.13902): Adams-Bashforth with the weights of even steps, whatever the
    steps are, from order 1 at first up to `order`, one call a step; order 2 in the limit, as the steps are uneven."""
    require(order in (1, 2, 3, 4), f"order must be 1 to 4, not {order}")
    return _adams(predict, x, levels, ADAMS_BASHFORTH[:order], _chart(chart, levels, path))


def euler_ge(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    gamma: float = 2.0,
    chart: float | None = None,
    plus: bool = False,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Euler's method with gradient estimation (Permenter & Yuan 2023, arXiv:2306.04848): along ``gamma`` times the
    slope here and 1 - gamma times the one before; order 1, one call a step. gamma = 1 is `euler`, 1.5 `ipndm` of order
    2. `plus` is CFG++: the slopes are those of the unconditional estimate, and alpha_q (x0 - free) more."""
    return _adams(predict, x, levels, ((1.0,), (gamma, 1 - gamma)), _chart(chart, levels, path), plus=plus)


def _adams(
    predict: Predict, x: Start, levels: Levels, weights: Weights, at: Chart, *, plus: bool = False
) -> Iterator[State]:
    """Steps along the sum of the last slopes with `weights[known - 1]`; the step to clean data returns its estimate. In
    a chart of a number the slope is (x - c x0) / sigma, and the past is kept before that division."""
    now, first, past = begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0, _, free = predict(now, p)
        if free is None or not plus:
            free = x0
        scale_p, k_p, *_ = at(p)
        past = (now.sub(free, alpha=scale_p), *past)[: len(weights)]
        if q.sigma:
            scale_q, k_q, *_ = at(q)
            move = scale_q * (k_q - k_p)
            rule = weights[len(past) - 1]
            shares = [weight / levels[i - j].sigma for j, weight in enumerate(rule)]
            moved = scaled(zip(past, shares, strict=True), move)
            now = weighted([(now, scale_q / scale_p), *moved])
            if free is not x0:
                now.add_(x0 - free, alpha=q.alpha)
        else:
            now = step(now, x0, p, q)
        yield State(i + 1, q, now, x0, past[: len(weights) - 1])


ADAMS_BASHFORTH: Weights = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the last one to four slopes, the newest first, for even steps."""


def _chart(chart: float | Chart | None, levels: Levels, path: Path | None = None) -> Chart:
    """The chart itself, from what the methods above take."""
    if callable(chart):
        return chart
    w = chart
    if w is None:
        start = levels[0]
        pure = start.alpha < 1e-3 * start.sigma
        natural = path.chart if path else 0.0
        w = 1.0 if pure else natural

    def at(level: Level) -> tuple[float, float, float, float]:
        scale = level.alpha + w * level.sigma
        return scale, level.sigma / scale, -w, 1.0

    return at


def _slope(predict: Predict, at: Chart, x: Tensor, p: Level) -> tuple[Tensor, Terms]:
    """The estimate x0 at p, and by it the derivative of the state by the coordinate of the chart, as a weighted sum of
    x and x0."""
    x0 = predict(x, p).x0
    _, _, data, fog = at(p)
    of_x = fog / p.sigma
    of_x0 = data - fog * p.alpha / p.sigma
    return x0, [(x, of_x), (x0, of_x0)]


def _along(at: Chart, x: Tensor, slope: Terms, p: Level, q: Level) -> Tensor:
    """The state at q where it goes on from x at p with this slope."""
    scale_p, k_p, *_ = at(p)
    scale_q, k_q, *_ = at(q)
    moved = [(tensor, weight * scale_q * (k_q - k_p)) for tensor, weight in slope]
    return weighted([(x, scale_q / scale_p), *moved])


def _churned(
    x: Tensor, levels: Levels, i: int, churn: Churn | None, noise: Draw, path: Path | None
) -> tuple[Tensor, Level]:
    """(state, level) from which step i begins: with the noise of `churn` added, where it acts."""
    p = levels[i]
    if not churn or not churn.amount or not p.alpha:
        return x, p
    if not churn.lo <= p.sigma / p.alpha <= churn.hi:
        return x, p
    lift = min(churn.amount / (len(levels) - 1), math.sqrt(2) - 1)
    up = p._replace(sigma=p.sigma * (1 + lift))
    if path:
        up = path.at(p.lam - math.log1p(lift))
    there = up.alpha * p.sigma / p.alpha
    added = math.sqrt(up.sigma**2 - there**2) * churn.noise
    fresh = need(noise, "noise")(i, 1)
    return (x * (up.alpha / p.alpha)).add_(fresh, alpha=added), up
