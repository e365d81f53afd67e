"""Names of samplers and schedules in AUTOMATIC1111, k-diffusion, diffusers, ComfyUI, stable-diffusion.cpp and InvokeAI.
Spellings are normalised: "DPM++ 2M Karras", dpm++2m_karras and dpmpp_2m with --schedule karras are the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..core.grid import SPACINGS
from ..core.solve import SAMPLERS
from ..errors import DifftoolError, Exit, unknown


class Named(NamedTuple):
    """The meaning of a sampler's name; as text, its canonical name."""

    row: str
    """Its key in SAMPLERS."""
    schedule: str | None = None
    """Its key in SPACINGS, if the name includes a schedule."""
    eta: float | None = None
    """Strength of the noise, if it differs from the row's default."""

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
    "deismultistep": Named("deis"),
    "gradientestimation": Named("euler_ge"),
    "gradientestimationcfgpp": Named("euler_ge_cfg_pp"),
    "ipndmv": Named("lms_x0"),
    "expheun2x0": Named("exp_heun"),
    "expheun2x0sde": Named("exp_heun_sde"),
}
"""Names that are not just another spelling of a row."""
NEAREST = {
    "dpmfast": "dpmpp_2s_a",
    "dpmadaptive": "dpm2",
    "dpmsolversinglestep": "dpmpp_2s_a",
    "dpmpp2mv2": "dpmpp_2m",
    "restart": "heun",
    "ddiminverse": "ddim",
    "dpmpp2sacfgpp": "euler_cfg_pp",
    "tcd": "lcm",
}
"""Samplers of other tools without a row here, and the nearest row."""
SUFFIXES = {"karras": "karras", "exponential": "exponential", "k": "karras"}
"""Suffixes of samplers' names and their schedules; InvokeAI writes euler_k."""
SCHEDULES = {
    **dict.fromkeys(("automatic", "native"), None),
    **dict.fromkeys(("uniform", "discrete"), "linspace"),
    "alignyoursteps": "ays",
    "polyexp": "polyexponential",
    "usekarrassigmas": "karras",
    "useexponentialsigmas": "exponential",
    "usebetasigmas": "beta",
    "uselulambdas": "lu",
}
"""Names of schedules that are not just another spelling, and the options of diffusers; None is the model's own grid.
Uniform of AUTOMATIC1111 and discrete of stable-diffusion.cpp are the equal distances of k-diffusion."""
NEAREST_SCHEDULE = {
    "alignyourstepsgits": "gits",
    "alignyoursteps11": "ays",
    "alignyoursteps32": "ays",
    "lcm": "trailing",
    "turbo": "trailing",
    "useflowsigmas": "trailing",
}
"""Schedules of other tools without a row here, and the nearest row."""


def sampler(name: str) -> Named:
    """Resolves the name of a sampler. Raises DifftoolError 2, with the nearest name, if it is unknown."""
    plain = _normalised(name)
    rows = {_normalised(row.title): name for name, row in SAMPLERS.items()} | _rows(SAMPLERS)
    for end, spacing in (("", None), *SUFFIXES.items()):
        bare = plain.removesuffix(end)
        if not plain.endswith(end):
            continue
        for key in (re.sub("^(sample|k)|(discrete)?(scheduler)?$", "", bare), bare):
            key = key.replace("ancestral", "a")
            named = Named(rows[key]) if key in rows else ALIASES.get(key)
            if named is not None:
                return named._replace(schedule=spacing or named.schedule)
            if key in NEAREST:
                raise _missing("sampler", name, NEAREST[key], SAMPLERS)
    raise unknown("sampler", name, SAMPLERS)


def schedule(name: str) -> str | None:
    """Resolves the name of a schedule to its key in SPACINGS, or None for the model's own. Raises DifftoolError 2, with
    the nearest name, if it is unknown."""
    plain = _normalised(name)
    if plain in SCHEDULES:
        return SCHEDULES[plain]
    if plain in NEAREST_SCHEDULE:
        raise _missing("schedule", name, NEAREST_SCHEDULE[plain], SPACINGS)
    if plain not in _rows(SPACINGS):
        raise unknown("schedule", name, SPACINGS)
    return _rows(SPACINGS)[plain]


def _normalised(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower().replace("++", "pp"))


def _rows(table: Iterable[str]) -> dict[str, str]:
    return {_normalised(row): row for row in table}


def _missing(kind: str, name: str, near: str, table: Iterable[str]) -> DifftoolError:
    message = f"{kind} {name!r} is not available; the nearest is {near!r}"
    return DifftoolError(Exit.USAGE, message, f"known: {', '.join(table)}")
