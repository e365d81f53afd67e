"""What a run of drawing will be: every default filled in, and everything checked, before anything is drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import processes
from ..device import machine_used
from ..errors import DifftoolError, Exit, unknown
from ..models import Model, open_model
from ..sampling.choice import Choice, choose, refuse_pure_noise
from ..settings import checked
from .settings import COUNT, Settings

BATCH_VALUES, BATCH_ITEMS = 2**20, 256
"""Numbers and pictures in a batch where nobody says how large: 21 pictures of 128x128 RGB, 256 small ones."""
SAMPLER = "ddim"
"""Where nobody says which."""
ANY = "any"
"""The label that means all of them."""


@dataclass(frozen=True)
class Plan:
    """A run with every default filled in."""

    model: Model
    way: Choice
    """From noise to pictures."""
    labels: list[str | None]
    settings: Settings
    """Those that give this plan again."""

    @property
    def calls(self) -> int:
        """Calls of the network for one batch, as the sampler makes them."""
        return self.way.calls * (1 if self.settings.guidance == 1 else 2)

    @property
    def steps(self) -> int:
        """Steps of all batches."""
        return self.way.steps * len(batches(self, self.batch_size))

    @property
    def count(self) -> int:
        return len(self.labels)

    @property
    def batch_size(self) -> int:
        return self.settings.batch_size or self.count


def plan(model: str | Path | Model | None = None, **settings: Any) -> Plan:
    """`planned` with these `Settings`; `model` may be one that is open."""
    if isinstance(model, Model):
        return planned(Settings(**settings), model)
    return planned(Settings(model=model, **settings))


def planned(settings: Settings, model: Model | None = None) -> Plan:
    """Opens the model, unless it is open, and checks the settings, without drawing."""
    settings = checked(settings)
    device, dtype = settings.machine()
    device = processes.begin(device)
    opened = open_model(settings.model, device, dtype) if model is None else model
    count = COUNT if settings.count is None else settings.count
    labels = read_labels(settings.label, opened, count)
    if settings.guidance != 1 and not (opened.any_label and None not in labels):
        unknown_any = bool(opened.classes) and not opened.any_label
        why = "never learned without labels" if unknown_any else "has no label to be guided by here"
        raise DifftoolError(Exit.USAGE, f"{opened.name} {why}", "leave out --guidance")
    choice = choose(
        opened.path, settings.sampler or SAMPLER, settings.steps, settings.schedule, settings.eta, opened.variance
    )
    refuse_pure_noise(opened.name, opened.target, choice)
    fitting = max(1, min(BATCH_VALUES // int(np.prod(opened.shape)), BATCH_ITEMS, -(-count // processes.count())))
    asked = 1 if settings.low_vram else settings.batch_size
    used = replace(
        settings,
        model=opened.source,
        **choice.settings,
        guidance=float(settings.guidance),
        count=count,
        batch_size=min(fitting if asked is None else asked, count),
        low_vram=False,
        **machine_used(device, dtype),
    )
    return Plan(opened, choice, labels, used)


def read_labels(label: str | Sequence[str] | None, model: Model, count: int) -> list[str | None]:
    """The class of each of `count` pictures: `label` is one, several (with commas, or in a list) in turn, "any", or
    None for all in turn."""
    if not model.classes:
        if label not in (None, ANY):
            raise DifftoolError(Exit.USAGE, f"{model.name} was trained without labels", "leave out --label")
        return [None] * count
    known = [*model.classes, *([ANY] if model.any_label else [])]
    if label is None:
        names = list(model.classes)
    elif not isinstance(label, str):
        names = list(label)
    else:
        names = [label] if label in known else [name.strip() for name in label.split(",")]  # "cats, black" may be one
    for name in names or [""]:
        if name not in known:
            raise unknown("label", str(name), known)
    return [name if name in model.classes else None for name in (names[k % len(names)] for k in range(count))]


def batches(plan: Plan, size: int, only: Collection[int] | None = None) -> list[range]:
    """The batches of a run in which a picture (or one of `only`) stands."""
    every = [range(first, min(first + size, plan.count)) for first in range(0, plan.count, size)]
    return [batch for batch in every if only is None or not set(batch).isdisjoint(only)]
