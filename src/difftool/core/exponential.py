"""The methods that integrate over ``lam = log(alpha / sigma)`` what the network estimates, and solve the rest of a step
exactly: with one call a step and the estimates of earlier steps, or with calls inside the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from .paths import Level, Path, require
from .predict import Predict
from .step import (
    Draw,
    Levels,
    Start,
    State,
    Tensors,
    Terms,
    begin,
    between,
    diffused,
    estimated,
    exponential,
    need,
    nodes_of,
    orders_of,
    quadrature,
    scaled,
    split,
    step,
    weighted,
)

if TYPE_CHECKING:
    from torch import Tensor

Strength: TypeAlias = float | Callable[[Level], float]


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
    plus: bool = False,
    noise: Draw = None,
    path: Path | None = None,
) -> Iterator[State]:
    """DPM-Solver++ with one call a step (Lu et al. 2022, arXiv:2211.01095): 2M, 3M and, with `sde` = 1, their SDEs. It
    integrates over ``lam = log(alpha / sigma)`` an estimate that bends as the earlier ones say, and draws noise of
    variance (1 - e^(-2 sde h)) sigma_q^2 in a step of h. `kind` is the rule of order 2: midpoint or heun; the authors'
    rule of order 3 has order 2 too, with a smaller error. The order is 1 at first and on the step to clean data; with
    `lower_end` it falls towards the end of a run of fewer than 15 steps, as in diffusers. `corrects` is for `unipc`.
    `plus` is CFG++ as ComfyUI has it: alpha_p r (x0 - free) more in each step, and the earlier estimates, for heun the
    newest too, are the unconditional ones."""
    require(kind in ("midpoint", "heun") and order in (1, 2, 3), f"there is no {kind!r} rule of order {order}")
    now, first, past = begin(x)
    orders = orders_of(levels, order, lower_end and (corrects or len(levels) - 1 < 15))
    rule, bend = "midpoint" if kind == "midpoint" else "exact", 1.0 if corrects else 0.5
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0, _, free = predict(now, p)
        if free is None or not plus:
            free = x0
        if corrects and past:
            # the estimate here tells how the step before should have bent
            before, *outs = past[: 1 + orders[i - 1]]
            nodes = [*nodes_of(levels, i - 1, len(outs)), 1.0]
            now = exponential(before, (*outs, x0), nodes, levels[i - 1], p, rule)
        past = (now, free, *past[1:order])
        to, std = diffused(p, q, sde)
        nodes = nodes_of(levels, i, orders[i])
        newest = free if kind == "heun" and orders[i] > 1 else x0
        now = exponential(now, (newest, *past[2 : 1 + orders[i]]), nodes, p, to, rule, bend)
        if free is not x0:
            now.add_(x0 - free, alpha=p.alpha * to.sigma / p.sigma)
        if std:
            now.add_(need(noise, "noise")(i, 0), alpha=std)
        yield State(i + 1, q, now, x0, past)


def unipc(
    predict: Predict, x: Start, levels: Levels, *, order: int = 2, noise: Draw = None, path: Path | None = None
) -> Iterator[State]:
    """UniPC-p with B2(h) on x0, one call a step (Zhao et al. 2023, arXiv:2302.04867): `multistep`, where the estimate
    that a step begins with first corrects the step before. The order falls to 1 at the end of every run."""
    return multistep(predict, x, levels, order=order, corrects=True)


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
    require(order >= 1, f"order must be at least 1, not {order}")
    now, first, past = begin(x)
    orders = orders_of(levels, order, lower_end and len(levels) - 1 < 15)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        eps = weighted([(now, 1 / p.sigma), (x0, -p.alpha / p.sigma)])
        past = (eps, *past)[:order]
        if orders[i] == 1:
            now = step(now, x0, p, q)
        else:
            h = q.lam - p.lam
            moments = [1.0]
            for m in range(1, orders[i]):
                moments.append(m * moments[-1] / h - 1 / math.expm1(h))
            weights = quadrature(nodes_of(levels, i, orders[i]), moments)
            stretch = q.sigma - q.alpha * p.sigma / p.alpha
            noisy = scaled(zip(past, weights, strict=False), stretch)
            now = weighted([(now, q.alpha / p.alpha), *noisy])
        yield State(i + 1, q, now, x0, past[: order - 1])


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
    require(order >= 1 and corrector >= 0, f"there are no orders {order} and {corrector}")
    now, first, past = begin(x)
    n, known = len(levels) - 1, 1 if levels[0].alpha else 0
    rule = "simple" if simple else "exact"

    def predicted(i: int) -> int:
        """The order of the predictor of step i."""
        return max(min(order, i + known, n - 1 - i), 1)

    def reached(i: int) -> tuple[Level, float]:
        """Where step i leads to without its noise, and the noise."""
        q = levels[i + 1]
        return diffused(levels[i], q, sde(q) if callable(sde) else sde)

    for i in range(first, n):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        if past and corrector and (pece or q.sigma):
            before = levels[i - 1]
            to, _ = reached(i - 1)
            count = min(corrector, i + known, n - i)
            nodes = [1.0, *nodes_of(levels, i - 1, count - 1)][:count]
            better = estimated((x0, *past)[:count], nodes, before, to, rule)
            count = predicted(i - 1)
            used = estimated(past[:count], nodes_of(levels, i - 1, count), before, to, rule)
            now = weighted([(now, 1.0), *better, *scaled(used, -1.0)])
            if pece:
                x0 = predict(now, p).x0
        past = (x0, *past)
        to, std = reached(i)
        count = predicted(i)
        now = exponential(now, past[:count], nodes_of(levels, i, count), p, to, rule)
        if std:
            now.add_(need(noise, "noise")(i, 0), alpha=std)
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
    `step` the first and second divided difference of x0 over k, times alpha_q (dk + f_q S) and alpha_q (dk^2 / 2 +
    f_q U) with f = k g^eta, S and U the integrals of 1 / f and (k - k_p) / f: as its authors' sums of 200 points."""
    require(eta >= 0, f"eta must be at least 0, not {eta}")
    require(stages in (1, 2, 3), f"stages must be 1 to 3, not {stages}")
    now, first, past = begin(x)
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
            one, two = _sums(growth, eta, ks[0], _ratio(q))
            terms += _bent(past, ks, q, one, two)
        now = weighted(terms)
        if to.sigma != q.sigma:
            std = math.sqrt(q.sigma**2 - to.sigma**2)
            now.add_(need(noise, "noise")(i, 0), alpha=std)
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
    moments = [share * (k - k_p) for share, k in zip(shares, points, strict=True)]
    return sum(shares), sum(moments)


