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
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """One call of the network a step: ``x <- r x + (alpha_q - alpha_p r) x0 + std z`` from p to q with r = s / sigma_p,
    s^2 = sigma_q^2 - std^2, std = eta sigma_q sqrt(1 - rho^2), rho = (alpha_p sigma_q) / (alpha_q sigma_p). eta = 0 is
    DDIM (Song et al. 2020, arXiv:2010.02502, eq. 12), which equals Euler's method in sigma / alpha and on a flow;
    eta = 1 is DDPM with the smaller variance and equals Euler ancestral. `variance` keeps that mean and multiplies std
    by (sigma_p / sigma_q)^f: f is 0 for small, 1 for large and the network's `Denoised.spread` for learned. `renoise`
    draws all noise anew, std = sigma_q (consistency models)."""
    powers = {"small": 0.0, "large": 1.0, "learned": None}
    require(variance in powers, f"unknown variance {variance!r}")
    now, first, _ = _begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0, spread, _ = predict(now, p)
        if renoise:
            to, std = q._replace(sigma=0.0), q.sigma
        else:
            to, std = _split(p, q, eta)
        now = _step(now, x0, p, to)
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
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Linear multistep: Adams-Bashforth for uneven steps, up to order 4, one call a step (k-diffusion)."""
    at = _chart(chart, levels)
    now, first, past = _begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        past = (_sum(_slope(at, now, p, x0)), *past)[:4]
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
            slope = [*zip(past, ADAMS_BASHFORTH, strict=True)]
        elif q.sigma:
            slope = _runge_kutta(predict, at, now, slope, p, q, path)
        now = _along(at, now, slope, p, q)
        yield State(i + 1, q, now, x0, past[:3])


ADAMS_BASHFORTH = (55 / 24, -59 / 24, 37 / 24, -9 / 24)
"""Weights of the last four slopes, the newest first, for even steps."""


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


def _chart(chart: float | Chart | None, levels: Levels) -> Chart:
    """The chart itself, from what the methods above take."""
    if callable(chart):
        return chart
    w = chart
    if w is None:
        start = levels[0]
        w = 1.0 if start.alpha < 1e-3 * start.sigma else 0.0

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
    mean, bend = kind == "midpoint", 1.0 if corrects else 0.5
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        if corrects and past:
            # the estimate here tells how the step before should have bent
            before, *outs = past[: 1 + orders[i - 1]]
            now = _exponential(before, (*outs, x0), levels, i - 1, p, ahead=True)
        past = (now, x0, *past[1:order])
        to = q
        if sde and q.sigma:
            to = q._replace(sigma=q.sigma * math.exp(-sde * (q.lam - p.lam)))
        now = _exponential(now, past[1 : 1 + orders[i]], levels, i, to, mean=mean, bend=bend)
        if to.sigma != q.sigma:
            std = math.sqrt(q.sigma**2 - to.sigma**2)
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


def _step(x: Tensor, x0: Tensor, p: Level, q: Level) -> Tensor:
    """The exact solution from p to q if the estimate stayed `x0`, finite also for alpha_p = 0 and sigma_q = 0."""
    r = q.sigma / p.sigma
    return (x * r).add_(x0, alpha=q.alpha - p.alpha * r)


def _exponential(
    x: Tensor,
    outs: Tensors,
    levels: Levels,
    i: int,
    q: Level,
    ahead: bool = False,
    mean: bool = True,
    bend: float = 1.0,
) -> Tensor:
    """The exact solution from levels[i] to q if the estimate is the polynomial in lam through `outs`, which stand at
    levels[i], levels[i - 1], ... and, with `ahead`, the last at levels[i + 1]: eq. 5 of UniPC. Of two estimates
    `mean` takes the midpoint rule; `bend` weighs the second moment, which counts half in DPM-Solver++(3M)."""
    p = levels[i]
    h = levels[i + 1].lam - p.lam
    behind = [(levels[i - j].lam - p.lam) / h for j in range(1, len(outs) - ahead)]
    nodes = [0.0, *behind, *[1.0] * ahead]
    r = q.sigma / p.sigma
    base = q.alpha - p.alpha * r
    moments = [1.0, 0.5]
    if len(outs) > 2 or not mean:
        moments = [1.0]
        for j in range(1, len(outs)):  # alpha_q / base - j M_(j-1) / width, by parts; an SDE's step is wider than h
            width = math.log(q.alpha / (p.alpha * r))
            moments.append(q.alpha / base - j * moments[-1] / width)
        moments[2:] = [bend * moment for moment in moments[2:]]
    weights = _quadrature(nodes, moments)
    weighted = [(out, base * weight) for out, weight in zip(outs, weights, strict=True)]
    return _sum([(x, r), *weighted])


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


def _between(p: Level, q: Level, path: Path | None, clock: bool = False) -> Level:
    """The level midway in lam; with `clock`, or from pure noise on, in a discrete index or sigma / (alpha + sigma)."""
    chart: Path = _need(path, "a path")
    if p.alpha and not clock:
        return chart.at((p.lam + q.lam) / 2)
    if clock and chart.discrete:
        clocks = [chart.at(level.lam).t for level in (p, q)]
        return chart.level(sum(clocks) / 2)
    shares = [level.sigma / (level.alpha + level.sigma) for level in (p, q)]
    share = sum(shares) / 2
    return chart.at(math.log(1 / share - 1))


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
    "heun": Sampler(heun, {}, "Heun"),
    "dpm2": Sampler(dpm2, {}, "DPM2"),
    "dpm2_a": Sampler(dpm2, {"eta": 1.0}, "DPM2 a"),
    "lms": Sampler(lms, {}, "LMS"),
    "pndm": Sampler(pndm, {}, "PLMS"),
    "dpmpp_2s_a": Sampler(singlestep, {"eta": 1.0}, "DPM++ 2S a"),
    "dpmpp_2m": Sampler(multistep, {"order": 2}, "DPM++ 2M"),
    "dpmpp_3m": Sampler(multistep, {"order": 3}, "DPM++ 3M"),
    "dpmpp_sde": Sampler(singlestep, {"eta": 1.0, "noisy_midpoint": True}, "DPM++ SDE"),
    "dpmpp_2m_sde": Sampler(multistep, {"order": 2, "sde": 1.0}, "DPM++ 2M SDE"),
    "dpmpp_3m_sde": Sampler(multistep, {"order": 3, "sde": 1.0, "kind": "heun", "lower_end": False}, "DPM++ 3M SDE"),
    "unipc": Sampler(unipc, {"order": 2}, "UniPC"),
    "lcm": Sampler(first_order, {"renoise": True}, "LCM", steps=4),
}
