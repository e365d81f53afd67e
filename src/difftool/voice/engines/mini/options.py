"""Options of the voice in the package, and their values in its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ....core.paths import Flow
from ....limits import SPEED
from ....presets import preset
from ....settings import SAMPLING, setting
from ...settings import Settings
from ..sampling import SpeechOptions

PATH = Flow()
"""The noise levels that the flow was trained on."""


@dataclass(frozen=True)
class Options(SpeechOptions):
    """Options of the voice in the package; None is the preset's value."""

    speed: float = setting(1.0, "Speaking rate.", panel=SAMPLING, **SPEED)


def filled(settings: Settings, options: Options) -> tuple[Settings, Options]:
    """Both with the values of the preset, as `Engine.filled`."""
    from ....sampling.choice import choose_sampler, preset_steps
    from ....sampling.guidance import check_guidance

    row = preset("mini", settings.preset)
    sampler = options.sampler or row["sampler"]
    steps = options.steps or preset_steps(options.sampler, row["sampler"], row["steps"])
    choice = choose_sampler(PATH, sampler, steps, options.schedule, options.eta)
    guidance = options.guidance_with(sampler, row["guidance"])
    own = replace(options, guidance=guidance, **choice.settings)
    check_guidance(own, choice, "the voice in the package", guidance != 1, "add --guidance 2")
    return settings, own
