"""Grids: the list of levels a run visits. It always says where it ends; no solver computes a previous step."""

from __future__ import annotations

import math

from .level import CLEAN, Level, Path

SPACINGS = ("trailing", "leading", "linspace", "karras")


def grid(path: Path, n: int, spacing: str = "trailing", *, end: Level = CLEAN, rho: float = 7.0) -> list[Level]:
    """The `n` levels at which the network is called, noisiest first, and `end`.

    ==========  =====================================================================================================
    trailing    equal steps of the clock from the noisiest level down, the clean end excluded (Lin et al. 2023,
                arXiv:2305.08891, table 2); whole indices on a discrete path
    leading     equal steps of the clock from the least noisy level up (multiples of T // n on a discrete path), so that
                a run starts a step below the noisiest
    linspace    n equal distances from the noisiest level to the least noisy one, both visited
    karras      equal steps of k^(1/rho), where k = sigma / (alpha + chart * sigma) is the path's own coordinate
                (Karras et al. 2022, arXiv:2206.00364, eq. 5)
    ==========  =====================================================================================================

    A level as clean as `end` would make a step of no length and is left out, so a grid may be shorter than n + 1.
    Raises ValueError for an unknown spacing, n < 1, n above the number of levels of a discrete path, or a karras grid
    on a path whose own coordinate is infinite at the start.
    """
    if n < 1:
        raise ValueError(f"a run needs at least 1 step, not {n}")
    whole = path.hi - path.clean  # on a discrete path the number of its levels
    if path.discrete and n > whole:
        raise ValueError(f"a path of {whole:g} levels has no grid of {n} steps")
    if spacing == "trailing":
        clocks = [path.hi - i * whole / n for i in range(n)]
        levels = [path.level(round(u) if path.discrete else u) for u in clocks]
    elif spacing == "leading":
        stride = whole // n if path.discrete else whole / n
        levels = [path.level(path.lo + stride * i) for i in reversed(range(n))]
    elif spacing == "linspace":
        levels = [path.level(u) for u in _ramp(path.hi, path.lo, n)]
    elif spacing == "karras":
        noisiest, cleanest = path.level(path.hi), path.level(path.lo)
        if noisiest.alpha + path.chart * noisiest.sigma == 0:
            raise ValueError("a karras grid needs a path with some signal at its start; take trailing")
        first, last = ((lv.sigma / (lv.alpha + path.chart * lv.sigma)) ** (1 / rho) for lv in (noisiest, cleanest))
        inner = [root**rho for root in _ramp(first, last, n)[1:-1]]
        levels = [noisiest, *(path.at(-math.log(k / (1 - path.chart * k))) for k in inner), cleanest][:n]
    else:
        raise ValueError(f"unknown spacing {spacing!r} (known: {', '.join(SPACINGS)})")
    # sigma / (alpha + sigma) tells noisier from cleaner and is finite everywhere
    while levels and levels[-1].sigma * (end.alpha + end.sigma) <= end.sigma * (levels[-1].alpha + levels[-1].sigma):
        levels.pop()
    return [*levels, end]


def _ramp(a: float, b: float, n: int) -> list[float]:
    return [a + (b - a) * i / max(n - 1, 1) for i in range(n)]
