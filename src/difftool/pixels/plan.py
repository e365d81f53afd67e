"""What a run of drawing will be: every default filled in, and everything checked, before anything is drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import processes
from ..device import choose, name_of
from ..errors import DifftoolError, Exit, unknown
from ..limits import MOST
from ..models import Model, open_model
from ..sampling import choice
from ..sampling.choice import Choice

BATCH_VALUES, BATCH_ITEMS = 2**20, 256
"""Numbers and pictures in a batch where nobody says how large: 21 pictures of 128x128 RGB, 256 small ones."""
ANY = "any"
"""The label that means all of them."""


class Plan(NamedTuple):
    """A run with every default filled in."""

    model: Model
    way: Choice
    """From noise to pictures."""
    labels: list[str | None]
    settings: dict[str, Any]
    """The arguments of `plan` that give this plan again."""

    @property
    def calls(self) -> int:
        """Calls of the network for one batch, as the sampler makes them."""
        return self.way.calls * (1 if self.settings["guidance"] == 1 else 2)

    @property
    def steps(self) -> int:
        """Steps of all batches."""
        return self.way.steps * len(batches(self, self.settings["batch_size"]))


def plan(
    model: str | Path | Model | None = None,
    *,
    sampler: str = "ddim",
    steps: int | None = None,
    schedule: str | None = None,
    eta: float | None = None,
    guidance: float = 1.0,
    label: str | Sequence[str] | None = None,
    count: int = 16,
    seed: int = 0,
    batch_size: int | None = None,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    threads: int | None = None,
) -> Plan:
    """Opens the model, unless it is open, and checks the settings of `sample`, without drawing."""
    if not abs(guidance) <= 1e30:
        raise DifftoolError(Exit.USAGE, f"guidance must be a number, not {guidance}", "leave out --guidance for 1")
    for name, value in (("count", count), ("batch size", batch_size)):
        if value is not None and not 1 <= value <= MOST:
            what = f"{name} must be at least 1 and at most {MOST:,}, not {value}"
            raise DifftoolError(Exit.USAGE, what, "see difftool sample --help")
    where, number = choose(device, dtype, threads)
    where = processes.begin(where)
    opened = model if isinstance(model, Model) else open_model(model, where, number)
    labels = read_labels(label, opened, count)
    if guidance != 1 and not (opened.any_label and None not in labels):
        unknown_any = bool(opened.classes) and not opened.any_label
        why = "never learned without labels" if unknown_any else "has no label to be guided by here"
        raise DifftoolError(Exit.USAGE, f"{opened.name} {why}", "leave out --guidance")
    way = choice.choose(opened.path, sampler, steps, schedule, eta, opened.variance)
    first = way.levels[0]
    a, b = opened.target(first)
    if a * first.alpha == b * first.sigma:
        what = f"{opened.name} predicts the noise, which says nothing at pure noise, where {way.schedule} starts"
        raise DifftoolError(Exit.USAGE, what, "try --schedule leading, which starts a step below it")
    fitting = max(1, min(BATCH_VALUES // int(np.prod(opened.shape)), BATCH_ITEMS, -(-count // processes.count())))
    settings = {
        "model": opened.source,
        **way.settings,
        "guidance": float(guidance),
        "label": label,
        "count": count,
        "seed": seed,
        "batch_size": min(fitting if batch_size is None else batch_size, count),
        "device": str(where),
        "dtype": name_of(number),
        "threads": torch.get_num_threads(),
    }
    return Plan(opened, way, labels, settings)


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
    count = plan.settings["count"]
    every = [range(first, min(first + size, count)) for first in range(0, count, size)]
    return [batch for batch in every if only is None or not set(batch).isdisjoint(only)]
