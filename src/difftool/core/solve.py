"""Solvers: from noise to data along a grid of levels, as generators: ``for state in solver(predict, x, levels, ...)``.

They call nothing back. What they need of the past travels in the `State`, so a run goes on from any. `x` is a start at
levels[0], or a `State`; `noise(i, j)` gives unit noise of x's shape for stage j of step i, `path` levels between two of
the grid: ValueError where one of them is needed and missing. The step to clean data draws no noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .paths import Level, Path, require
from .predict import Predict

if TYPE_CHECKING:
    from torch import Tensor

Levels: TypeAlias = Sequence[Level]
Tensors: TypeAlias = "Sequence[Tensor]"
Terms: TypeAlias = "list[tuple[Tensor, float]]"
Start: TypeAlias = "Tensor | State"
Draw: TypeAlias = "Callable[[int, int], Tensor] | None"
Chart: TypeAlias = Callable[[Level], tuple[float, float, float, float]]
Weights: TypeAlias = Sequence[Sequence[float]]
Strength: TypeAlias = float | Callable[[Level], float]
Solver: TypeAlias = "Callable[..., Iterator[State]]"


class State(NamedTuple):
    """The state of a run after `i` steps: `x` at `level`, the estimate `x0` of the clean data used by the last step,
    and the `past` that a multistep method needs, newest first."""

    i: int
    level: Level
    x: Tensor
    x0: Tensor | None = None
    past: tuple[Tensor, ...] = ()


def first_order(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    eta: float = 0.0,
    variance: str = "small",
    renoise: bool = False,
    plus: bool = False,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """One call of the network a step: ``x <- r x + (alpha_q - alpha_p r) x0 + std z`` from p to q with r = s / sigma_p,
    s^2 = sigma_q^2 - std^2, std = eta sigma_q sqrt(1 - rho^2), rho = (alpha_p sigma_q) / (alpha_q sigma_p). eta = 0 is
    DDIM (Song et al. 2020, arXiv:2010.02502, eq. 12), which equals Euler's method in sigma / alpha and on a flow;
    eta = 1 is DDPM with the smaller variance and equals Euler ancestral. `variance` keeps that mean and multiplies std
    by (sigma_p / sigma_q)^f: f is 0 for small, 1 for large and the network's `Denoised.spread` for learned. `renoise`
    draws all noise anew, std = sigma_q (consistency models). `plus` is CFG++ (Chung et al. 2024, arXiv:2406.08070): the
    noise that stays is that of the unconditional estimate, alpha_p r free for alpha_p r x0, which equals a scale of
    guidance of s / (1 - rho) in this step; without `Denoised.free` it changes nothing."""
    powers = {"small": 0.0, "large": 1.0, "learned": None}
    require(variance in powers, f"unknown variance {variance!r}")
    now, first, _ = _begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0, spread, free = predict(now, p)
        if renoise:
            to, std = q._replace(sigma=0.0), q.sigma
        else:
            to, std = _split(p, q, eta)
        now = _step(now, x0, p, to)
        if plus and free is not None:
            now.add_(x0 - free, alpha=p.alpha * to.sigma / p.sigma)
        if std:
            power = powers[variance]
            if power is None:
                power = _need(spread, "a learned variance")
            fresh = _need(noise, "noise")(i, 0)
            now.add_(fresh * (p.sigma / q.sigma) ** power, alpha=std)
        yield State(i + 1, q, now, x0)


class Churn(NamedTuple):
    """Noise that is added before a step and removed by it (Karras et al. 2022, algorithm 2): `amount` in total over the
    run, where lo <= sigma / alpha <= hi, with standard deviation `noise`. Without a `path`, t does not change."""

    amount: float = 0.0
    lo: float = 0.0
    hi: float = math.inf
    noise: float = 1.0


# The methods from here to `pndm` are the classical ones for the probability flow, in a `chart`: a function from a level
# to the scale c that divides the state, the coordinate k, and the derivatives by k of alpha / c and sigma / c. A number
# w is c = alpha + w * sigma, k = sigma / c: k-diffusion's for 0, a flow's time for 1, which None takes for a run from
# (almost) pure noise. `eta` adds noise as in `first_order`.


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
    now, first, _ = _begin(x)
    for i in range(first, len(levels) - 1):
        q = levels[i + 1]
        now, p = _churned(now, levels, i, churn, noise, path)
        x0 = predict(now, p).x0
        to, std = _split(p, q, eta)
        now = _along(at, now, _slope(at, now, p, x0), p, to)
        if std:
            now.add_(_need(noise, "noise")(i, 0), alpha=std)
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
    now, first, _ = _begin(x)
    for i in range(first, len(levels) - 1):
        q = levels[i + 1]
        now, p = _churned(now, levels, i, churn, noise, path)
        x0 = predict(now, p).x0
        slope = _slope(at, now, p, x0)
        if q.sigma:
            ahead = _along(at, now, slope, p, q)
            second = _slope(at, ahead, q, predict(ahead, q).x0)
            slope = [(tensor, weight / 2) for tensor, weight in (*slope, *second)]
        now = _along(at, now, slope, p, q)
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
    now, first, _ = _begin(x)
    for i in range(first, len(levels) - 1):
        q = levels[i + 1]
        now, p = _churned(now, levels, i, churn, noise, path)
        x0 = predict(now, p).x0
        to, std = _split(p, q, eta)
        slope = _slope(at, now, p, x0)
        if to.sigma:
            mid = _between(p, to, path)
            half = _along(at, now, slope, p, mid)
            slope = _slope(at, half, mid, predict(half, mid).x0)
        now = _along(at, now, slope, p, to)
        if std:
            now.add_(_need(noise, "noise")(i, 0), alpha=std)
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
    clean data sums slopes too, or with `ends_clean` returns the estimate itself, which is better at few calls."""
    at = _chart(chart, levels, path if ends_clean else None)
    now, first, past = _begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        past = (_sum(_slope(at, now, p, x0)), *past)[:4]
        if ends_clean and not q.sigma:
            now = _step(now, x0, p, q)
        else:
            # the places of the slopes, in steps of this one
            places = [at(levels[i - j])[1] for j in range(len(past))]
            length = at(q)[1] - places[0]
            nodes = [(place - places[0]) / length for place in places]
            weights = _quadrature(nodes, [1, 1 / 2, 1 / 3, 1 / 4])
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
    now, first, past = _begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        slope = _slope(at, now, p, x0)
        past = (_sum(slope), *past)[:4]
        if len(past) == 4:
            slope = [*zip(past, ADAMS_BASHFORTH[3], strict=True)]
        elif q.sigma:
            slope = _runge_kutta(predict, at, now, slope, p, q, path)
        now = _along(at, now, slope, p, q)
        yield State(i + 1, q, now, x0, past[:3])


