"""What others call our samplers and schedules: AUTOMATIC1111, k-diffusion, diffusers, ComfyUI, stable-diffusion.cpp and
InvokeAI. All spellings are one: "DPM++ 2M Karras", dpmpp_2m with the schedule karras, dpm++2m."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..core.grid import SPACINGS
from ..core.solve import SAMPLERS
from ..errors import DifftoolError, Exit, unknown


class Named(NamedTuple):
    """What a sampler's name says; as text in words of ours."""

    row: str
    """Of SAMPLERS."""
    schedule: str | None = None
    """Of SPACINGS, where the name has one in it."""
    eta: float | None = None
    """Strength of the noise, where the name means another than the row's."""

    def __str__(self) -> str:
        eta = None if self.eta is None else f"eta {self.eta:g}"
        return " ".join(part for part in (self.row, self.schedule, eta) if part)


ALIASES = {
    "dpmpp2s": Named("dpmpp_2s_a", eta=0.0),
    "dpmsolvermultistep": Named("dpmpp_2m"),
    "dpmsolversde": Named("dpmpp_sde"),
    "unipcmultistep": Named("unipc"),
    "flowmatcheuler": Named("euler"),
    "flowmatchheun": Named("heun"),
    "ddimtrailing": Named("ddim", "trailing"),
}
"""Names that are more than another spelling of a row."""
NEAREST = {
    "dpmfast": "dpmpp_2s_a",
    "dpmadaptive": "dpm2",
    "dpmsolversinglestep": "dpmpp_2s_a",
    "deis": "dpmpp_2m",
    "dpmpp2mv2": "dpmpp_2m",
    "ipndm": "pndm",
    "restart": "heun",
    "sasolver": "dpmpp_2m_sde",
    "ddiminverse": "ddim",
    "resmultistep": "dpmpp_2m",
    "res2s": "dpmpp_2s_a",
    "deismultistep": "dpmpp_2m",
    "tcd": "lcm",
}
"""Samplers of others that have no row here, and the row that comes nearest."""
SUFFIXES = {"karras": "karras", "exponential": "exponential", "k": "karras"}
"""What a sampler's name may end in, and the schedule that it means; InvokeAI writes euler_k."""
SCHEDULES = {
    **dict.fromkeys(("automatic", "uniform", "normal", "discrete", "native"), None),
    **dict.fromkeys(("sgmuniform", "simple"), "trailing"),
    "alignyoursteps": "ays",
    "ddimuniform": "leading",
    "polyexp": "polyexponential",
}
"""Names of schedules that are more than another spelling; None is the model's own grid."""
NEAREST_SCHEDULE = {"kloptimal": "karras"}


def sampler(name: str) -> Named:
    """What a sampler's name says. Raises DifftoolError 2 where there is no such sampler, and names the nearest."""
    plain = _plain(name)
    rows = {_plain(row.title): name for name, row in SAMPLERS.items()} | _rows(SAMPLERS)
    for end, spacing in (("", None), *SUFFIXES.items()):
        bare = plain.removesuffix(end)
        for found in (re.sub("^(sample|k)|(discrete)?(scheduler)?$", "", bare), bare):
            found = found.replace("ancestral", "a")
            named = Named(rows[found]) if found in rows else ALIASES.get(found)
            if named is not None and plain.endswith(end):
                return named._replace(schedule=spacing or named.schedule)
            if found in NEAREST and plain.endswith(end):
                raise _missing("sampler", name, NEAREST[found], SAMPLERS)
    raise unknown("sampler", name, SAMPLERS)


def schedule(name: str) -> str | None:
    """The row of SPACINGS that a schedule's name means, None for the model's own. Raises DifftoolError 2 where there is
    no such schedule, and names the nearest."""
    plain = _plain(name)
    if plain in SCHEDULES:
        return SCHEDULES[plain]
    if plain in NEAREST_SCHEDULE:
        raise _missing("schedule", name, NEAREST_SCHEDULE[plain], SPACINGS)
    if plain not in _rows(SPACINGS):
        raise unknown("schedule", name, SPACINGS)
    return _rows(SPACINGS)[plain]


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower().replace("++", "pp"))


def _rows(table: Iterable[str]) -> dict[str, str]:
    return {_plain(row): row for row in table}


def _missing(kind: str, name: str, near: str, table: Iterable[str]) -> DifftoolError:
    return DifftoolError(
        Exit.USAGE, f"there is no {kind} {name!r} here; the nearest is {near!r}", f"known: {', '.join(table)}"
    )
