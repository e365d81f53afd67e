"""The guide's hardware upgrade path: what to buy at each stage, and which presets it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..errors import DifftoolError, Exit, pick
from ..presets import hardware
from .facts import Gpu, Machine
from .verdicts import FITS, Preset, presets, presets_named, verdict_of


class Stage(NamedTuple):
    """A stage of the upgrade path."""

    name: str
    about: str
    gpus: Sequence[str]
    instead: str
    """The guide's alternative to the newest of the GPUs."""
    parts: Mapping[str, str]
    carries: list[str]
    """Presets that run on one of its GPUs without flags."""
    adds: list[str]
    """Presets that did not run on the previous stage."""


def stages() -> list[Stage]:
    """All stages, in order."""
    path: list[Stage] = []
    for name, row in hardware().stages.items():
        cards = tuple(_card(number, gpu) for number, gpu in enumerate(row.gpus))
        ram = row.ram * 2**30
        machine = Machine(system="", python="", gpus=cards, ram=ram, ram_free=int(ram * 0.9))
        fitting = [preset.name for preset in presets() if any(_fits(machine, gpu, preset) for gpu in cards)]
        carries = list(dict.fromkeys(fitting))  # train and txt2img both have a preset named shapes
        before = path[-1].carries if path else []
        adds = [preset for preset in carries if preset not in before]
        path.append(Stage(name, row.about, row.gpus, row.instead, row.parts, carries, adds))
    return path


def path(preset: str | None = None, stage: str | None = None) -> list[Stage]:
    """The stages up to the first that runs a preset, or all; with `stage`, only that one. Raises DifftoolError 2 for an
    unknown name, 3 if none of them runs the preset without flags."""
    known = {row.name: row for row in stages()}
    selected = [*known.values()] if stage is None else [pick("stage", stage, known)]
    if preset is None:
        return selected
    target = presets_named([preset])[0]
    for k, row in enumerate(selected):
        if target.name in row.carries:
            return selected[: k + 1]
    message = f"no stage of the guide can run {target.name} without flags"
    later = next((row.name for row in known.values() if target.name in row.carries), None)
    if later is not None:
        message = f"{stage} cannot run {target.name}, but {later} can"
    raise DifftoolError(Exit.MACHINE, message, "difftool lab check shows the flags with which it fits")


def _card(number: int, name: str) -> Gpu:
    row = pick("GPU", name, hardware().gpus)
    size = row.vram * 2**30
    return Gpu(number, name, "", row.capability, size, int(size * 0.95))


def _fits(machine: Machine, gpu: Gpu, preset: Preset) -> bool:
    return verdict_of(machine._replace(gpus=(gpu._replace(number=0),)), preset).verdict == FITS
