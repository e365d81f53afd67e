"""The guide's way to a laboratory at home: what is bought when, and what it carries."""

from __future__ import annotations

from typing import NamedTuple

from ..presets import family
from .facts import Gpu, Machine
from .verdicts import FITS, Preset, judge, presets


class Stage(NamedTuple):
    """A step of the way."""

    name: str
    about: str
    gpus: list[str]
    instead: str
    """What the guide would have instead of the newest of them."""
    parts: dict[str, str]
    carries: list[str]
    """Presets that run on one of its GPUs, without flags that save memory."""
    adds: list[str]
    """Those that did not on the stage before."""


def stages() -> list[Stage]:
    """All steps, in order."""
    told = family("hardware")
    found: list[Stage] = []
    for name, row in told["stages"].items():
        sizes = {gpu: told["gpus"][gpu]["vram"] * 2**30 for gpu in row["gpus"]}
        cards = tuple(
            Gpu(k, gpu, "", tuple(told["gpus"][gpu]["capability"]), size, int(size * 0.95))
            for k, (gpu, size) in enumerate(sizes.items())
        )
        ram = row["ram"] * 2**30
        machine = Machine(system="", python="", gpus=cards, ram=ram, ram_free=int(ram * 0.9))
        fitting = [one.name for one in presets() if any(_fits(machine, gpu, one) for gpu in cards)]
        carries = list(dict.fromkeys(fitting))  # train and txt2img both have one of the name shapes
        before = found[-1].carries if found else []
        adds = [one for one in carries if one not in before]
        found.append(Stage(name, row["about"], row["gpus"], row["or"], row["parts"], carries, adds))
    return found


def _fits(machine: Machine, gpu: Gpu, preset: Preset) -> bool:
    return judge(machine._replace(gpus=(gpu._replace(number=0),)), preset).verdict == FITS