ADAMS_BASHFORTH: Weights = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
"""Weights of the last one to four slopes, the newest first, for even steps."""


def _runge_kutta(predict: Predict, at: Chart, x: Tensor, first: Terms, p: Level, q: Level, path: Path | None) -> Terms:
    """The slope of the classical method of order 4 from p to q, from the `first` at p."""

    def slope_at(slope: Terms, level: Level) -> Terms:
        there = _along(at, x, slope, p, level)
        return _slope(at, there, level, predict(there, level).x0)

    mid = _between(p, q, path, clock=True)
    second = slope_at(first, mid)
    third = slope_at(second, mid)
    fourth = slope_at(third, q)
    weighted = zip((first, second, third, fourth), (1 / 6, 1 / 3, 1 / 3, 1 / 6), strict=True)
    return [(tensor, part * weight) for slope, part in weighted for tensor, weight in slope]


def ipndm(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    order: int = 4,
    chart: float | Chart | None = None,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Improved PNDM (Zhang & Chen 2022, arXiv:2204.13902): Adams-Bashforth with the weights of even steps, whatever the
    steps are, from order 1 at first up to `order`, one call a step; order 2 in the limit, as the steps are uneven."""
    require(order in (1, 2, 3, 4), f"order must be 1 to 4, not {order}")
    return _weighted(predict, x, levels, ADAMS_BASHFORTH[:order], _chart(chart, levels, path))


def euler_ge(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    gamma: float = 2.0,
    chart: float | Chart | None = None,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Euler's method with gradient estimation (Permenter & Yuan 2023, arXiv:2306.04848): along ``gamma`` times the
    slope here and 1 - gamma times the one before; order 1, one call a step. gamma = 1 is `euler`, 1.5 `ipndm` of order
    2."""
    return _weighted(predict, x, levels, ((1.0,), (gamma, 1 - gamma)), _chart(chart, levels, path))


def _weighted(predict: Predict, x: Start, levels: Levels, weights: Weights, at: Chart) -> Iterator[State]:
    """Steps along the sum of the last slopes with `weights[known - 1]`; the step to clean data returns its estimate."""
    now, first, past = _begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        past = (_sum(_slope(at, now, p, x0)), *past)[: len(weights)]
        if q.sigma:
            slope = [*zip(past, weights[len(past) - 1], strict=True)]
            now = _along(at, now, slope, p, q)
        else:
            now = _step(now, x0, p, q)
        yield State(i + 1, q, now, x0, past[: len(weights) - 1])


def deis(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    order: int = 3,
    lower_end: bool = True,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """DEIS, one call a step (Zhang & Chen 2022, arXiv:2204.13902): integrates over sigma / alpha the noise estimate
    eps = (x - alpha x0) / sigma, as the polynomial in lam through its last values: diffusers' log-rho. The weights of
    the values at u = (lam - lam_p) / h have the moments A_0 = 1, A_m = m A_(m-1) / h - 1 / (e^h - 1). Order 1 is DDIM;
    where orders are lower is as in `multistep`."""
    now, first, past = _begin(x)
    orders = _orders(levels, order, lower_end and len(levels) - 1 < 15)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        eps = _sum([(now, 1 / p.sigma), (x0, -p.alpha / p.sigma)])
        past = (eps, *past)[:order]
        if orders[i] == 1:
            now = _step(now, x0, p, q)
        else:
            h = q.lam - p.lam
            moments = [1.0]
            for m in range(1, orders[i]):
                moments.append(m * moments[-1] / h - 1 / math.expm1(h))
            weights = _quadrature(_nodes(levels, i, orders[i]), moments)
            stretch = q.sigma - q.alpha * p.sigma / p.alpha
            noisy = [(eps, stretch * weight) for eps, weight in zip(past, weights, strict=False)]
            now = _sum([(now, q.alpha / p.alpha), *noisy])
        yield State(i + 1, q, now, x0, past[: order - 1])


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


def _slope(at: Chart, x: Tensor, p: Level, x0: Tensor) -> Terms:
    """The derivative of the state by the coordinate of the chart, at p, as a weighted sum of x and x0."""
    _, _, data, fog = at(p)
    return [(x, fog / p.sigma), (x0, data - fog * p.alpha / p.sigma)]


def _along(at: Chart, x: Tensor, slope: Terms, p: Level, q: Level) -> Tensor:
    """The state at q where it goes on from x at p with this slope."""
    scale_p, k_p, *_ = at(p)
    scale_q, k_q, *_ = at(q)
    moved = [(tensor, weight * scale_q * (k_q - k_p)) for tensor, weight in slope]
    return _sum([(x, scale_q / scale_p), *moved])


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
    up = path.at(p.lam - math.log1p(lift)) if path else p._replace(sigma=p.sigma * (1 + lift))
    there = up.alpha * p.sigma / p.alpha
    added = math.sqrt(up.sigma**2 - there**2) * churn.noise
    fresh = _need(noise, "noise")(i, 1)
    return (x * (up.alpha / p.alpha)).add_(fresh, alpha=added), up


def multistep(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    order: int = 2,
    sde: float = 0.0,
    kind: str = "midpoint",
    lower_end: bool = True,
    corrects: bool = False,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """DPM-Solver++ with one call a step (Lu et al. 2022, arXiv:2211.01095): 2M, 3M and, with `sde` = 1, their SDEs. It
    integrates over ``lam = log(alpha / sigma)`` an estimate that bends as the earlier ones say, and draws noise of
    variance (1 - e^(-2 sde h)) sigma_q^2 in a step of h. `kind` is the rule of order 2: midpoint or heun; the authors'
    rule of order 3 has order 2 too, with a smaller error. The order is 1 at first and on the step to clean data; with
    `lower_end` it falls towards the end of a run of fewer than 15 steps, as in diffusers. `corrects` is for `unipc`."""
    require(kind in ("midpoint", "heun") and order in (1, 2, 3), f"there is no {kind!r} rule of order {order}")
    require(sde >= 0, f"sde must be at least 0, not {sde}")
    now, first, past = _begin(x)
    orders = _orders(levels, order, lower_end and (corrects or len(levels) - 1 < 15))
    rule, bend = "midpoint" if kind == "midpoint" else "exact", 1.0 if corrects else 0.5
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        if corrects and past:
            # the estimate here tells how the step before should have bent
            before, *outs = past[: 1 + orders[i - 1]]
            nodes = [*_nodes(levels, i - 1, len(outs)), 1.0]
            now = _exponential(before, (*outs, x0), nodes, levels[i - 1], p, rule)
        past = (now, x0, *past[1:order])
        to, std = _diffused(p, q, sde)
        nodes = _nodes(levels, i, orders[i])
        now = _exponential(now, past[1 : 1 + orders[i]], nodes, p, to, rule, bend)
        if std:
            now.add_(_need(noise, "noise")(i, 0), alpha=std)
        yield State(i + 1, q, now, x0, past)


def unipc(
    predict: Predict, x: Start, levels: Levels, *, order: int = 2, noise: Draw = None, path: Path | None = None
) -> Iterator[State]:
    """UniPC-p with B2(h) on x0, one call a step (Zhao et al. 2023, arXiv:2302.04867): `multistep`, where the estimate
    that a step begins with first corrects the step before. The order falls to 1 at the end of every run."""
    return multistep(predict, x, levels, order=order, corrects=True)


def _orders(levels: Levels, order: int, lowers: bool) -> list[int]:
    """The order of each step: no more than the estimates by then, of which one at an infinite lam tells of no bend; on
    the step to clean data 1, and with `lowers` nowhere more than the steps that are left."""
    n = len(levels) - 1
    known = levels[0].alpha > 0
    orders = []
    for i in range(n):
        last = lowers or not levels[i + 1].sigma
        left = n - i if last else order
        orders.append(min(order, left, max(i + known, 1)))
    return orders


def singlestep(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    eta: float = 0.0,
    noisy_midpoint: bool = False,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """DPM-Solver++(2S) with two calls a step, the second midway in lam (Lu et al. 2022), and the ancestral noise of
    k-diffusion; with `noisy_midpoint` it comes to the midpoint too (DPM++ SDE). The step to clean data has one call."""
    now, first, _ = _begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        to, std = _split(p, q, eta)
        target = q if noisy_midpoint else to
        if target.sigma:
            mid = _between(p, target, path)
            near, fog = _split(p, mid, eta) if noisy_midpoint else (mid, 0.0)
            half = _step(now, x0, p, near)
            if fog:
                half.add_(_need(noise, "noise")(i, 1), alpha=fog)
            x0 = predict(half, mid).x0
        now = _step(now, x0, p, to)
        if std:
            now.add_(_need(noise, "noise")(i, 0), alpha=std)
        yield State(i + 1, q, now, x0)


def seeds(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    points: Sequence[float] = (0.5,),
    phi: int = 2,
    sde: float = 0.0,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Exponential Runge-Kutta methods with a call at each level and at `points` inside the step, in shares of lam: to
    each, and then to q, leads `_exponential` with the first estimate and the newest. One point is RES 2S at 1/2 and
    exponential Heun at 1 (Zhang et al. 2023, arXiv:2308.02157), 1/3 and 2/3 are SEEDS-3 (Gonzalez et al. 2023,
    arXiv:2305.14267). `phi` = 1 takes the midpoint rule, which is DPM-Solver++(2S), or SEEDS-2 with noise.

    The noise of an SDE of strength `sde` is one Brownian path: what leads to a point is remembered behind it,
    n <- f n + sqrt(1 - f^2) z with f = e^(-sde dlam). The step to clean data has one call."""
    require(phi in (1, 2), f"phi must be 1 or 2, not {phi}")
    now, first, _ = _begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = newest = predict(now, p).x0
        there, before, walk = p, 0.0, None
        stops = (*points, 1.0) if q.sigma else (1.0,)
        for j, share in enumerate(stops, start=1):
            last, there = there, q if share == 1 else _between(p, q, path, share)
            to, std = _diffused(p, there, sde)
            outs, nodes = (newest,), (0.0,)
            if before and p.alpha:  # pure noise tells of no bend
                outs, nodes = (x0, newest), (0.0, before / share)
            ahead = _exponential(now, outs, nodes, p, to, "midpoint" if phi == 1 else "exact")
            if std and there is not last:
                f = math.exp(-sde * (there.lam - last.lam))
                fresh = _need(noise, "noise")(i, j % len(stops)) * math.sqrt(1 - f**2)
                walk = fresh if walk is None else fresh.add_(walk, alpha=f)
            if walk is not None:
                ahead.add_(walk, alpha=there.sigma)
            if j < len(stops):
                newest, before = predict(ahead, there).x0, share
        now = ahead
        yield State(i + 1, q, now, newest)


def sa_solver(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    order: int = 3,
    corrector: int = 4,
    sde: Strength = 1.0,
    simple: bool = False,
    pece: bool = False,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """SA-Solver, one call a step (Xue et al. 2023, arXiv:2309.05019): a predictor of `order` over the last estimates,
    and at the level it leads to a `corrector` of its order, which has the estimate there too and the same noise; that
    is, x + base (sum w' x0 - sum w x0). `sde` is tau^2, or a function of the level that a step leads to. Orders fall
    to 1 on the step before the last. `pece` takes the estimate at the corrected state, two calls a step."""
    now, first, past = _begin(x)
    n, known = len(levels) - 1, 1 if levels[0].alpha else 0
    strengths = [sde(level) if callable(sde) else sde for level in levels]
    rule = "simple" if simple else "exact"

    def predicted(i: int) -> int:
        """The order of the predictor of step i."""
        return max(min(order, i + known, n - 1 - i), 1)

    for i in range(first, n):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        if past and corrector and (pece or q.sigma):
            before = levels[i - 1]
            to, _ = _diffused(before, p, strengths[i])
            count = min(corrector, i + known, n - i)
            nodes = [1.0, *_nodes(levels, i - 1, count - 1)][:count]
            better = _estimated((x0, *past)[:count], nodes, before, to, rule)
            count = predicted(i - 1)
            used = _estimated(past[:count], _nodes(levels, i - 1, count), before, to, rule)
            now = _sum([(now, 1.0), *better, *((out, -weight) for out, weight in used)])
            if pece:
                x0 = predict(now, p).x0
        past = (x0, *past)
        to, std = _diffused(p, q, strengths[i + 1])
        count = predicted(i)
        now = _exponential(now, past[:count], _nodes(levels, i, count), p, to, rule)
        if std:
            now.add_(_need(noise, "noise")(i, 0), alpha=std)
        past = past[: max(order, corrector - 1)]
        yield State(i + 1, q, now, x0, past)


def er_sde(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    eta: float = 1.0,
    stages: int = 3,
    growth: Callable[[float], float] = lambda k: math.exp(min(k**0.3, 600.0)) + 10,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """ER-SDE-Solver, one call a step (Cui et al. 2023, arXiv:2309.06169): an SDE of its own that keeps the noise
    s = sigma_q (g(k_q) / g(k_p))^eta, k = sigma / alpha and g the `growth`, which is e^(k^0.3) + 10 (kept finite).
    eta = 0 is the ODE; g = k with one stage is DDIM there and Euler ancestral at eta = 1. The `stages` 2 and 3 add to
    `_step` the first and second divided difference of x0 over k, times alpha_q (dk + f_q S) and alpha_q (dk^2 / 2 +
    f_q U) with f = k g^eta, and S and U the integrals of 1 / f and (k - k_p) / f: as its authors' sums of 200 points."""
    now, first, past = _begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        past = (x0, *past)[:stages]
        rate_p, rate_q = (growth(_ratio(level)) for level in (p, q))
        to = q._replace(sigma=q.sigma * (rate_q / rate_p) ** eta)
        r = to.sigma / p.sigma
        terms = [(now, r), (x0, q.alpha - p.alpha * r)]
        if q.sigma and len(past) > 1:
            ks = [_ratio(levels[i - j]) for j in range(len(past))]
            terms += _bent(past, ks, q, _sums(growth, eta, ks[0], _ratio(q)))
        now = _sum(terms)
        if to.sigma != q.sigma:
            std = math.sqrt(q.sigma**2 - to.sigma**2)
            now.add_(_need(noise, "noise")(i, 0), alpha=std)
        yield State(i + 1, q, now, x0, past[: stages - 1])


def _sums(growth: Callable[[float], float], eta: float, k_p: float, k_q: float) -> tuple[float, float]:
    """f_q S and f_q U of `er_sde`; those of the ODE have a closed form."""
    if not eta:
        one = math.log(k_p / k_q)
        return k_q * one, k_q * (k_p - k_q - k_p * one)

    def f(k: float) -> float:
        return k * growth(k) ** eta

    width = (k_p - k_q) / 200
    points = [k_q + m * width for m in range(200)]
    shares = [f(k_q) / f(k) * width for k in points]
    return sum(shares), sum(share * (k - k_p) for share, k in zip(shares, points, strict=True))


def _bent(outs: Tensors, ks: Sequence[float], q: Level, sums: tuple[float, float]) -> Terms:
    """What the differences of the estimates, which stand at `ks`, add to a step of `er_sde`."""
    dk = _ratio(q) - ks[0]
    slope = _difference([(outs[0], 1.0)], [(outs[1], 1.0)], ks[0] - ks[1])
    terms = [(out, weight * q.alpha * (dk + sums[0])) for out, weight in slope]
    if len(outs) > 2:
        before = _difference([(outs[1], 1.0)], [(outs[2], 1.0)], ks[1] - ks[2])
        curve = _difference(slope, before, (ks[0] - ks[2]) / 2)
        terms += [(out, weight * q.alpha * (dk**2 / 2 + sums[1])) for out, weight in curve]
    return terms


def _difference(newer: Terms, older: Terms, length: float) -> Terms:
    return [(x, weight / length) for x, weight in newer] + [(x, -weight / length) for x, weight in older]


def _ratio(level: Level) -> float:
    return level.sigma / level.alpha if level.alpha else math.inf


def _begin(x: Start) -> tuple[Tensor, int, tuple[Tensor, ...]]:
    """(state, number of the first step, past) of a start."""
    if isinstance(x, State):
        return x.x, x.i, x.past
    return x, 0, ()


def _need(part: Any, name: str) -> Any:
    require(part is not None, f"this sampler needs {name}")
    return part


def _split(p: Level, q: Level, eta: float) -> tuple[Level, float]:
    """(the level to solve to, the standard deviation of the fresh noise that leads from there to q)."""
    if not eta:
        return q, 0.0
    require(eta > 0, f"eta must be at least 0, not {eta}")
    rho = p.alpha * q.sigma / (q.alpha * p.sigma)
    share = math.sqrt(max(1 - rho * rho, 0.0))
    std = min(eta * q.sigma * share, q.sigma)
    return q._replace(sigma=math.sqrt(q.sigma**2 - std**2)), std


def _diffused(p: Level, q: Level, sde: float) -> tuple[Level, float]:
    """The same for the SDE of this strength, which keeps the noise sigma_q e^(-sde h); no noise to clean data."""
    if not sde or not q.sigma:
        return q, 0.0
    to = q._replace(sigma=q.sigma * math.exp(-sde * (q.lam - p.lam)))
    return to, math.sqrt(q.sigma**2 - to.sigma**2)


def _step(x: Tensor, x0: Tensor, p: Level, q: Level) -> Tensor:
    """The exact solution from p to q if the estimate stayed `x0`, finite also for alpha_p = 0 and sigma_q = 0."""
    r = q.sigma / p.sigma
    return (x * r).add_(x0, alpha=q.alpha - p.alpha * r)


def _nodes(levels: Levels, i: int, count: int) -> list[float]:
    """Where the last `count` levels stand, the newest first, in steps of lam from levels[i] to levels[i + 1]."""
    p = levels[i]
    h = levels[i + 1].lam - p.lam
    return [0.0, *((levels[i - j].lam - p.lam) / h for j in range(1, count))]


def _exponential(
    x: Tensor, outs: Tensors, nodes: Sequence[float], p: Level, q: Level, rule: str = "exact", bend: float = 1.0
) -> Tensor:
    """The exact solution from p to q if the estimate is the polynomial in lam through `outs`, which stand at `nodes`,
    in steps from p: eq. 5 of UniPC."""
    return _sum([(x, q.sigma / p.sigma), *_estimated(outs, nodes, p, q, rule, bend)])


def _estimated(
    outs: Tensors, nodes: Sequence[float], p: Level, q: Level, rule: str = "exact", bend: float = 1.0
) -> Terms:
    """What the estimates add in `_exponential`."""
    base = q.alpha - p.alpha * (q.sigma / p.sigma)
    moments = _moments(len(outs), p, q, rule)
    moments[2:] = [bend * moment for moment in moments[2:]]
    weights = _quadrature(nodes, moments)
    return [(out, base * weight) for out, weight in zip(outs, weights, strict=True)]


def _moments(count: int, p: Level, q: Level, rule: str) -> list[float]:
    """The means of u^0, u^1, ... over the step, weighed by e^(H u): M_0 = 1, M_m = 1 / (1 - e^-H) - m M_(m-1) / H by
    parts, H = log(alpha_q sigma_p / (alpha_p sigma_q)), which is more than the step of lam for an SDE. Of two
    estimates the `rule` midpoint takes M_1 = 1/2, and simple H / 2 / (1 - e^-H)."""
    moments = [1.0]
    if count == 2 and rule == "midpoint":
        return [1.0, 0.5]
    if count > 1:
        r = q.sigma / p.sigma
        whole = q.alpha / (q.alpha - p.alpha * r)
        width = math.log(q.alpha / (p.alpha * r))
        for m in range(1, count):
            moments.append(whole - m * moments[-1] / width)
        if count == 2 and rule == "simple":
            return [1.0, whole * width / 2]
    return moments


def _quadrature(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Weights that integrate the polynomial through values at `nodes`, from the integrals of 1, t, t^2, ..."""
    weights = []
    for node in nodes:
        others = [other for other in nodes if other != node]
        # the polynomial that is 0 at the others, from its constant on
        poly = [1.0]
        for other in others:
            shifted, scaled = [0.0, *poly], [*poly, 0.0]
            poly = [a - other * b for a, b in zip(shifted, scaled, strict=True)]
        integral = sum(a * moment for a, moment in zip(poly, moments, strict=False))
        weights.append(integral / math.prod(node - other for other in others))
    return weights


def _sum(terms: Terms) -> Tensor:
    """The weighted sum; a tensor that comes twice is read once."""
    merged: dict[int, tuple[Tensor, float]] = {}
    for x, weight in terms:
        _, before = merged.get(id(x), (x, 0.0))
        merged[id(x)] = (x, before + weight)
    (x, weight), *rest = merged.values()
    out = x * weight
    for x, weight in rest:
        out.add_(x, alpha=weight)
    return out


def _between(p: Level, q: Level, path: Path | None, share: float = 0.5, clock: bool = False) -> Level:
    """The level at a `share` of the way in lam; with `clock`, or from pure noise on, in a discrete index or
    sigma / (alpha + sigma)."""
    chart: Path = _need(path, "a path")
    if p.alpha and not clock:
        return chart.at((1 - share) * p.lam + share * q.lam)
    if clock and chart.discrete:
        here, there = (chart.at(level.lam).t for level in (p, q))
        return chart.level((1 - share) * here + share * there)
    here, there = (level.sigma / (level.alpha + level.sigma) for level in (p, q))
    noise = (1 - share) * here + share * there
    return chart.at(math.log(1 / noise - 1))


class Sampler(NamedTuple):
    """A row of `SAMPLERS`: a solver with its keyword arguments, the name used by other tools, and the default number of
    steps (None: every level). `eta` or `sde` among the `defaults` is the strength of fresh noise."""

    solver: Solver
    defaults: dict[str, Any]
    title: str
    steps: int | None = 25


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler(first_order, {"eta": 1.0}, "DDPM", steps=None),
    "ddim": Sampler(first_order, {"eta": 0.0}, "DDIM"),
    "euler": Sampler(first_order, {"eta": 0.0}, "Euler"),
    "euler_a": Sampler(first_order, {"eta": 1.0}, "Euler a"),
    "euler_ge": Sampler(euler_ge, {"gamma": 2.0}, "Euler GE"),
    "euler_cfg_pp": Sampler(first_order, {"eta": 0.0, "plus": True}, "Euler CFG++"),
    "euler_a_cfg_pp": Sampler(first_order, {"eta": 1.0, "plus": True}, "Euler a CFG++"),
    "heun": Sampler(heun, {}, "Heun"),
    "dpm2": Sampler(dpm2, {}, "DPM2"),
    "dpm2_a": Sampler(dpm2, {"eta": 1.0}, "DPM2 a"),
    "lms": Sampler(lms, {}, "LMS"),
    "lms_x0": Sampler(lms, {"ends_clean": True}, "LMS x0"),
    "pndm": Sampler(pndm, {}, "PLMS"),
    "ipndm": Sampler(ipndm, {"order": 4}, "iPNDM"),
    "deis": Sampler(deis, {"order": 3}, "DEIS"),
    "dpmpp_2s_a": Sampler(singlestep, {"eta": 1.0}, "DPM++ 2S a"),
    "dpmpp_2m": Sampler(multistep, {"order": 2}, "DPM++ 2M"),
    "dpmpp_3m": Sampler(multistep, {"order": 3}, "DPM++ 3M"),
    "dpmpp_sde": Sampler(singlestep, {"eta": 1.0, "noisy_midpoint": True}, "DPM++ SDE"),
    "dpmpp_2m_sde": Sampler(multistep, {"order": 2, "sde": 1.0}, "DPM++ 2M SDE"),
    "dpmpp_3m_sde": Sampler(multistep, {"order": 3, "sde": 1.0, "kind": "heun", "lower_end": False}, "DPM++ 3M SDE"),
    "unipc": Sampler(unipc, {"order": 2}, "UniPC"),
    "res_multistep": Sampler(multistep, {"kind": "heun", "lower_end": False}, "RES multistep"),
    "res_multistep_a": Sampler(multistep, {"sde": 1.0, "kind": "heun", "lower_end": False}, "RES multistep a"),
    "res_2s": Sampler(seeds, {"points": (1 / 2,)}, "RES 2S"),
    "exp_heun": Sampler(seeds, {"points": (1.0,)}, "Exp Heun"),
    "exp_heun_sde": Sampler(seeds, {"points": (1.0,), "sde": 1.0}, "Exp Heun SDE"),
    "seeds_2": Sampler(seeds, {"points": (1 / 2,), "phi": 1, "sde": 1.0}, "SEEDS-2"),
    "seeds_3": Sampler(seeds, {"points": (1 / 3, 2 / 3), "sde": 1.0}, "SEEDS-3"),
    "sa_solver": Sampler(sa_solver, {"order": 3, "corrector": 4, "sde": 1.0}, "SA-Solver"),
    "sa_solver_pece": Sampler(sa_solver, {"order": 3, "corrector": 4, "sde": 1.0, "pece": True}, "SA-Solver PECE"),
    "er_sde": Sampler(er_sde, {"stages": 3, "eta": 1.0}, "ER SDE"),
    "lcm": Sampler(first_order, {"renoise": True}, "LCM", steps=4),
}
