"""Solvers: from noise to data along a grid of levels.

A solver is a generator: ``for state in solver(predict, x, levels, ...)``. It calls nothing back and hides nothing;
what it needs of the past travels in the `State` it yields, so a run goes on from any state. No solver knows what it
samples. A named sampler is a row of `SAMPLERS`, not a class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from .level import Level
from .predict import Predict

if TYPE_CHECKING:
    from torch import Tensor

NoiseFn: TypeAlias = "Callable[[int, int], Tensor]"


class State(NamedTuple):
    """Where a run stands after `i` steps: the state `x` at `level`, and what the next steps need to know."""

    i: int
    level: Level
    x: Tensor
    x0: Tensor | None = None
    """The estimate of the clean data that the step came from; None before the first."""
    past: tuple[Tensor, ...] = ()
    """Earlier estimates that a multistep method still needs, newest first."""


Solver: TypeAlias = Callable[..., Iterator[State]]


def first_order(
    predict: Predict,
    x: Tensor | State,
    levels: Sequence[Level],
    *,
    eta: float = 0.0,
    noise: NoiseFn | None = None,
    variance: Literal["small", "large"] = "small",
) -> Iterator[State]:
    """One call of the network a step. Yields the state after each of the ``len(levels) - 1`` steps.

    From p to q: ``x <- r * x + (alpha_q - alpha_p * r) * x0 + std * z`` with r = s / sigma_p, s^2 = sigma_q^2 - std^2
    and std = eta * sigma_q * sqrt(1 - rho^2), rho = alpha_p * sigma_q / (alpha_q * sigma_p).

    eta = 0 is DDIM (Song et al. 2020, arXiv:2010.02502, eq. 12), which equals Euler's method in the coordinate sigma /
    alpha (k-diffusion) and on a flow's straight path; eta = 1 is DDPM with the smaller variance and equals Euler
    ancestral. `variance` "large" keeps that mean and takes DDPM's larger one, std * sigma_p / sigma_q. `x` is the
    start, of any shape, at levels[0], or a `State` to go on from. `noise(i, 0)` gives the unit noise of step i, of x's
    shape; without it a run with eta > 0 raises ValueError. No noise is added on the step to clean data.
    """
    if eta and noise is None:
        raise ValueError("a sampler with eta above 0 needs a source of noise")
    start = x if isinstance(x, State) else State(0, levels[0], x)
    now = start.x
    for i in range(start.i, len(levels) - 1):
        p, q = levels[i], levels[i + 1]
        x0 = predict(now, p).x0
        rho = p.alpha * q.sigma / (q.alpha * p.sigma)
        std = eta * q.sigma * math.sqrt(max(1 - rho * rho, 0.0))
        r = math.sqrt(max(q.sigma**2 - std**2, 0.0)) / p.sigma
        now = (now * r).add_(x0, alpha=q.alpha - p.alpha * r)
        if std and noise is not None:
            now.add_(noise(i, 0), alpha=std if variance == "small" else std * p.sigma / q.sigma)
        yield State(i + 1, q, now, x0)


class Sampler(NamedTuple):
    """A row of `SAMPLERS`."""

    solver: Solver
    defaults: dict[str, Any]
    """Keyword arguments of the solver; a sampler with `eta` here takes `eta=` and `noise=`."""
    title: str
    """The name other tools show."""
    steps: int | None = 25
    """Steps of a run that says nothing else; None visits every level of the path."""


SAMPLERS: dict[str, Sampler] = {
    "ddpm": Sampler(first_order, {"eta": 1.0}, "DDPM", steps=None),
    "ddim": Sampler(first_order, {"eta": 0.0}, "DDIM"),
    "euler": Sampler(first_order, {"eta": 0.0}, "Euler"),
    "euler_a": Sampler(first_order, {"eta": 1.0}, "Euler a"),
}
