"""Options of F5-TTS, and their values in its presets."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ....core.grid import EPSS
from ....core.paths import SWAYS, Flow
from ....core.solve import SAMPLERS
from ....errors import DifftoolError, Exit, pick
from ....limits import SPEED
from ....presets import preset
from ....sampling import aliases
from ....sampling.choice import Choice
from ....settings import MACHINE, SAMPLING, TEXT, exclude_each_other, knows, one_of, plain, setting
from ...settings import Settings
from ..sampling import SpeechOptions
from .files import architectures

MODES = ("package",)
"""Modes of --compat: f5-tts 1.1.22."""
SWAY = -1.0
"""The sway of the model's own grid."""


@knows(lambda: MODES)
def known_mode(name: str) -> str:
    """One of MODES. Raises DifftoolError 2 for another name."""
    return pick("compat", plain(name), {mode: mode for mode in MODES})


def seconds_of(edit: str) -> list[tuple[float, float]]:
    """The stretches of a list such as 3.2-4.1,7-8, in seconds. Raises DifftoolError 2 for an invalid list."""
    number = r"\s*(\d{1,6}(?:\.\d{0,9})?)\s*"
    spans = []
    for piece in edit.split(","):
        match = re.fullmatch(f"{number}-{number}", piece, re.ASCII)
        if match is None:
            message = f"{edit!r} is not a list of stretches"
            raise DifftoolError(Exit.USAGE, message, "use seconds such as 3.2-4.1,7-8")
        spans.append((float(match[1]), float(match[2])))
    return spans


def known_edit(edit: str) -> str:
    """A list of stretches. Raises DifftoolError 2 for anything else."""
    seconds_of(edit)
    return edit


@dataclass(frozen=True)
class Options(SpeechOptions):
    """Options of F5-TTS; None is the preset's value. Its guidance is cfg_strength of f5-tts plus 1."""

    sway: float | None = setting(
        None,
        "Sway of the steps; default: -1.",
        panel=SAMPLING,
        least=SWAYS[0],
        most=SWAYS[1],
        filled=True,
    )
    speed: float = setting(1.0, "Speaking rate.", panel=SAMPLING, **SPEED)
    checkpoint: str | Path | None = setting(
        None, "Checkpoint of F5-TTS to use instead of the installed one.", panel=MACHINE, typed=Path | None
    )
    vocabulary: str | Path | None = setting(
        None, "The vocab.txt of --checkpoint; default: the one beside it.", panel=MACHINE, typed=Path | None
    )
    architecture: str | None = setting(
        None,
        "Architecture of --checkpoint: v1, v0, v1-small or v0-small.",
        panel=MACHINE,
        check=one_of("architecture", architectures),
    )
    compat: str | None = setting(
        None,
        "Reproduce tortoise-tts: stock, stock-kv; or f5-tts: package.",
        panel=MACHINE,
        check=known_mode,
    )
    edit: str | None = setting(
        None,
        "Stretches of --recording to replace, in seconds.",
        panel=TEXT,
        metavar="3.2-4.1",
        check=known_edit,
    )
    recording: str | Path | None = setting(
        None, "Recording to edit; TEXT is its full text after the edit.", panel=TEXT, typed=Path | None
    )


def path_of(sway: float) -> Flow:
    """The noise levels, by the time of the network: 0 is noise, 1 is speech."""
    return Flow(clock=lambda s: 1 - s, sway=sway)


def choice_of(options: Options) -> Choice:
    """The sampler of filled options."""
    from ....sampling.choice import choose_sampler

    assert options.sampler is not None
    assert options.sway is not None
    return choose_sampler(path_of(options.sway), options.sampler, options.steps, options.schedule, options.eta)


def filled(settings: Settings, options: Options) -> tuple[Settings, Options]:
    """Both with the values of the preset, as `Engine.filled`."""
    from ....sampling.choice import preset_steps
    from ....sampling.guidance import check_guidance

    row = preset("f5", settings.preset)
    sampler = options.sampler or row["sampler"]
    named = aliases.sampler(sampler)
    steps = options.steps or preset_steps(options.sampler, row["sampler"], row["steps"]) or SAMPLERS[named.row].steps
    schedule, sway = options.schedule, options.sway
    is_own = schedule is None and named.schedule is None
    if is_own and steps in EPSS:
        schedule = "epss"
    if sway is None:
        sway = SWAY if is_own else 0.0
    guidance = options.guidance_with(sampler, row["guidance"])
    own = replace(options, sampler=sampler, steps=steps, schedule=schedule, sway=sway, guidance=guidance)
    choice = choice_of(own)
    own = replace(own, **choice.settings)
    check_guidance(own, choice, "F5-TTS", guidance != 1, "add --guidance 3")
    _check_edit(own)
    if own.compat:
        _check_compat(settings, own)
    return settings, own


def _check_edit(options: Options) -> None:
    """Raises DifftoolError 2 for one of --edit and --recording, and an edit as f5-tts makes it."""
    if options.edit is None and options.recording is None:
        return
    if options.edit is None or options.recording is None:
        given, other = ("--recording", "--edit") if options.edit is None else ("--edit", "--recording")
        raise DifftoolError(Exit.USAGE, f"{given} needs {other}", f"add {other}, or leave out {given}")
    if options.compat:
        raise exclude_each_other("--edit", "--compat")  # f5-tts changes the whole recording


def _check_compat(settings: Settings, options: Options) -> None:
    """Raises DifftoolError 2 for what f5-tts does not do."""
    from ....sampling.guidance import chosen

    assert options.steps is not None
    own_schedule = "epss" if options.steps in EPSS else "trailing"
    if options.sampler not in ("euler", "ddim") or options.eta:
        raise DifftoolError(Exit.USAGE, f"f5-tts does not support {options.sampler}", "use --sampler euler")
    if options.schedule != own_schedule:
        message = f"f5-tts does not support the schedule {options.schedule} with {options.steps} steps"
        raise DifftoolError(Exit.USAGE, message, "leave out --schedule")
    if given := chosen(options):
        raise DifftoolError(Exit.USAGE, f"f5-tts does not support {given[0]}", f"leave out {given[0]}")
    if not -(2**63) <= settings.seed < 2**64 - settings.candidates:
        raise DifftoolError(Exit.USAGE, "f5-tts supports only 64-bit seeds", "use a smaller --seed")
