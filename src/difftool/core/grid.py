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
Curve: TypeAlias = Callable[[float, float, float], float]


class Span(NamedTuple):
    """The input of a spacing rule: `n` steps (`counts` by section) on `path`, from the clock `top` down by `whole`."""

    path: Path
    n: int
    counts: Sequence[int]
    top: float
    whole: float
    rho: float

    def at(self, clocks: Sequence[float], rounds: bool = False) -> list[Level]:
        low = self.path.clean
        if rounds and self.path.discrete:
            clocks = [low + round(u - low) for u in clocks]
        return [self.path.level(max(u, self.path.lo)) for u in clocks]

    def stride(self) -> float:
        return self.whole // self.n if self.path.discrete else self.whole / self.n

    def indices(self) -> range:
        require(self.path.discrete, "this spacing needs a discrete path; use trailing")
        return range(int(self.whole))

    def between(self, curve: Curve, chart: float | None = None) -> list[Level]:
        """The noisiest level, the least noisy one, and between them those where k = sigma / (alpha + chart * sigma), by
        default the path's own coordinate, is curve(most, least, share of the steps that are left)."""
        w = self.path.chart if chart is None else chart
        noisiest, cleanest = self.at([self.top, self.path.lo])
        require(noisiest.alpha + w * noisiest.sigma > 0, "this spacing cannot start at pure noise; use trailing")
        most, least = (level.sigma / (level.alpha + w * level.sigma) for level in (noisiest, cleanest))
        inner = _ramp(1, 0, self.n)[1:-1]
        ks = [curve(most, least, left) for left in inner]
        levels = [self.path.at(-math.log(k / (1 - w * k))) for k in ks]
        return [noisiest, *levels, cleanest][: self.n]


def _trailing(span: Span) -> list[Level]:
    """Equal steps of the clock from the noisiest level down, the clean end excluded (Lin et al. 2023,
    arXiv:2305.08891)."""
    return span.at([span.top - i * span.whole / span.n for i in range(span.n)], rounds=True)


def _leading(span: Span) -> list[Level]:
    """Equal steps of the clock from the least noisy level up, multiples of T // n: starts a step below the noisiest."""
    stride = span.stride()
    return span.at([span.path.lo + i * stride for i in reversed(range(span.n))])


def _linspace(span: Span) -> list[Level]:
    """Equal distances from the noisiest level to the least noisy one."""
    return span.at(_ramp(span.top, span.path.lo, span.n))


def _openai(span: Span) -> list[Level]:
    """The same in whole indices, by section."""
    chosen, first = [], 0
    for k, count in enumerate(span.counts):
        size = len(span.indices()[k :: len(span.counts)])
        require(count <= size, f"a section of {size} levels is too small for {count} steps")
        stride = (size - 1) / max(count - 1, 1)  # added up as OpenAI does, which decides how a half is rounded
        chosen += [first + round(step) for step in accumulate([stride] * (count - 1), initial=0.0)]
        first += size
    return span.at(chosen[::-1])


def _ddim(span: Span) -> list[Level]:
    """Every k-th index from 0 up, k the whole stride that visits n of them (OpenAI's "ddim25")."""
    indices = span.indices()
    rows = [indices[::k] for k in range(1, len(indices) + 1)]
    fitting = [row for row in rows if len(row) == span.n]
    require(bool(fitting), f"no integer stride through {len(indices)} levels gives {span.n} steps")
    return span.at(fitting[0][::-1])


