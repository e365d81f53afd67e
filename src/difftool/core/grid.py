"""Grids: the list of levels a run visits. It always says where it ends; no solver computes a previous step."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate
from operator import index
from pathlib import Path as FilePath
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

    @property
    def total(self) -> int:
        """The number of levels: those of a discrete path, 1,000 of a continuous one, as ComfyUI has them."""
        return int(self.whole) if self.path.discrete else 1000

    def numbered(self, numbers: Iterable[float]) -> list[Level]:
        """The levels with these numbers, from 0 (the least noisy) to `total` - 1. On a continuous path they are even in
        the clock of a flow, and in log sigma where sigma is the clock (Karras)."""
        if self.path.discrete:
            return self.at([*numbers])
        if self.path.chart:
            return self.at([self.whole * (number + 1) / self.total for number in numbers])
        ratio, last = self.path.lo / self.top, self.total - 1
        return self.at([self.top * ratio ** (1 - number / last) for number in numbers])

    def left(self) -> list[float]:
        """The share of the steps that are left at each step: 1 to 1 / n."""
        return [1 - i / self.n for i in range(self.n)]

    def ends(self, chart: float | None = None) -> tuple[float, float]:
        """The most and the least of k = sigma / (alpha + chart * sigma), by default the path's own coordinate."""
        w = self.path.chart if chart is None else chart
        noisiest, cleanest = self.at([self.top, self.path.lo])
        require(noisiest.alpha + w * noisiest.sigma > 0, "this spacing cannot start at pure noise; use trailing")
        most, least = (level.sigma / (level.alpha + w * level.sigma) for level in (noisiest, cleanest))
        return most, least

    def below(self, ks: Iterable[float], chart: float | None = None) -> list[Level]:
        """The noisiest level, and below it those with these k."""
        w = self.path.chart if chart is None else chart
        levels = self.at([self.top])
        for k in ks:
            ratio = k / (1 - w * k)  # sigma / alpha
            levels.append(self.path.at(-math.log(ratio)))
        return levels

    def between(self, curve: Curve, chart: float | None = None) -> list[Level]:
        """The noisiest level, the least noisy one, and between them those where k is curve(most, least, share of the
        steps that are left)."""
        most, least = self.ends(chart)
        ks = [curve(most, least, left) for left in _ramp(1, 0, self.n)[1:-1]]
        return [*self.below(ks, chart), *self.at([self.path.lo])][: self.n]


Rule: TypeAlias = Callable[[Span], list[Level]]


class Spacing(NamedTuple):
    """A row of SPACINGS."""

    rule: Rule
    title: str
    """What it does, in a line."""


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


def _normal(span: Span) -> list[Level]:
    """The same by the number of the level (ComfyUI)."""
    return span.numbered(_ramp(span.total - 1, 0, span.n))


def _simple(span: Span) -> list[Level]:
    """Every (T / n)-th level from the noisiest one down, rounded towards it (ComfyUI)."""
    last = span.total - 1
    stride = span.total / span.n
    return span.numbered(last - int(i * stride) for i in range(span.n))


def _sgm_uniform(span: Span) -> list[Level]:
    """Equal steps from the noisiest level, the least noisy one excluded (Stability AI's generative-models)."""
    last = span.total - 1
    return span.numbered(last * left for left in span.left())


