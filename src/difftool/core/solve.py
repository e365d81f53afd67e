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
    """Where a run stands after `i` steps: the state `x` at `level`, the estimate `x0` of the clean data that the step
    came from, and, newest first, what a multistep method still needs of the `past`."""

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
    require(variance in ("small", "large", "learned"), f"there is no variance {variance!r}")
    now, first = (x.x, x.i) if isinstance(x, State) else (x, 0)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0, spread = predict(now, p)
        to, std = (q._replace(sigma=0.0), q.sigma) if renoise else _split(p, q, eta)
        now = _step(now, x0, p, to)
        if std:
            f = {"small": 0.0, "large": 1.0}[variance] if variance != "learned" else _need(spread, "learned variance")
            now.add_(_need(noise, "noise")(i, 0) * (p.sigma / q.sigma) ** f, alpha=std)
        yield State(i + 1, q, now, x0)


class Churn(NamedTuple):
    """Noise added before a step, and removed by it with what was there (Karras et al. 2022, algorithm 2): `amount` over
    the whole run, where lo <= sigma / alpha <= hi, of standard deviation `noise`. Without a `path` t stays."""

    amount: float = 0.0
    lo: float = 0.0
    hi: float = math.inf
    noise: float = 1.0


def ode(
    predict: Predict,
    x: Start,
    levels: Levels,
    *,
    method: str = "heun",
    chart: float | Chart | None = None,
    churn: Churn | None = None,
    eta: float = 0.0,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """Classical methods for the probability flow in a `chart`: a function from a level to the scale c that divides the
    state, the coordinate k, and the derivatives by k of alpha / c and sigma / c. A number w is c = alpha + w * sigma, k
    = sigma / c: k-diffusion's for 0, a flow's time for 1, which None takes for a run from (almost) pure noise.

    euler (order 1); heun (2, two calls a step; Karras et al. 2022, algorithm 1); dpm2 (2, two calls, the second midway
    in log(sigma / alpha); k-diffusion); lms (up to 4, Adams-Bashforth for uneven steps; k-diffusion); pndm (2; three
    Runge-Kutta steps of four calls, midway in the clock of a discrete path, then Adams-Bashforth for even steps; Liu et
    al. 2022, arXiv:2202.09778). `eta` adds noise as in `first_order`, for euler and dpm2 only."""
    require(method in ("euler", "heun", "dpm2", "lms", "pndm"), f"there is no method {method!r}")
    require(not eta or method in ("euler", "dpm2"), f"{method} has no eta")
    require(not churn or method in ("euler", "heun", "dpm2"), f"{method} has no churn")
    w = chart if chart is not None else 1.0 if levels[0].alpha < 1e-3 * levels[0].sigma else 0.0
    at = w if callable(w) else lambda level: (c := level.alpha + w * level.sigma, level.sigma / c, -w, 1.0)

    def slope(x: Tensor, p: Level, x0: Tensor | None = None) -> Terms:
        _, _, data, fog = at(p)
        return [(x, fog / p.sigma), (predict(x, p).x0 if x0 is None else x0, data - fog * p.alpha / p.sigma)]

    def along(d: Terms, q: Level) -> Tensor:
        (a, k, *_), (b, m, *_) = at(p), at(q)
        return _sum([(now, b / a), *((x, weight * b * (m - k)) for x, weight in d)])

    now, first, past = (x.x, x.i, x.past) if isinstance(x, State) else (x, 0, ())
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        if churn and churn.amount and p.alpha and churn.lo <= p.sigma / p.alpha <= churn.hi:
            lift = min(churn.amount / (len(levels) - 1), math.sqrt(2) - 1)
            up = path.at(p.lam - math.log1p(lift)) if path else p._replace(sigma=p.sigma * (1 + lift))
            added = math.sqrt(up.sigma**2 - (up.alpha * p.sigma / p.alpha) ** 2) * churn.noise
            now, p = (now * (up.alpha / p.alpha)).add_(_need(noise, "noise")(i, 1), alpha=added), up
        x0 = predict(now, p).x0
        to, std = _split(p, q, eta)
        d = slope(now, p, x0)
        past = (_sum(d), *past)[:4] if method in ("lms", "pndm") else ()
        if method == "lms":
            ks = [at(levels[i - j])[1] for j in range(len(past))]
            nodes = [(k - ks[0]) / (at(q)[1] - ks[0]) for k in ks]
            d = [*zip(past, _quadrature(nodes, [1, 1 / 2, 1 / 3, 1 / 4]), strict=True)]
        elif method == "pndm" and len(past) == 4:
            d = [*zip(past, (55 / 24, -59 / 24, 37 / 24, -9 / 24), strict=True)]
        elif method == "pndm" and to.sigma:
            second = slope(along(d, mid := _between(p, to, path, clock=True)), mid)
            third = slope(along(second, mid), mid)
            four = zip((d, second, third, slope(along(third, to), to)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), strict=True)
            d = [(x, part * weight) for terms, part in four for x, weight in terms]
        elif method == "heun" and to.sigma:
            d = [(x, weight / 2) for x, weight in (*d, *slope(along(d, to), to))]
        elif method == "dpm2" and to.sigma:
            d = slope(along(d, mid := _between(p, to, path)), mid)
        now = along(d, to)
        if std:
            now.add_(_need(noise, "noise")(i, 0), alpha=std)
        yield State(i + 1, q, now, x0, past[:3])


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
    now, first, past = (x.x, x.i, x.past) if isinstance(x, State) else (x, 0, ())
    require(kind in ("midpoint", "heun") and order in (1, 2, 3), f"there is no rule {kind!r} of order {order}")
    require(sde >= 0, f"sde is the strength of noise and not negative, as {sde} is")
    n, known = len(levels) - 1, levels[0].alpha > 0  # only estimates at a finite lam tell of a bend
    lowers = lower_end and (corrects or n < 15)
    orders = [min(order, n - i if lowers or not levels[i + 1].sigma else order, max(i + known, 1)) for i in range(n)]
    for i in range(first, n):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        if corrects and past:
            now = _exponential(past[0], (*past[1 : 1 + orders[i - 1]], x0), levels, i - 1, p, ahead=True)
        past = (now, x0, *past[1:order])
        to = q._replace(sigma=q.sigma * math.exp(-sde * (q.lam - p.lam))) if sde and q.sigma else q
        outs = past[1 : 1 + orders[i]]
        now = _exponential(now, outs, levels, i, to, mean=kind == "midpoint", bend=1.0 if corrects else 0.5)
        if to.sigma != q.sigma:
            now.add_(_need(noise, "noise")(i, 0), alpha=math.sqrt(q.sigma**2 - to.sigma**2))
        yield State(i + 1, q, now, x0, past)


def unipc(
    predict: Predict, x: Start, levels: Levels, *, order: int = 2, noise: Draw = None, path: Path | None = None
) -> Iterator[State]:
    """UniPC-p with B2(h) on x0, one call a step (Zhao et al. 2023, arXiv:2302.04867): `multistep`, where the estimate
    that a step begins with first corrects the step before. The order falls to 1 at the end of every run."""
    return multistep(predict, x, levels, order=order, corrects=True)


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
    now, first = (x.x, x.i) if isinstance(x, State) else (x, 0)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        to, std = _split(p, q, eta)
        if (q if noisy_midpoint else to).sigma:
            mid = _between(p, q if noisy_midpoint else to, path)
            near, fog = _split(p, mid, eta) if noisy_midpoint else (mid, 0.0)
            half = _step(now, x0, p, near)
            if fog:
                half.add_(_need(noise, "noise")(i, 1), alpha=fog)
            x0 = predict(half, mid).x0
        now = _step(now, x0, p, to)
        if std:
            now.add_(_need(noise, "noise")(i, 0), alpha=std)
        yield State(i + 1, q, now, x0)


def _need(what: Any, name: str) -> Any:
    require(what is not None, f"this sampler needs a {name}")
    return what


def _split(p: Level, q: Level, eta: float) -> tuple[Level, float]:
    """(the level to solve to, the standard deviation of the fresh noise that leads from there to q)."""
    if not eta:
        return q, 0.0
    require(eta > 0, f"eta is the strength of noise and not negative, as {eta} is")
    rho = p.alpha * q.sigma / (q.alpha * p.sigma)
    std = min(eta * q.sigma * math.sqrt(max(1 - rho * rho, 0.0)), q.sigma)
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
    p, h = levels[i], levels[i + 1].lam - levels[i].lam
    nodes = [0.0, *((levels[i - j].lam - p.lam) / h for j in range(1, len(outs) - ahead)), *[1.0] * ahead]
    r, moments = q.sigma / p.sigma, [1.0, 0.5]
    base = q.alpha - p.alpha * r
    if len(outs) > 2 or not mean:
        moments = [1.0]
        for j in range(1, len(outs)):  # alpha_q / base - j M_(j-1) / width, by parts; an SDE's step is wider than h
            moments.append(q.alpha / base - j * moments[-1] / math.log(q.alpha / (p.alpha * r)))
        moments[2:] = [bend * moment for moment in moments[2:]]
    return _sum([(x, r), *((out, base * w) for out, w in zip(outs, _quadrature(nodes, moments), strict=True))])


def _quadrature(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Weights that integrate the polynomial through values at `nodes`, from the integrals of 1, t, t^2, ..."""
    weights = []
    for node in nodes:
        others, poly = [other for other in nodes if other != node], [1.0]
        for other in others:
            poly = [a - other * b for a, b in zip([0.0, *poly], [*poly, 0.0], strict=True)]
        integral = sum(a * moment for a, moment in zip(poly, moments, strict=False))
        weights.append(integral / math.prod(node - other for other in others))
    return weights


def _sum(terms: Terms) -> Tensor:
    """The weighted sum; a tensor that comes twice is read once."""
    merged: dict[int, tuple[Tensor, float]] = {}
    for x, weight in terms:
        merged[id(x)] = (x, merged.get(id(x), (x, 0.0))[1] + weight)
    (x, weight), *rest = merged.values()
    out = x * weight
    for x, weight in rest:
        out.add_(x, alpha=weight)
    return out


def _between(p: Level, q: Level, path: Path | None, clock: bool = False) -> Level:
    """The level midway in lam; with `clock`, or from pure noise on, in a discrete index or sigma / (alpha + sigma)."""
    way: Path = _need(path, "path")
    if p.alpha and not clock:
        return way.at((p.lam + q.lam) / 2)
    if clock and way.discrete:
        return way.level((way.at(p.lam).t + way.at(q.lam).t) / 2)
    share = sum(level.sigma / (level.alpha + level.sigma) for level in (p, q)) / 2
    return way.at(math.log(1 / share - 1))


class Sampler(NamedTuple):
    """A row of `SAMPLERS`: a solver with keyword arguments, the name that other tools show, and the steps of a run that
    says nothing else (None: every level). `eta` or `sde` among the `defaults` is the strength of fresh noise."""

    solver: Solver
    defaults: dict[str, Any]
    title: str
    steps: int | None = 25


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler(first_order, {"eta": 1.0}, "DDPM", steps=None),
    "ddim": Sampler(first_order, {"eta": 0.0}, "DDIM"),
    "euler": Sampler(first_order, {"eta": 0.0}, "Euler"),
    "euler_a": Sampler(first_order, {"eta": 1.0}, "Euler a"),
    "heun": Sampler(ode, {"method": "heun"}, "Heun"),
    "dpm2": Sampler(ode, {"method": "dpm2"}, "DPM2"),
    "dpm2_a": Sampler(ode, {"method": "dpm2", "eta": 1.0}, "DPM2 a"),
    "lms": Sampler(ode, {"method": "lms"}, "LMS"),
    "pndm": Sampler(ode, {"method": "pndm"}, "PLMS"),
    "dpmpp_2s_a": Sampler(singlestep, {"eta": 1.0}, "DPM++ 2S a"),
    "dpmpp_2m": Sampler(multistep, {"order": 2}, "DPM++ 2M"),
    "dpmpp_3m": Sampler(multistep, {"order": 3}, "DPM++ 3M"),
    "dpmpp_sde": Sampler(singlestep, {"eta": 1.0, "noisy_midpoint": True}, "DPM++ SDE"),
    "dpmpp_2m_sde": Sampler(multistep, {"order": 2, "sde": 1.0}, "DPM++ 2M SDE"),
    "dpmpp_3m_sde": Sampler(multistep, {"order": 3, "sde": 1.0, "kind": "heun", "lower_end": False}, "DPM++ 3M SDE"),
    "unipc": Sampler(unipc, {"order": 2}, "UniPC"),
    "lcm": Sampler(first_order, {"renoise": True}, "LCM", steps=4),
}
