"""Grids: the list of levels a run visits. It always says where it ends; no solver computes a previous step."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import index
from typing import NamedTuple, TypeAlias

from .paths import CLEAN, Level, Path, require

Counts: TypeAlias = int | Sequence[int]


class Span(NamedTuple):
    """What a rule makes its levels of: `n` (`counts` by section) on `path`, from the clock `top` down by `whole`."""

    path: Path
    n: int
    counts: Sequence[int]
    top: float
    whole: float
    rho: float

    def at(self, clocks: Sequence[float], rounds: bool = False) -> list[Level]:
        low, rounds = self.path.clean, rounds and self.path.discrete
        return [self.path.level(max(low + round(u - low) if rounds else u, self.path.lo)) for u in clocks]

    def stride(self) -> float:
        return self.whole // self.n if self.path.discrete else self.whole / self.n

    def indices(self) -> range:
        require(self.path.discrete, "this grid needs a path of whole levels; take trailing")
        return range(int(self.whole))

    def between(self, curve: Callable[[float, float, float], float], chart: float | None = None) -> list[Level]:
        """The noisiest level, the least noisy one, and between them those where k = sigma / (alpha + chart * sigma), by
        default the path's own coordinate, is curve(most, least, share of the steps that are left)."""
        w, ends = self.path.chart if chart is None else chart, self.at([self.top, self.path.lo])
        require(ends[0].alpha + w * ends[0].sigma > 0, "this grid needs some signal at the start; take trailing")
        most, least = (level.sigma / (level.alpha + w * level.sigma) for level in ends)
        ks = [curve(most, least, left) for left in _ramp(1, 0, self.n)[1:-1]]
        return [ends[0], *(self.path.at(-math.log(k / (1 - w * k))) for k in ks), ends[1]][: self.n]


def _openai(span: Span) -> list[Level]:
    chosen, first = [], 0
    for k, count in enumerate(span.counts):
        size = len(span.indices()[k :: len(span.counts)])
        require(count <= size, f"a section of {size} levels has no grid of {count} steps")
        stride = (size - 1) / max(count - 1, 1)  # added up as OpenAI does, which decides how a half is rounded
        chosen += [first + round(step) for step in accumulate([stride] * (count - 1), initial=0.0)]
        first += size
    return span.at(chosen[::-1])


def _ddim(span: Span) -> list[Level]:
    rows = [row for k in range(1, len(span.indices()) + 1) if len(row := span.indices()[::k]) == span.n]
    require(bool(rows), f"no whole stride through {len(span.indices())} levels visits {span.n} of them")
    return span.at(rows[0][::-1])


def _ays(span: Span, table: Sequence[float]) -> list[Level]:
    most, lams, places = span.path.level(span.top), [-math.log(sigma) for sigma in table], range(len(table))
    within = lams[0] - 0.01 < most.lam < lams[-1]
    require(within, "ays is a table for the noise levels of Stable Diffusion, which this path has not")
    stops = _ramp(_interpolate(most.lam, lams, places), places[-1], span.n + 1)
    return [most, *(span.path.at(_interpolate(stop, places, lams)) for stop in stops[1:-1])]


def _epss(span: Span) -> list[Level]:
    require(span.n in EPSS, f"epss has tables for {', '.join(map(str, EPSS))} steps, not for {span.n}")
    return span.at([span.top - k / 32 * span.whole for k in EPSS[span.n]])


