"""What the solvers are made of: the state of a run, a level at which noise is kept, and a step to it.

What a solver needs of the past travels in the `State`, so a run goes on from any. `x` is a start at levels[0], or a
`State`; `noise(i, j)` gives unit noise of x's shape for stage j of step i, `path` levels between two of the grid:
ValueError where one of them is needed and missing. The step to clean data draws no noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .paths import Level, Path, require

if TYPE_CHECKING:
    from torch import Tensor

Levels: TypeAlias = Sequence[Level]
Tensors: TypeAlias = "Sequence[Tensor]"
Terms: TypeAlias = "list[tuple[Tensor, float]]"
Start: TypeAlias = "Tensor | State"
Draw: TypeAlias = "Callable[[int, int], Tensor] | None"
Solver: TypeAlias = "Callable[..., Iterator[State]]"


class State(NamedTuple):
    """The state of a run after `i` steps: `x` at `level`, the estimate `x0` of the clean data used by the last step,
    and the `past` that a multistep method needs, newest first."""

    i: int
    level: Level
    x: Tensor
    x0: Tensor | None = None
    past: tuple[Tensor, ...] = ()


def begin(x: Start) -> tuple[Tensor, int, tuple[Tensor, ...]]:
    """(state, number of the first step, past) of a start."""
    if isinstance(x, State):
        return x.x, x.i, x.past
    return x, 0, ()


def need(part: Any, name: str) -> Any:
    require(part is not None, f"this sampler needs {name}")
    return part


def split(p: Level, q: Level, eta: float) -> tuple[Level, float]:
    """(the level to solve to, the standard deviation of the fresh noise that leads from there to q)."""
    if not eta:
        return q, 0.0
    require(eta > 0, f"eta must be at least 0, not {eta}")
    rho = p.alpha * q.sigma / (q.alpha * p.sigma)
    share = math.sqrt(max(1 - rho * rho, 0.0))
    std = min(eta * q.sigma * share, q.sigma)
    return q._replace(sigma=math.sqrt(q.sigma**2 - std**2)), std


def diffused(p: Level, q: Level, sde: float) -> tuple[Level, float]:
    """The same for the SDE of this strength, which keeps the noise sigma_q e^(-sde h); no noise to clean data."""
    require(sde >= 0, f"sde must be at least 0, not {sde}")
    if not sde or not q.sigma:
        return q, 0.0
    to = q._replace(sigma=q.sigma * math.exp(-sde * (q.lam - p.lam)))
    return to, math.sqrt(q.sigma**2 - to.sigma**2)


def step(x: Tensor, x0: Tensor, p: Level, q: Level) -> Tensor:
    """The exact solution from p to q if the estimate stayed `x0`, finite also for alpha_p = 0 and sigma_q = 0."""
    r = q.sigma / p.sigma
    return (x * r).add_(x0, alpha=q.alpha - p.alpha * r)


def exponential(
    x: Tensor, outs: Tensors, nodes: Sequence[float], p: Level, q: Level, rule: str = "exact", bend: float = 1.0
) -> Tensor:
    """The exact solution from p to q if the estimate is the polynomial in lam through `outs`, which stand at `nodes`,
    in steps from p: eq. 5 of UniPC."""
    return weighted([(x, q.sigma / p.sigma), *estimated(outs, nodes, p, q, rule, bend)])


def estimated(
    outs: Tensors, nodes: Sequence[float], p: Level, q: Level, rule: str = "exact", bend: float = 1.0
) -> Terms:
    """What the estimates add in `exponential`."""
    base = q.alpha - p.alpha * (q.sigma / p.sigma)
    moments = _moments(len(outs), p, q, rule)
    moments[2:] = [bend * moment for moment in moments[2:]]
    weights = quadrature(nodes, moments)
    return scaled(zip(outs, weights, strict=True), base)


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


def quadrature(nodes: Sequence[float], moments: Sequence[float]) -> list[float]:
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


def nodes_of(levels: Levels, i: int, count: int) -> list[float]:
    """Where the last `count` levels stand, the newest first, in steps of lam from levels[i] to levels[i + 1]."""
    here = levels[i].lam
    h = levels[i + 1].lam - here
    behind = [levels[i - j].lam for j in range(1, count)]
    return [0.0, *((lam - here) / h for lam in behind)]


def orders_of(levels: Levels, order: int, lowers: bool) -> list[int]:
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


def between(p: Level, q: Level, path: Path | None, share: float = 0.5, clock: bool = False) -> Level:
    """The level at a `share` of the way in lam; with `clock`, or from pure noise on, in a discrete index or
    sigma / (alpha + sigma)."""
    chart: Path = need(path, "a path")
    if p.alpha and not clock:
        return chart.at((1 - share) * p.lam + share * q.lam)
    if clock and chart.discrete:
        here, there = (chart.at(level.lam).t for level in (p, q))
        return chart.level((1 - share) * here + share * there)
    noise = (1 - share) * p.share + share * q.share
    return chart.at(math.log(1 / noise - 1))


def scaled(terms: Iterable[tuple[Tensor, float]], by: float) -> Terms:
    return [(x, weight * by) for x, weight in terms]


def weighted(terms: Terms) -> Tensor:
    """The weighted sum; a tensor that comes twice is read once."""
    merged: dict[int, tuple[Tensor, float]] = {}
    for x, weight in terms:
        if id(x) in merged:
            weight += merged[id(x)][1]
        merged[id(x)] = (x, weight)
    (x, weight), *rest = merged.values()
    out = x * weight
    for x, weight in rest:
        out.add_(x, alpha=weight)
    return out
