"""Noise levels, and the paths that lead from clean data to pure noise.

Everything the engine samples is a state ``x = alpha * x0 + sigma * eps``. A `Level` is one such pair (alpha, sigma)
with the time `t` that the network is told; a path makes levels from its native clock ``u`` or from the log ratio
``lam = log(alpha / sigma)``. Schedules are Python floats in double precision: a level never lives on a device.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

Scalar: TypeAlias = Any
"""A float while sampling, a tensor (B, 1, ..., 1) while training: the formulas are the same."""


class Level(NamedTuple):
    """A noise level."""

    t: Scalar
    """What the network is told. No formula of the engine reads it."""
    alpha: Scalar
    """Share of the data."""
    sigma: Scalar
    """Share of the unit Gaussian noise."""

    @property
    def lam(self) -> float:
        """log(alpha / sigma), half the log signal-to-noise ratio; -inf at pure noise, +inf at clean data. Float levels
        only."""
        if self.alpha == 0:
            return -math.inf
        return math.inf if self.sigma == 0 else math.log(self.alpha / self.sigma)


CLEAN = Level(0.0, 1.0, 0.0)
"""The end of every run: data without noise."""


class Path(Protocol):
    """A way from data to noise, read by a native clock `u` that grows with the noise."""

    lo: float
    """`u` of the least noisy level a run may visit."""
    hi: float
    """`u` of the noisiest level."""
    clean: float
    """`u` at which the data would be clean."""
    discrete: bool
    """Whether `u` counts levels that the network was trained at, to which trailing and leading grids keep."""
    chart: float
    """The coordinate in which the path is straight: sigma / (alpha + chart * sigma). 0 for VP and VE, 1 for flows."""

    def level(self, u: float) -> Level:
        """The level at the clock `u`."""
        ...

    def at(self, lam: float) -> Level:
        """The level where log(alpha / sigma) is `lam`; beyond the ends the network's time stays at the end."""
        ...


LINEAR = (1e-4, 0.02)  # Ho et al. 2020, arXiv:2006.11239, section 4
SCALED_LINEAR = (0.00085, 0.012)  # Rombach et al. 2021, the betas of Stable Diffusion


def betas(kind: str, T: int = 1000, start: float | None = None, end: float | None = None) -> list[float]:
    """The `T` betas of a named schedule.

    ``linear`` (Ho et al. 2020) runs straight from `start` to `end`, by default 1e-4 to 0.02. ``scaled_linear`` (Stable
    Diffusion) runs straight in sqrt(beta), by default 0.00085 to 0.012. ``cosine`` (Nichol & Dhariwal 2021,
    arXiv:2102.09672, eq. 17) has no ends to choose. The ends are not scaled with `T`.

    Raises ValueError for an unknown kind, T < 1, or ends outside 0 < beta < 1.
    """
    if T < 1:
        raise ValueError(f"a schedule needs at least 1 level, not {T}")
    if kind == "cosine":
        if start is not None or end is not None:
            raise ValueError("the cosine schedule has no start and end")

        def abar(u: float) -> float:
            return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

        return [min(1 - abar((i + 1) / T) / abar(i / T), 0.999) for i in range(T)]
    if kind not in ("linear", "scaled_linear"):
        raise ValueError(f"unknown schedule of betas: {kind!r} (known: cosine, linear, scaled_linear)")
    default = LINEAR if kind == "linear" else SCALED_LINEAR
    first, last = default[0] if start is None else start, default[1] if end is None else end
    if not (0 < first < 1 and 0 < last < 1):
        raise ValueError(f"betas must lie between 0 and 1, not {first} to {last}")
    power = 1 if kind == "linear" else 2
    a, b = first ** (1 / power), last ** (1 / power)
    return [(a + (b - a) * i / max(T - 1, 1)) ** power for i in range(T)]


class DiscreteVP:
    """A variance-preserving path of T levels, as DDPM-type networks know it: ``u`` is the index, 0 to T - 1.

    Between two indices lam is interpolated (log-linear in sigma / alpha), so alpha^2 + sigma^2 = 1 everywhere.
    """

    discrete = True
    chart = 0.0
    lo = 0.0
    clean = -1.0

    def __init__(self, betas: Sequence[float]) -> None:
        """Raises ValueError for no betas or one outside 0 <= beta <= 1."""
        if not betas or not all(0 <= b <= 1 for b in betas):
            raise ValueError("betas must be a non-empty sequence of numbers between 0 and 1")
        self.hi = len(betas) - 1.0
        abar = 1.0
        self._levels: list[Level] = []
        for i, beta in enumerate(betas):
            abar *= 1 - beta
            self._levels.append(Level(float(i), math.sqrt(abar), math.sqrt(1 - abar)))
        self._falling = [-level.lam for level in self._levels]  # ascending, for bisect

    def __len__(self) -> int:
        return len(self._levels)

    def level(self, u: float) -> Level:
        if not self.lo <= u <= self.hi:
            raise ValueError(f"level {u} lies outside 0 to {self.hi:g}")
        i = int(u)
        if i == u:
            return self._levels[i]
        w = u - i
        return Level(u, *_vp(-(1 - w) * self._falling[i] - w * self._falling[i + 1]))

    def at(self, lam: float) -> Level:
        j = min(max(bisect_left(self._falling, -lam), 1), len(self) - 1)
        before, after = self._falling[j - 1], self._falling[j]
        u = j - 1 + (-lam - before) / (after - before) if math.isfinite(after) else float(j)
        return Level(min(max(u, self.lo), self.hi), *_vp(lam))


class Flow:
    """The straight path of rectified flow and flow matching (Lipman et al. 2022, arXiv:2210.02747): alpha = 1 - s,
    sigma = s.

    `shift` bends the clock towards the noise (Esser et al. 2024, arXiv:2403.03206, eq. 23): s = shift * u / (1 +
    (shift - 1) * u). `clock` turns s into the time the network was trained with.
    """

    discrete = False
    chart = 1.0
    lo = 1e-3
    hi = 1.0
    clean = 0.0

    def __init__(self, shift: float = 1.0, clock: Callable[[float], float] = lambda s: s) -> None:
        """Raises ValueError unless shift > 0."""
        if not shift > 0:
            raise ValueError(f"shift must be above 0, not {shift}")
        self.shift, self.clock = shift, clock

    def level(self, u: float) -> Level:
        if not 0 <= u <= 1:
            raise ValueError(f"level {u} lies outside 0 to 1")
        bend = 1 + (self.shift - 1) * u
        s = self.shift * u / bend
        return Level(self.clock(s), (1 - u) / bend, s)

    def at(self, lam: float) -> Level:
        e = math.exp(-abs(lam))
        big, small = 1 / (1 + e), e / (1 + e)
        alpha, sigma = (big, small) if lam > 0 else (small, big)
        return Level(self.clock(sigma), alpha, sigma)


def _vp(lam: float) -> tuple[float, float]:
    """(alpha, sigma) with alpha^2 + sigma^2 = 1, exact at both ends."""
    e = math.exp(-abs(lam))
    big = 1 / math.hypot(1, e)
    return (big, e * big) if lam > 0 else (e * big, big)