def _ddim_uniform(span: Span) -> list[Level]:
    """Every (T // n)-th level from level 1 up, so often one more than n (ComfyUI)."""
    first, stride = min(1, span.total - 1), max(span.total // span.n, 1)
    numbers = range(first, span.total, stride)
    return span.numbered(reversed(numbers))


def _smoothstep(span: Span) -> list[Level]:
    """Numbers along u^2 (3 - 2 u), u from 1 to 0 (stable-diffusion.cpp)."""
    last = span.total - 1
    shares = [u * u * (3 - 2 * u) for u in span.left()]
    return span.numbered(round(last * share) for share in shares)


def _beta_numbers(a: float, b: float) -> Rule:
    """Numbers at the quantiles of the distribution Beta(a, b) (ComfyUI, RES4LYF)."""

    def levels(span: Span) -> list[Level]:
        last = span.total - 1
        quantiles = (_beta_quantile(left, a, b) for left in span.left())
        places = [round(last * quantile, 9) for quantile in quantiles]  # a half must be one exactly
        return span.numbered(map(round, places))

    return levels


def _kl_optimal(span: Span) -> list[Level]:
    """Equal steps of the arc tangent of k (Sabour et al. 2024, arXiv:2404.14507, appendix)."""

    def curve(most: float, least: float, left: float) -> float:
        angle = left * math.atan(most) + (1 - left) * math.atan(least)
        return math.tan(angle)

    return span.between(curve)


def _bong_tangent(span: Span) -> list[Level]:
    """k along two arc tangents, which meet halfway after 60 % of the steps (RES4LYF)."""
    most, least = span.ends()
    points = span.n + 2
    turn, slope = int(0.6 * points), 8 / points
    half = (most + least) / 2
    first = [math.atan(slope * (turn - x)) for x in range(turn)]
    second = [-math.atan(slope * x) for x in range(points - turn)]
    ks = [*_rescaled(first, most, half), *_rescaled(second, half, least)[1:-1]]  # the last one is clean data
    return span.below(ks[1:])


def _linear_quadratic(span: Span) -> list[Level]:
    """Half of the steps fall by 0.025 of k in all, the others quadratically to the end (Genmo's Mochi)."""
    most, _ = span.ends()
    n, knee = span.n, 0.025
    linear = n // 2
    falls = [knee * i / linear for i in range(linear)]
    if linear:
        rest = n - linear
        excess = linear - knee * n  # so that the parabola goes on with the slope of the line and ends at 1
        a = excess / (linear * rest**2)
        b = knee / linear - 2 * excess / rest**2
        c = a * linear**2
        falls += [a * i * i + b * i + c for i in range(linear, n)]
    return span.below(most * (1 - fall) for fall in falls[1:])


def _logit_normal(span: Span) -> list[Level]:
    """The clock at the quantiles of a logit-normal distribution of deviation 1.75, with log SNR from -18 up (Ideogram
    4, whose flow has the shift sqrt(tokens / 1024))."""
    from statistics import NormalDist  # every command line imports this file

    normal = NormalDist(sigma=1.75)
    quantiles = [math.inf, *(normal.inv_cdf(left) for left in span.left()[1:])]
    shares = [1 / (1 + math.exp(-y)) for y in quantiles]
    levels = span.at([span.path.clean + span.whole * share for share in shares])
    return [level if level.lam > -9 else span.path.at(-9) for level in levels]


def _lu(span: Span) -> list[Level]:
    """Equal steps of lam to the least noisy level (Lu et al. 2022); on VP exponential."""
    return _exponential(span, chart=0)


def _loglinear(span: Span) -> list[Level]:
    """The same short of the least noisy level (smalldiffusion)."""
    return _lu(span._replace(n=span.n + 1))[:-1]


def _beta(span: Span) -> list[Level]:
    """k at the quantiles of the distribution Beta(0.6, 0.6) (Lee et al. 2024, arXiv:2407.12173)."""
    return span.between(lambda most, least, left: least + (most - least) * _beta_quantile(left, 0.6, 0.6))


AYS = {
    "ays": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "ays_sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.38, 0.234, 0.113, 0.029),
    "ays_svd": (700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
"""Align Your Steps for Stable Diffusion 1.5, XL and Video: sigma / alpha (Sabour et al. 2024, arXiv:2404.14507)."""


def _ays(name: str) -> Rule:
    return lambda span: _tabulated(span, AYS[name], "ays")


def _tabulated(span: Span, sigmas: Sequence[float], name: str) -> list[Level]:
    """A table of sigma / alpha, log-linear in between."""
    most = span.path.level(span.top)
    lams = [-math.log(sigma) for sigma in sigmas]
    places = range(len(lams))
    within = lams[0] - 0.01 < most.lam < lams[-1]
    require(within, f"{name} is defined only for the noise levels of Stable Diffusion")
    first = _interpolate(most.lam, lams, places)
    stops = _ramp(first, places[-1], span.n + 1)[1:-1]
    return [most, *(span.path.at(_interpolate(stop, places, lams)) for stop in stops)]


@cache
def _gits_tables() -> dict[float, dict[int, list[float]]]:
    """sigma / alpha of gits, by coefficient and number of steps."""
    tables = {}
    file = FilePath(__file__).with_name("gits.json")
    for coefficient, rows in json.loads(file.read_text()).items():
        tables[float(coefficient)] = {len(row) - 1: row for row in rows}
    return tables


def _gits(span: Span) -> list[Level]:
    """Tables found by a search with a teacher, for 2 to 20 steps; other numbers log-linear in the longest (Chen et al.
    2024, arXiv:2405.11326)."""
    tables = _gits_tables()
    known = ", ".join(f"{coefficient:.2f}" for coefficient in tables)
    require(span.rho in tables, f"gits has tables for the coefficients {known}, not for {span.rho:g}")
    rows = tables[span.rho]
    longest = rows[max(rows)]
    return _tabulated(span, rows.get(span.n, longest), "gits")


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


SPACINGS: dict[str, Spacing] = {
    "trailing": Spacing(_trailing, "equal steps of the clock from the noisiest level, the clean end excluded"),
    "leading": Spacing(_leading, "equal steps of the clock from the least noisy level up"),
    "linspace": Spacing(_linspace, "equal distances of the clock from the noisiest level to the least noisy one"),
    "normal": Spacing(_normal, "the same by number of the level: ComfyUI's normal"),
    "simple": Spacing(_simple, "every (T / n)-th level from the noisiest one: ComfyUI's simple"),
    "sgm_uniform": Spacing(_sgm_uniform, "equal steps from the noisiest level, the least noisy one excluded"),
    "ddim_uniform": Spacing(_ddim_uniform, "every (T // n)-th level from level 1; often one step more"),
    "openai": Spacing(_openai, "equal distances in whole levels: OpenAI's, with sections"),
    "ddim": Spacing(_ddim, "every k-th level from 0, k whole: OpenAI's ddimN"),
    "karras": Spacing(_karras, "equal steps of (sigma / alpha)^(1/7): Karras et al."),
    "exponential": Spacing(_exponential, "equal ratios of sigma / alpha"),
    "polyexponential": Spacing(_polyexponential, "the same bent by a power"),
    "lu": Spacing(_lu, "equal steps of log SNR to the least noisy level: Lu et al."),
    "loglinear": Spacing(_loglinear, "equal steps of log SNR, short of the least noisy level"),
    "beta": Spacing(_beta, "sigma / alpha at the quantiles of Beta(0.6, 0.6): the beta of AUTOMATIC1111 and diffusers"),
    "beta66": Spacing(
        _beta_numbers(0.6, 0.6), "levels at the quantiles of Beta(0.6, 0.6): the beta of ComfyUI and sd.cpp"
    ),
    "beta57": Spacing(_beta_numbers(0.5, 0.7), "levels at the quantiles of Beta(0.5, 0.7): RES4LYF's"),
    "smoothstep": Spacing(_smoothstep, "levels along a smooth step: stable-diffusion.cpp's"),
    "kl_optimal": Spacing(_kl_optimal, "equal steps of the arc tangent of sigma / alpha"),
    "bong_tangent": Spacing(_bong_tangent, "two arc tangents that meet halfway: RES4LYF's, for res_2s"),
    "linear_quadratic": Spacing(_linear_quadratic, "half of the steps near pure noise, then a parabola: Mochi's"),
    "logit_normal": Spacing(_logit_normal, "quantiles of a logit-normal distribution: Ideogram's"),
    "ays": Spacing(_ays("ays"), "Align Your Steps: table for Stable Diffusion 1.5"),
    "ays_sdxl": Spacing(_ays("ays_sdxl"), "Align Your Steps: table for SDXL"),
    "ays_svd": Spacing(_ays("ays_svd"), "Align Your Steps: table for Stable Video Diffusion"),
    "gits": Spacing(_gits, "GITS: tables for Stable Diffusion, 2 to 20 steps"),
    "sway": Spacing(_sway, "the clock bent by a cosine: F5-TTS"),
    "epss": Spacing(_epss, "tables for 5, 6, 7, 10, 12 and 16 steps: F5-TTS"),
    "all": Spacing(_all, "every level of a discrete path"),
}
RHO = {"karras": 7.0, "gits": 1.2}
"""The usual `rho` of a spacing; that of the others is 1."""


def grid(
    path: Path, n: Counts, spacing: str | None = None, *, end: Level = CLEAN, start: float = 1, rho: float | None = None
) -> list[Level]:
    """The `n` levels at which the network is called, noisiest first, and `end`. SPACINGS says what each `spacing` does;
    None is the path's own. `start` below 1 begins at that share of the path's clock, all n steps below it: the strength
    of picture-to-picture, as a noise level. For openai, `n` may be counts of steps for equal sections of the levels,
    the clean one first. `rho` is the exponent of karras and polyexponential and the coefficient of gits, 0.80 to 1.50.
    Steps of no length are left out, so a grid may be shorter; that of ddim_uniform may be one longer. Raises ValueError
    where a number is out of its range, or the path or this n has no such grid."""
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
    rho = RHO.get(spacing, 1.0) if rho is None else rho
    span = Span(path, sum(counts), counts, path.clean + whole, whole, rho)
    require(not path.discrete or span.n <= whole, f"{whole:g} levels are too few for {span.n} steps")
    if spacing == "all" and path.discrete:
        require(span.n == whole, f"schedule all takes {whole:g} steps on this path, not {span.n}")
    levels = SPACINGS[spacing].rule(span)
    # the share of noise tells noisier from cleaner and is finite everywhere
    shares = [level.share for level in (*levels, end)]
    before = accumulate([2.0, *shares], min)
    rows = zip(levels, shares, before, strict=False)
    kept = [level for level, share, last in rows if shares[-1] < share < last]
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


def _rescaled(values: Sequence[float], first: float, last: float) -> list[float]:
    """Falling values, moved and stretched to begin and end with these."""
    if len(values) == 1:
        return [first]
    low = values[-1]
    scale = (first - last) / (values[0] - low)
    return [last + scale * (value - low) for value in values]


def _beta_quantile(p: float, a: float, b: float) -> float:
    """Where the distribution Beta(a, b) has reached p: Newton's method on the series of its integral (DLMF 8.17.7)."""
    low, high = _beta_integral(0.5, a, b), _beta_integral(0.5, b, a)
    aim = p * (low + high)
    if aim > low:
        return 1 - _beta_quantile(1 - p, b, a)
    x = (a * aim) ** (1 / a)
    for _ in range(8):
        miss = _beta_integral(x, a, b) - aim
        slope = (x * (1 - x)) ** (1 - a) * (1 - x) ** (a - b)
        x -= miss * slope
    return x


def _beta_integral(x: float, a: float, b: float) -> float:
    """The integral of t^(a - 1) (1 - t)^(b - 1) from 0 to x."""
    parts = accumulate(range(1, 100), lambda part, n: part * (n - b) / n, initial=1.0)
    series = sum(part * x**n / (a + n) for n, part in enumerate(parts))
    return x**a * series