def _karras(span: Span) -> list[Level]:
    """Equal steps of k^(1/rho), rho = 7 unless given (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    rho = span.rho

    def curve(most: float, least: float, left: float) -> float:
        low = least ** (1 / rho)
        return (low + left * (most ** (1 / rho) - low)) ** rho

    return span.between(curve)


def _exponential(span: Span, chart: float | None = None) -> list[Level]:
    """Equal ratios of k (k-diffusion)."""
    return span.between(lambda most, least, left: least * (most / least) ** left, chart)


def _polyexponential(span: Span) -> list[Level]:
    """log k falling as the power rho of the steps left (k-diffusion), rho = 1 unless given."""
    return span.between(lambda most, least, left: least * (most / least) ** left**span.rho)


def _lu(span: Span) -> list[Level]:
    """Equal steps of lam to the least noisy level (Lu et al. 2022); on VP exponential."""
    return _exponential(span, chart=0)


def _loglinear(span: Span) -> list[Level]:
    """The same short of the least noisy level (smalldiffusion)."""
    return _lu(span._replace(n=span.n + 1))[:-1]


def _beta(span: Span) -> list[Level]:
    """k at the quantiles of the distribution Beta(0.6, 0.6) (Lee et al. 2024, arXiv:2407.12173)."""
    return span.between(lambda most, least, left: least + (most - least) * _beta_quantile(left))


AYS = {
    "ays": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "ays_sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.38, 0.234, 0.113, 0.029),
    "ays_svd": (700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
"""Align Your Steps for Stable Diffusion 1.5, XL and Video: sigma / alpha (Sabour et al. 2024, arXiv:2404.14507)."""


def _ays(name: str) -> Callable[[Span], list[Level]]:
    """A table of AYS, log-linear in between."""

    def levels(span: Span) -> list[Level]:
        most = span.path.level(span.top)
        lams = [-math.log(sigma) for sigma in AYS[name]]
        places = range(len(lams))
        within = lams[0] - 0.01 < most.lam < lams[-1]
        require(within, "ays is defined only for the noise levels of Stable Diffusion")
        first = _interpolate(most.lam, lams, places)
        stops = _ramp(first, places[-1], span.n + 1)[1:-1]
        return [most, *(span.path.at(_interpolate(stop, places, lams)) for stop in stops)]

    return levels


def _sway(span: Span) -> list[Level]:
    """The clock bent by a cosine (F5-TTS, arXiv:2410.06885: sway of -1)."""
    bends = [1 - math.cos(math.pi / 2 * i / span.n) for i in range(span.n)]
    return span.at([span.top - bend * span.whole for bend in bends])


EPSS = {
    5: (0, 2, 4, 8, 16),
    6: (0, 2, 4, 6, 8, 16),
    7: (0, 2, 4, 6, 8, 16, 24),
    10: (0, 2, 4, 6, 8, *range(12, 32, 4)),
    12: (*range(0, 16, 2), *range(16, 32, 4)),
    16: (*range(9), 10, 12, 14, *range(16, 32, 4)),
}
"""F5-TTS's pruned tables, in 1/32 of the clock."""


def _epss(span: Span) -> list[Level]:
    require(span.n in EPSS, f"epss has tables for {', '.join(map(str, EPSS))} steps, not for {span.n}")
    return span.at([span.top - k / 32 * span.whole for k in EPSS[span.n]])


def _all(span: Span) -> list[Level]:
    """Every level of a discrete path; n is their number."""
    return span.at(span.indices()[::-1])


SPACINGS: dict[str, Callable[[Span], list[Level]]] = {
    "trailing": _trailing,
    "leading": _leading,
    "linspace": _linspace,
    "openai": _openai,
    "ddim": _ddim,
    "karras": _karras,
    "exponential": _exponential,
    "polyexponential": _polyexponential,
    "lu": _lu,
    "loglinear": _loglinear,
    "beta": _beta,
    **{name: _ays(name) for name in AYS},
    "sway": _sway,
    "epss": _epss,
    "all": _all,
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
    require(0 < start <= 1, f"start must be above 0 and at most 1, not {start}")
    require(min(counts, default=0) >= 1, f"the number of steps must be at least 1, not {n}")
    require(
        len(counts) == 1 or spacing == "openai",
        f"only openai supports sections; {spacing} takes a single number of steps",
    )
    whole = round(start * (path.hi - path.clean), 9)  # 0.57 of 100 levels are 57
    rho = (7.0 if spacing == "karras" else 1.0) if rho is None else rho
    span = Span(path, sum(counts), counts, path.clean + whole, whole, rho)
    require(not path.discrete or span.n <= whole, f"{whole:g} levels are too few for {span.n} steps")
    require(
        spacing != "all" or not path.discrete or span.n == whole,
        f"schedule all takes {whole:g} steps on this path, not {span.n}",
    )
    levels = SPACINGS[spacing](span)
    # sigma / (alpha + sigma) tells noisier from cleaner and is finite everywhere
    shares = [level.sigma / (level.alpha + level.sigma) for level in (*levels, end)]
    before = [2.0, *shares]
    kept = [level for level, share, last in zip(levels, shares, before, strict=False) if shares[-1] < share < last]
    require(bool(kept), "no level of the grid is noisier than its end")
    return [*kept, end]


def _ramp(a: float, b: float, n: int) -> list[float]:
    return [a + (b - a) * i / max(n - 1, 1) for i in range(n)]


def _interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """The straight line through the two points next to x; xs rise."""
    after = min(max(bisect_left(xs, x), 1), len(xs) - 1)
    before = after - 1
    rise, run = ys[after] - ys[before], xs[after] - xs[before]
    return ys[before] + rise * (x - xs[before]) / run


def _beta_quantile(p: float, a: float = 0.6) -> float:
    """Where the distribution Beta(a, a) has reached p: Newton's method on the series of its integral (DLMF 8.17.7)."""
    if p > 0.5:
        return 1 - _beta_quantile(1 - p, a)
    parts = list(accumulate(range(1, 100), lambda part, n: part * (n - a) / n, initial=1.0))

    def integral(x: float) -> float:
        series = sum(part * x**n / (a + n) for n, part in enumerate(parts))
        return x**a * series

    aim = 2 * p * integral(0.5)
    x = (a * aim) ** (1 / a)
    for _ in range(8):
        miss = integral(x) - aim
        x -= miss * (x * (1 - x)) ** (1 - a)
    return x