AYS = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
AYS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.38, 0.234, 0.113, 0.029)
AYS_SVD = (700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)
EPSS = {5: (0, 2, 4, 8, 16), 6: (0, 2, 4, 6, 8, 16), 7: (0, 2, 4, 6, 8, 16, 24), 10: (0, 2, 4, 6, 8, *range(12, 32, 4))}
EPSS |= {12: (*range(0, 16, 2), *range(16, 32, 4)), 16: (*range(9), 10, 12, 14, *range(16, 32, 4))}
SPACINGS: dict[str, Callable[[Span], list[Level]]] = {
    # equal steps of the clock from the noisiest level down, the clean end excluded (Lin et al. 2023, arXiv:2305.08891)
    "trailing": lambda span: span.at([span.top - i * span.whole / span.n for i in range(span.n)], rounds=True),
    # equal steps of the clock from the least noisy level up (multiples of T // n): starts a step below the noisiest
    "leading": lambda span: span.at([span.path.lo + i * span.stride() for i in reversed(range(span.n))]),
    # equal distances from the noisiest level to the least noisy one; openai in whole indices
    "linspace": lambda span: span.at(_ramp(span.top, span.path.lo, span.n)),
    "openai": _openai,
    # every k-th index from 0 up, k the whole stride that visits n of them (OpenAI's "ddim25")
    "ddim": _ddim,
    # equal steps of k^(1/rho), rho = 7 unless given (Karras et al. 2022, arXiv:2206.00364, eq. 5)
    "karras": lambda span: span.between(
        lambda a, b, left: (b ** (1 / span.rho) + left * (a ** (1 / span.rho) - b ** (1 / span.rho))) ** span.rho
    ),
    # equal ratios of k; log k falling as the power rho of the steps left (k-diffusion), rho = 1 unless given
    "exponential": lambda span: span.between(lambda a, b, left: b * (a / b) ** left),
    "polyexponential": lambda span: span.between(lambda a, b, left: b * (a / b) ** left**span.rho),
    # equal steps of lam to the least noisy level (Lu et al. 2022; on VP exponential), and short of it (smalldiffusion)
    "lu": lambda span: span.between(lambda a, b, left: b * (a / b) ** left, chart=0),
    "loglinear": lambda span: SPACINGS["lu"](span._replace(n=span.n + 1))[:-1],
    # k at the quantiles of the distribution Beta(0.6, 0.6) (Lee et al. 2024, arXiv:2407.12173)
    "beta": lambda span: span.between(lambda a, b, left: b + (a - b) * _beta_quantile(left)),
    # Align Your Steps for Stable Diffusion 1.5, XL, Video (Sabour et al. 2024, arXiv:2404.14507), log-linear in between
    "ays": lambda span: _ays(span, AYS),
    "ays_sdxl": lambda span: _ays(span, AYS_SDXL),
    "ays_svd": lambda span: _ays(span, AYS_SVD),
    # F5-TTS (arXiv:2410.06885): the clock bent by a cosine (sway of -1); the pruned tables, in 1/32 of the clock
    "sway": lambda span: span.at(
        [span.top - (1 - math.cos(math.pi / 2 * i / span.n)) * span.whole for i in range(span.n)]
    ),
    "epss": _epss,
    # every level of a discrete path; n is their number
    "all": lambda span: span.at(span.indices()[::-1]),
}


def grid(
    path: Path, n: Counts, spacing: str | None = None, *, end: Level = CLEAN, start: float = 1, rho: float | None = None
) -> list[Level]:
    """The `n` levels at which the network is called, noisiest first, and `end`. SPACINGS says what each `spacing` does;
    None is the path's own. `start` below 1 begins at that share of the path's clock, all n steps below it: the strength
    of picture-to-picture, as a noise level. For openai, `n` may be counts of steps for equal sections of the levels,
    the clean one first. Steps of no length are left out, so a grid may be shorter. Raises ValueError where a number is
    out of its range, or the path or this n has no such grid."""
    spacing = path.spacing if spacing is None else {"polyexp": "polyexponential"}.get(spacing, spacing)
    counts = list(n) if isinstance(n, Sequence) else [index(n)]
    require(spacing in SPACINGS, f"unknown spacing {spacing!r} (known: {', '.join(SPACINGS)})")
    require(0 < start <= 1, f"a run starts at a share of the noise above 0 and up to 1, not {start}")
    require(min(counts, default=0) >= 1, f"a run needs at least 1 step, not {n}")
    require(len(counts) == 1 or spacing == "openai", f"only openai has sections, {spacing} takes one number of steps")
    whole = round(start * (path.hi - path.clean), 9)  # 0.57 of 100 levels are 57
    rho = (7.0 if spacing == "karras" else 1.0) if rho is None else rho
    span = Span(path, sum(counts), counts, path.clean + whole, whole, rho)
    require(not path.discrete or span.n <= whole, f"a path of {whole:g} levels has no grid of {span.n} steps")
    require(spacing != "all" or not path.discrete or span.n == whole, f"all levels are {whole:g} here, not {span.n}")
    levels = SPACINGS[spacing](span)
    # sigma / (alpha + sigma) tells noisier from cleaner and is finite everywhere
    shares = [level.sigma / (level.alpha + level.sigma) for level in (*levels, end)]
    steps = zip(levels, shares, [2.0, *shares], strict=False)
    kept = [level for level, share, before in steps if shares[-1] < share < before]
    require(bool(kept), "no level of this grid is noisier than its end")
    return [*kept, end]


def _ramp(a: float, b: float, n: int) -> list[float]:
    return [a + (b - a) * i / max(n - 1, 1) for i in range(n)]


def _interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """The straight line through the two points next to x; xs rise."""
    i = min(max(bisect_left(xs, x), 1), len(xs) - 1)
    return ys[i - 1] + (ys[i] - ys[i - 1]) * (x - xs[i - 1]) / (xs[i] - xs[i - 1])


def _beta_quantile(p: float, a: float = 0.6) -> float:
    """Where the distribution Beta(a, a) has reached p: Newton's method on the series of its integral (DLMF 8.17.7)."""
    if p > 0.5:
        return 1 - _beta_quantile(1 - p, a)
    parts = list(accumulate(range(1, 100), lambda part, n: part * (n - a) / n, initial=1.0))

    def integral(x: float) -> float:
        return x**a * sum(part * x**n / (a + n) for n, part in enumerate(parts))

    aim = 2 * p * integral(0.5)
    x = (a * aim) ** (1 / a)
    for _ in range(8):
        x -= (integral(x) - aim) * (x * (1 - x)) ** (1 - a)
    return x