def _bent(outs: Tensors, ks: Sequence[float], q: Level, one: float, two: float) -> Terms:
    """What the differences of the estimates, which stand at `ks`, add to a step of `er_sde`."""
    dk = _ratio(q) - ks[0]
    slope = _difference([(outs[0], 1.0)], [(outs[1], 1.0)], ks[0] - ks[1])
    terms = scaled(slope, q.alpha * (dk + one))
    if len(outs) > 2:
        before = _difference([(outs[1], 1.0)], [(outs[2], 1.0)], ks[1] - ks[2])
        curve = _difference(slope, before, (ks[0] - ks[2]) / 2)
        terms += scaled(curve, q.alpha * (dk**2 / 2 + two))
    return terms


def _difference(newer: Terms, older: Terms, length: float) -> Terms:
    return [*scaled(newer, 1 / length), *scaled(older, -1 / length)]


def _ratio(level: Level) -> float:
    return level.sigma / level.alpha if level.alpha else math.inf


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
    now, first, _ = begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        to, std = split(p, q, eta)
        target = q if noisy_midpoint else to
        if target.sigma:
            mid = between(p, target, path)
            near, fog = split(p, mid, eta) if noisy_midpoint else (mid, 0.0)
            half = step(now, x0, p, near)
            if fog:
                half.add_(need(noise, "noise")(i, 1), alpha=fog)
            x0 = predict(half, mid).x0
        now = step(now, x0, p, to)
        if std:
            now.add_(need(noise, "noise")(i, 0), alpha=std)
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
    each, and then to q, leads `exponential` with the first estimate and the newest. One point is RES 2S at 1/2 and
    exponential Heun at 1 (Zhang et al. 2023, arXiv:2308.02157), 1/3 and 2/3 are SEEDS-3 (Gonzalez et al. 2023,
    arXiv:2305.14267). `phi` = 1 takes the midpoint rule, which is DPM-Solver++(2S), or SEEDS-2 with noise.

    The noise of an SDE of strength `sde` is one Brownian path: what leads to a point is remembered behind it,
    n <- f n + sqrt(1 - f^2) z with f = e^(-sde dlam). The step to clean data has one call."""
    require(phi in (1, 2), f"phi must be 1 or 2, not {phi}")
    rule = "midpoint" if phi == 1 else "exact"
    now, first, _ = begin(x)
    for i in range(first, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        stops = (*points, 1.0) if q.sigma else (1.0,)
        ahead, here, at = now, p, 0.0
        outs: tuple[Tensor, ...] = ()
        newest = walk = None
        for j, share in enumerate(stops, start=1):
            newest = predict(ahead, here).x0
            outs = (*outs[:1], newest)
            told = outs if p.alpha else outs[-1:]  # pure noise tells of no bend
            nodes = (0.0, at / share)[: len(told)]
            there = q if share == 1 else between(p, q, path, share)
            to, std = diffused(p, there, sde)
            ahead = exponential(now, told, nodes, p, to, rule)
            if std and there is not here:
                f = math.exp(-sde * (there.lam - here.lam))
                drawn = need(noise, "noise")(i, j % len(stops))
                fresh = drawn * math.sqrt(1 - f**2)
                walk = fresh if walk is None else fresh.add_(walk, alpha=f)
            if walk is not None:
                ahead.add_(walk, alpha=there.sigma)
            here, at = there, share
        now = ahead
        yield State(i + 1, q, now, newest)
