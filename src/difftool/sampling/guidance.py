"""Guidance as it was chosen: its mode, where it acts, and what it needs of a run."""

from __future__ import annotations

import math

from ..core.guide import MODES, Scale, zero_init
from ..core.paths import Flow
from ..core.predict import Predict
from ..errors import DifftoolError, Exit
from ..settings import name_of, options
from .choice import Choice
from .settings import GuidanceSettings

NORM = 15 / 256
"""The limit of APG as a share of the norm of unit noise: 15 for the latents of SDXL, as its authors chose."""
ZERO = 0.04
"""The share of the steps that CFG-Zero* begins with and that stand still (its authors' choice)."""


def guided(
    settings: GuidanceSettings, choice: Choice, cond: Predict, uncond: Predict | None, scale: Scale, values: int
) -> Predict:
    """The predictions `cond` and `uncond` (None: `cond` makes both) of items of so many values, guided."""
    mode, more = settings.guidance_mode, {}
    if mode == "apg":
        more["limit"] = NORM * math.sqrt(values)
    elif mode == "tcfg":
        more["chart"] = choice.path.chart
    interval = settings.guidance_interval or (0.0, 1.0)
    more |= {"rescale": settings.guidance_rescale, "interval": interval, "keep": choice.needs_uncond}
    return MODES[mode](cond, uncond, scale, **more)


def started(settings: GuidanceSettings, choice: Choice, predict: Predict) -> Predict:
    """The prediction with the beginning of its mode: `zero_init` of CFG-Zero*, in runs from (almost) pure noise."""
    first, still = choice.levels[0], round(ZERO * choice.steps)
    is_noise = first.alpha < 1e-3 * first.sigma
    if settings.guidance_mode != "cfg_zero" or not (still and is_noise):
        return predict
    return zero_init(predict, choice.levels[still].share)


def check_guidance(settings: GuidanceSettings, choice: Choice, name: str, is_on: bool, hint: str) -> None:
    """Raises DifftoolError 2 for guidance that has no meaning: without a scale (`hint` says how to set it), for another
    kind of model, or at no step of the run."""
    given = chosen(settings)
    if given and not is_on:
        message = f"{given[0]} has no effect without guidance"
        raise DifftoolError(Exit.USAGE, message, f"{hint}, or leave out {given[0]}")
    if settings.guidance_mode == "cfg_zero" and not isinstance(choice.path, Flow):
        message = f"cfg_zero is for flow models, and {name} is not one"
        raise DifftoolError(Exit.USAGE, message, "try --guidance-mode apg")
    low, high = settings.guidance_interval or (0.0, 1.0)
    shares = [level.share for level in choice.levels[:-1]]
    if not any(low <= share <= high for share in shares):
        message = f"no step lies in the guidance interval from {low:g} to {high:g}"
        raise DifftoolError(Exit.USAGE, message, f"the steps are at {shares[0]:.2f} to {shares[-1]:.2g}; widen it")


def chosen(settings: GuidanceSettings) -> list[str]:
    """The options of guidance that differ from plain guidance."""
    defaults = GuidanceSettings()
    return [
        name_of(name, option)
        for name, option in options(GuidanceSettings).items()
        if getattr(settings, name) != getattr(defaults, name)
    ]
