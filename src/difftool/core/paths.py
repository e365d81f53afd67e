"""Noise levels, and the paths that lead from clean data to pure noise.

Everything the engine samples is a state ``x = alpha * x0 + sigma * eps``; a path makes levels (alpha, sigma) from its
native clock ``u`` or from ``lam = log(alpha / sigma)``. Schedules are Python floats in double precision, on no device.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol, TypeAlias

Clock: TypeAlias = Callable[[float], float]
SWAYS = (-1.0, 2 / (math.pi - 2))
"""The range of the sway of a `Flow`."""
Scalar: TypeAlias = Any
"""A float while sampling, a tensor (B, 1, ..., 1) while training: the formulas are the same."""


class Level(NamedTuple):
    """A noise level: the share `alpha` of the data, the share `sigma` of unit Gaussian noise, and the time `t` that is
    given to the network, which no formula of the engine reads."""

    t: Scalar
    alpha: Scalar
    sigma: Scalar

    @property
    def snr(self) -> Scalar:
        return (self.alpha / self.sigma) ** 2

    @property
    def lam(self) -> float:
        """log(alpha / sigma), half the log signal-to-noise ratio, -inf to +inf. Float levels only."""
        ends = -math.inf if self.alpha == 0 else math.inf
        return math.log(self.alpha / self.sigma) if self.alpha and self.sigma else ends

    @property
    def share(self) -> Scalar:
        """The share of noise, sigma / (alpha + sigma): 0 to 1, and sigma itself on a flow."""
        return self.sigma / (self.alpha + self.sigma)


CLEAN = Level(0.0, 1.0, 0.0)
"""The end of every run: data without noise."""


class Path(Protocol):
    """The noise levels between data and noise, as a function of a native clock `u` that grows with the noise.

    `lo` is the clock of the least noisy level a run may visit, `hi` of the noisiest, and `clean` of clean data. On a
    `discrete` path u counts the levels that the network was trained on. The path is straight in the coordinate
    sigma / (alpha + `chart` * sigma); `chart` is 0 for VP and VE, 1 for flows. `spacing` is its default rule for
    `grid`. `level(u)` is the level at a clock, `at(lam)` the level where log(alpha / sigma) is lam; beyond the ends of
    a discrete path, the time of the end is used."""

    lo: float
    hi: float
    clean: float
    discrete: bool
    chart: float
    spacing: str

    def level(self, u: float) -> Level: ...
    def at(self, lam: float) -> Level: ...


RAMPS = {"linear": (1e-4, 0.02, 1), "scaled_linear": (0.00085, 0.012, 2)}
"""First and last beta, and the root that grows evenly (Ho et al. 2020, arXiv:2006.11239; Stable Diffusion)."""
CURVES: dict[str, Clock] = {
    "cosine": lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2,
    "sigmoid": lambda u: 0.5 - math.tanh(3 * u - 1.5) / math.tanh(1.5) / 2,
}
"""alpha^2, up to a factor, at the share u of the way: arXiv:2102.09672, eq. 17; arXiv:2212.11972, from -3 to 3."""


def betas(kind: str, T: int = 1000, start: float | None = None, end: float | None = None) -> list[float]:
    """The `T` betas of a schedule: ``linear`` runs straight from `start` to `end`, by default 1e-4 to 0.02, whatever T;
    ``scaled_linear`` straight in sqrt(beta), by default 0.00085 to 0.012; ``cosine`` and ``sigmoid`` have no ends to
    choose. Raises ValueError for an unknown kind, T < 1, or ends outside 0 < beta < 1."""
    require(T >= 1, f"a schedule needs at least 1 level, not {T}")
    if kind in CURVES:
        require(start is None and end is None, f"the {kind} schedule takes no start and end")
        abars = [CURVES[kind](i / T) for i in range(T + 1)]
        return [min(1 - after / before, 0.999) for before, after in pairwise(abars)]
    require(kind in RAMPS, f"unknown beta schedule {kind!r} (known: {', '.join([*RAMPS, *CURVES])})")
    first, last, power = RAMPS[kind]
    first, last = first if start is None else start, last if end is None else end
    require(0 < first < 1 and 0 < last < 1, f"betas must lie between 0 and 1, not {first} to {last}")
    a, b = first ** (1 / power), last ** (1 / power)
    return [(a + (b - a) * i / max(T - 1, 1)) ** power for i in range(T)]


def require(condition: bool, message: str) -> None:
    """Raises ValueError with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


