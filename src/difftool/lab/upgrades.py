"""The guide's way to a laboratory at home: what is bought when, and what it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import DifftoolError, Exit, pick
from ..presets import hardware
from .facts import Gpu, Machine
from .verdicts import FITS, Preset, chosen, judge, presets


class Stage(NamedTuple):
    """A step of the way."""

    name: str
    about: str
    gpus: Sequence[str]
    instead: str
    """What the guide would have instead of the newest of them."""
    parts: Mapping[str, str]
    carries: list[str]
    """Presets that run on one of its GPUs, without flags that save memory."""
    adds: list[str]
    """Those that did not on the stage before."""


def stages() -> list[Stage]:
    """All steps, in order."""
    found: list[Stage] = []
    for name, row in hardware().stages.items():
        cards = tuple(_card(number, gpu) for number, gpu in enumerate(row.gpus))
        ram = row.ram * 2**30
        machine = Machine(system="", python="", gpus=cards, ram=ram, ram_free=int(ram * 0.9))
        fitting = [preset.name for preset in presets() if any(_fits(machine, gpu, preset) for gpu in cards)]
        carries = list(dict.fromkeys(fitting))  # train and txt2img both have one of the name shapes
        before = found[-1].carries if found else []
        adds = [preset for preset in carries if preset not in before]
        found.append(Stage(name, row.about, row.gpus, row.instead, row.parts, carries, adds))
    return found


def path(preset: str | None = None, stage: str | None = None) -> list[Stage]:
    """The steps up to the first that carries a preset, or all; or only the one of that name. Raises DifftoolError 2 for
    a name that is none, 3 where none of them carries the preset without flags."""
    known = {step.name: step for step in stages()}
    wanted = [*known.values()] if stage is None else [pick("stage", stage, known)]
    if preset is None:
        return wanted
    target = chosen([preset])[0]
    reach = next((k for k, step in enumerate(wanted) if target.name in step.carries), None)
    if reach is not None:
        return wanted[: reach + 1]
    later = next((step.name for step in known.values() if target.name in step.carries), None)
    message = f"no stage of the guide carries {target.name} without flags"
    if later is not None:
        message = f"{stage} does not carry {target.name}, {later} does"
    raise DifftoolError(Exit.MACHINE, message, "difftool lab check tells with which flags it fits where")


def _card(number: int, name: str) -> Gpu:
    row = pick("GPU", name, hardware().gpus)
    size = row.vram * 2**30
    return Gpu(number, name, "", row.capability, size, int(size * 0.95))


def _fits(machine: Machine, gpu: Gpu, preset: Preset) -> bool:
    return judge(machine._replace(gpus=(gpu._replace(number=0),)), preset).verdict == FITS
