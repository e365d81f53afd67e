"""Options of Tortoise, and their values in its presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ....errors import DifftoolError, Exit, pick
from ....limits import MAX_COUNT
from ....presets import preset
from ....sampling import aliases
from ....settings import MACHINE, SAMPLING, knows, plain, setting
from ...settings import MOST_CANDIDATES, Settings
from ..sampling import SpeechOptions

MODES = ("stock", "stock-kv")
"""Modes of --compat: tortoise-tts 3.0.0 without and with its key-value cache."""
SAMPLER = "ddpm"
"""Sampler of the diffusion, where a preset names none."""


@knows(lambda: MODES)
def known_mode(name: str) -> str:
    """One of MODES. Raises DifftoolError 2 for another name."""
    return pick("compat", plain(name), {plain(mode): mode for mode in MODES})


@dataclass(frozen=True)
class Options(SpeechOptions):
    """Options of Tortoise; None is the preset's value."""

    samples: int | None = setting(
        None,
        "Samples; CLVP picks the best.",
        panel=SAMPLING,
        least=1,
        most=MOST_CANDIDATES,
        filled=True,
    )
    max_mel_tokens: int | None = setting(
        None, "Maximum codes per part; 500 codes are 23 s.", panel=SAMPLING, filled=True
    )
    temperature: float = setting(0.8, "Decoder temperature.", panel=SAMPLING, least=0, most=100)
    top_p: float = setting(
        0.8, "Sample from the most likely codes up to this total probability.", panel=SAMPLING, least=0, most=1
    )
    top_k: int = setting(50, "Sample from the K most likely codes; 0 is off.", panel=SAMPLING, least=0, most=MAX_COUNT)
    repetition_penalty: float = setting(
        2.0, "Penalty for repeated codes; 1 is off.", panel=SAMPLING, least=1e-3, most=1e3
    )
    diffusion_temperature: float = setting(1.0, "Scale of the noise.", panel=SAMPLING, least=0, most=10)
    compat: str | None = setting(
        None,
        "Reproduce tortoise-tts: stock, stock-kv; or f5-tts: package.",
        panel=MACHINE,
        check=known_mode,
    )
    ar_checkpoint: str | Path | None = setting(
        None, "Checkpoint to use instead of autoregressive.pth.", panel=MACHINE, typed=Path | None
    )


def is_plain(settings: Settings, options: Options) -> bool:
    """Whether texts are spoken unchanged, as tortoise-tts does."""
    return options.compat is not None or settings.engine == "stock"


def filled(settings: Settings, options: Options) -> tuple[Settings, Options]:
    """Both with the values of the preset, as `Engine.filled`."""
    row = preset("voice", settings.preset)
    samples = row["samples"] if options.samples is None else options.samples
    if settings.candidates > samples:
        message = f"candidates must be at most the number of samples, {samples}, not {settings.candidates}"
        raise DifftoolError(Exit.USAGE, message, "use fewer --candidates or more --samples")
    usual = row.get("sampler", SAMPLER)
    sampler = usual if options.sampler is None else options.sampler
    named = aliases.sampler(sampler)
    schedule, steps = options.schedule, options.steps
    if schedule is None and named.schedule is None and named.row == "ddpm":
        schedule = "openai"
    if steps is None and named.row in (usual, "ddpm"):
        steps = row["steps"]
    guidance = options.guidance_with(sampler, row["guidance"])
    own = replace(options, samples=samples, sampler=sampler, steps=steps, schedule=schedule, guidance=guidance)
    return settings, _chosen(settings, own)


def _chosen(settings: Settings, options: Options) -> Options:
    """The options with sampler, schedule, steps and eta resolved for the path of the diffusion."""
    from ....sampling.choice import choose_sampler
    from ....sampling.guidance import check_guidance, chosen
    from .synthesis import PATH

    assert options.sampler is not None
    choice = choose_sampler(PATH, options.sampler, options.steps, options.schedule, options.eta, variance="learned")
    check_guidance(options, choice, "the diffusion of Tortoise", options.guidance != 1, "add --guidance 3")
    if is_plain(settings, options):
        if (choice.sampler, choice.schedule) != ("ddpm", "openai"):
            message = f"tortoise-tts does not support {choice.sampler} with the schedule {choice.schedule}"
            raise DifftoolError(Exit.USAGE, message, "leave out --schedule, and use --sampler ddpm")
        if choice.eta != 1:
            raise DifftoolError(Exit.USAGE, "tortoise-tts does not support --eta", "leave out --eta")
        if given := chosen(options):
            raise DifftoolError(Exit.USAGE, f"tortoise-tts does not support {given[0]}", f"leave out {given[0]}")
        if not -(2**63) <= settings.seed < 2**64:
            raise DifftoolError(Exit.USAGE, "tortoise-tts supports only 64-bit seeds", "use a smaller --seed")
    return replace(options, **choice.settings)