class DiscreteVP:
    """A variance-preserving path of T levels, as of DDPM: ``u`` is the index, 0 to T - 1, lam straight between two."""

    lo, clean, discrete, chart, spacing = 0.0, -1.0, True, 0.0, "trailing"

    def __init__(self, betas: Sequence[float]) -> None:
        """Raises ValueError for no betas or one outside 0 <= beta <= 1."""
        betas = [float(beta) for beta in betas]
        require(
            bool(betas) and all(0 <= beta <= 1 for beta in betas),
            "betas must be a non-empty sequence of numbers between 0 and 1",
        )
        self.hi = len(betas) - 1.0
        _, *abars = accumulate(betas, lambda abar, beta: abar * (1 - beta), initial=1.0)
        self._levels = [Level(float(i), math.sqrt(a), math.sqrt(1 - a)) for i, a in enumerate(abars)]
        self._falling = [-level.lam for level in self._levels]  # ascending, for bisect

    def zero_snr(self) -> DiscreteVP:
        """The path stretched so that its last level is pure noise and its first stays (Lin et al. 2023,
        arXiv:2305.08891, algorithm 1). Only targets other than eps can start there."""
        first, last = self._levels[0].alpha, self._levels[-1].alpha
        require(first > last, "a path that ends in pure noise needs at least two different levels")
        alphas = [(level.alpha - last) * first / (first - last) for level in self._levels]
        abars = [1.0, *(alpha**2 for alpha in alphas)]
        return DiscreteVP([1 - after / before for before, after in pairwise(abars)])

    def level(self, u: float) -> Level:
        require(self.lo <= u <= self.hi, f"level {u} is outside 0 to {self.hi:g}")
        i = int(u)
        if i == u:
            return self._levels[i]
        w = u - i
        before, after = self._falling[i], self._falling[i + 1]
        return Level(u, *_vp(-(1 - w) * before - w * after))

    def at(self, lam: float) -> Level:
        j = min(max(bisect_left(self._falling, -lam), 1), len(self._levels) - 1)
        before, after = self._falling[j - 1], self._falling[j]
        gap, u = after - before, float(j)
        if 0 < gap < math.inf:
            u = j - 1 + (-lam - before) / gap
        return Level(min(max(u, self.lo), self.hi), *_vp(lam))


class Flow:
    """The straight path of rectified flow and flow matching (Lipman et al. 2022, arXiv:2210.02747): alpha = 1 - s,
    sigma = s. `shift` bends the clock towards the noise (Esser et al. 2024, arXiv:2403.03206, eq. 23): s = shift * u /
    (1 + (shift - 1) * u). `sway` bends it once more, by a cosine: with t = 1 - s, t + sway * (cos(pi * t / 2) - 1 + t)
    (F5-TTS, Chen et al. 2024, arXiv:2410.06885, where it is -1). `clock` turns s into the time the network was trained
    with."""

    lo, hi, clean, discrete, chart, spacing = 1e-3, 1.0, 0.0, False, 1.0, "trailing"

    def __init__(self, shift: float = 1.0, clock: Clock = lambda s: s, sway: float = 0.0) -> None:
        """Raises ValueError unless shift > 0 and sway lies in SWAYS, where time never runs back."""
        require(shift > 0, f"shift must be above 0, not {shift}")
        require(SWAYS[0] <= sway <= SWAYS[1], f"sway must be from {SWAYS[0]:g} to {SWAYS[1]:.4g}, not {sway}")
        self.shift, self.clock, self.sway = shift, clock, sway

    def level(self, u: float) -> Level:
        require(0 <= u <= 1, f"level {u} is outside 0 to 1")
        bend = 1 + (self.shift - 1) * u
        s, t = self.shift * u / bend, (1 - u) / bend
        # the same curve from either end, so that small shares stay exact
        sigma = s + self.sway * (s - math.sin(math.pi / 2 * s))
        alpha = t + self.sway * (t - 2 * math.sin(math.pi / 4 * t) ** 2)
        return Level(self.clock(sigma), alpha, sigma)

    def at(self, lam: float) -> Level:
        ratio = math.exp(-abs(lam))
        big = 1 / (1 + ratio)
        small = ratio * big
        alpha, sigma = (big, small) if lam > 0 else (small, big)
        return Level(self.clock(sigma), alpha, sigma)


def dynamic_shift(tokens: float, low: float = 0.5, high: float = 1.15) -> float:
    """FLUX.1's `shift` of a `Flow` for so many tokens: e^mu, mu straight from `low` at 256 to `high` at 4,096."""
    return math.exp(low + (high - low) * (tokens - 256) / (4096 - 256))


def flux2_shift(tokens: float, steps: int) -> float:
    """FLUX.2's `shift` of a `Flow` for so many tokens and steps: e^mu, mu straight in the steps through the lines of 10
    and 200; above 4,300 tokens that of 200."""
    at_10, at_200 = 8.73809524e-5 * tokens + 1.89833333, 1.6927e-4 * tokens + 0.45666666
    slope = (at_200 - at_10) / 190
    mu = at_200 if tokens > 4300 else at_200 + slope * (steps - 200)
    return math.exp(mu)


class Karras:
    """The variance-exploding path of Karras et al. 2022 (arXiv:2206.00364): alpha = 1, and ``u`` is sigma itself, from
    `lo` to `hi`. `clock` turns sigma into the time the network was trained with, by default log(sigma) / 4."""

    clean, discrete, chart, spacing = 0.0, False, 0.0, "karras"

    def __init__(self, lo: float = 0.002, hi: float = 80.0, clock: Clock = lambda s: math.log(s) / 4) -> None:
        """Raises ValueError unless 0 < lo < hi."""
        require(0 < lo < hi < math.inf, f"lo must be above 0 and below hi, not {lo} with hi {hi}")
        self.lo, self.hi, self.clock = lo, hi, clock

    def level(self, u: float) -> Level:
        require(u >= 0, f"level {u} is below 0")
        return Level(self.clock(u), 1.0, u) if u else CLEAN

    def at(self, lam: float) -> Level:
        return self.level(math.exp(-lam))


def _vp(lam: float) -> tuple[float, float]:
    """(alpha, sigma) with alpha^2 + sigma^2 = 1, exact at both ends."""
    big = 1 / math.hypot(1, e := math.exp(-abs(lam)))
    return (big, e * big) if lam > 0 else (e * big, big)
