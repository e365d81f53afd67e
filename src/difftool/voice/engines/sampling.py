"""Options of engines that draw with a sampler."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.solve import SAMPLERS
from ...limits import GUIDANCE, MAX_COUNT
from ...sampling import aliases
from ...sampling.settings import GuidanceSettings, SamplerSettings, known_sampler, known_schedule
from ...settings import SAMPLING, setting


@dataclass(frozen=True)
class SpeechOptions(SamplerSettings, GuidanceSettings):
    """A sampler and its guidance; None is the preset's value."""

    sampler: str | None = setting(
        None, "Sampler; default: the preset's.", panel=SAMPLING, check=known_sampler, filled=True
    )
    steps: int | None = setting(
        None,
        "Steps; default: the preset's.",
        "--steps",
        "--diffusion-iterations",
        panel=SAMPLING,
        least=1,
        most=MAX_COUNT,
        filled=True,
    )
    schedule: str | None = setting(
        None, "Noise schedule; sample --help lists all.", panel=SAMPLING, check=known_schedule, filled=True
    )
    guidance: float | None = setting(
        None, "Guidance scale; 1 is off.", "--guidance", "--cfg", panel=SAMPLING, filled=True, **GUIDANCE
    )

    def guidance_with(self, sampler: str, usual: float) -> float:
        """The guidance scale as given; by default the `usual` one, or none with CFG++, which guides by itself."""
        if self.guidance is not None:
            return float(self.guidance)
        guides = SAMPLERS[aliases.sampler(sampler).row].defaults.get("plus")
        return 1.0 if guides else float(usual)
