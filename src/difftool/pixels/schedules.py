"""The schedules that a model can use, and their plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.grid import SPACINGS
from ..core.paths import Level
from ..errors import DifftoolError, Exit
from ..files import manifest
from ..models import Model, open_model
from ..pictures.plots import MOST_SCHEDULES, plot_schedules
from ..sampling import aliases
from ..sampling.choice import DEFAULT_STEPS, choose_sampler
from ..settings import checked
from .settings import Settings

MOST_STEPS = 10_000
"""Most steps of a list: some of its rules take 0.15 ms a step."""


class Row(NamedTuple):
    """A schedule in the list."""

    name: str
    title: str
    is_default: bool
    """Whether it is the model's own."""
    levels: Sequence[Level]
    error: str | None
    """Why the model has no such grid."""

    @property
    def steps(self) -> int | None:
        """The number of steps, which may differ from that asked for."""
        return len(self.levels) - 1 if self.levels else None


class Schedules(NamedTuple):
    """The schedules of a model for a number of steps."""

    model: Model
    steps: int
    rows: list[Row]
    chosen: list[str]
    """Those named in the settings, by default the model's own."""


def schedules_of(settings: Settings) -> Schedules:
    """The schedules for the model and the number of steps of the settings. Raises DifftoolError 2 for too many steps, 4
    if the model cannot be opened."""
    settings = checked(settings)
    model = open_model(settings.model)
    steps = settings.steps or DEFAULT_STEPS or 1
    if steps > MOST_STEPS:
        message = f"--list-schedules shows at most {MOST_STEPS:,} steps, not {steps:,}"
        raise DifftoolError(Exit.USAGE, message, "try --steps 25")
    own = model.path.spacing
    chosen = [own]
    if settings.schedule is not None:
        chosen = [aliases.schedule(name) or own for name in settings.schedule.split(",")]
    rows = []
    for name, spacing in SPACINGS.items():
        levels, error = [], None
        try:
            levels = choose_sampler(model.path, "ddim", steps, name).levels
        except DifftoolError as reason:
            error = reason.message
        rows.append(Row(name, spacing.title, name == own, levels, error))
    return Schedules(model, steps, rows, [*dict.fromkeys(chosen)])


def curves_of(known: Schedules) -> dict[str, Sequence[Level]]:
    """The chosen schedules, to be plotted. Raises DifftoolError 2 for one that the model does not have, or for too
    many."""
    if len(known.chosen) > MOST_SCHEDULES:
        message = f"--plot shows at most {MOST_SCHEDULES} schedules, not {len(known.chosen)}"
        raise DifftoolError(Exit.USAGE, message, "name fewer in --schedule")
    rows = {row.name: row for row in known.rows}
    for name in known.chosen:
        if (error := rows[name].error) is not None:
            raise DifftoolError(Exit.USAGE, error, "leave it out of --schedule, or change --steps")
    return {name: rows[name].levels for name in known.chosen}


def write_plot(path: Path, known: Schedules, curves: Mapping[str, Sequence[Level]], run_id: str) -> None:
    """Writes a PNG with a plot of schedules."""
    settings = {"model": known.model.source, "steps": known.steps, "schedule": ",".join(curves)}
    note = manifest("sample --list-schedules", run_id, settings, known.model.packages)
    plot_schedules(path, curves, f"noise schedules of {known.model.name}, {known.steps} steps", note)
