"""A sampler as somebody chose it by name: its grid on a model's path, its strength of noise, and its run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..core.grid import grid
from ..core.paths import Level, Path
from ..core.predict import Denoised, Predict, Target
from ..core.solve import SAMPLERS, Sampler, State
from ..errors import DifftoolError, Exit
from ..limits import MOST
from . import aliases

if TYPE_CHECKING:
    from torch import Tensor

    from ..core.solve import Draw

USUAL = Sampler._field_defaults["steps"]
"""Steps of a sampler that asks for no number of its own."""
ALL_LEVELS = 1000
"""Steps of "all levels" on a path that has no whole ones."""


class Choice(NamedTuple):
    """A row of SAMPLERS on a grid, every default filled in."""

    sampler: str
    schedule: str
    eta: float | None
    levels: list[Level]
    path: Path
    variance: str
    """That of ddpm: small, large or learned."""

    @property
    def steps(self) -> int:
        return len(self.levels) - 1

    @property
    def settings(self) -> dict[str, object]:
        """The arguments of `choose` that give this choice again."""
        return {"sampler": self.sampler, "steps": self.steps, "schedule": self.schedule, "eta": self.eta}

    @property
    def calls(self) -> int:
        """How often the sampler asks the network."""
        import torch

        made = []

        def predict(x: Tensor, level: Level) -> Denoised:
            made.append(level)
            return Denoised(x, torch.zeros_like(x))

        for _ in self.run(predict, torch.zeros(1), lambda i, j: torch.zeros(1)):
            pass
        return len(made)

    def run(self, predict: Predict, x: Tensor, noise: Draw) -> Iterator[State]:
        """The states after each step from x."""
        row = SAMPLERS[self.sampler]
        options, strength = dict(row.defaults), strength_of(row)
        if strength and self.eta is not None:
            options[strength] = self.eta
        if self.sampler == "ddpm":
            options["variance"] = self.variance
        return row.solver(predict, x, self.levels, **options, noise=noise, path=self.path)


def choose(
    path: Path,
    sampler: str,
    steps: int | None = None,
    schedule: str | None = None,
    eta: float | None = None,
    variance: str = "small",
    start: float = 1.0,
) -> Choice:
    """What a sampler's name and its options mean on a path. `sampler` and `schedule` may be any names of `names`;
    `steps` (None) are the sampler's own, `schedule` (None) is the path's; `start` as in `grid`. Raises DifftoolError 2
    for what does not fit."""
    named = aliases.sampler(sampler)
    spacing = (named.schedule if schedule is None else aliases.schedule(schedule)) or path.spacing
    row = SAMPLERS[named.row]
    strength = strength_of(row)
    if eta is not None and strength is None:
        raise DifftoolError(Exit.USAGE, f"{named.row} has no eta", "leave out --eta")
    if eta is not None and not 0 <= eta <= 1:
        raise DifftoolError(Exit.USAGE, f"eta must be a number from 0 to 1, not {eta}", "leave out --eta")
    if steps is None:
        every = round(path.hi - path.clean) if path.discrete else ALL_LEVELS
        steps = every if spacing == "all" else row.steps or every
    if not 1 <= steps <= MOST:
        raise DifftoolError(Exit.USAGE, f"steps must be at least 1 and at most {MOST:,}, not {steps}", "try --steps 25")
    try:
        levels = grid(path, steps, spacing, start=start)
    except ValueError as error:
        raise DifftoolError(Exit.USAGE, str(error), "choose other --steps or another --schedule") from error
    eta = next((value for value in (eta, named.eta) if value is not None), row.defaults.get(strength or ""))
    return Choice(named.row, spacing, eta, levels, path, variance)


def preset_steps(sampler: str | None, own: str, steps: int, like: int | None = USUAL) -> int | None:
    """The `steps` of a preset for its `own` sampler (None), and for others whose number is `like`; else None, as a
    sampler has a number of its own. Raises DifftoolError 2 for a name that is none."""
    row = aliases.sampler(own if sampler is None else sampler).row
    return steps if row == aliases.sampler(own).row or SAMPLERS[row].steps == like else None


def refuse_pure_noise(name: str, target: Target, choice: Choice) -> None:
    """Raises DifftoolError 2 where a grid starts in pure noise and the network predicts that noise, from which x0 would
    be a division by zero."""
    first = choice.levels[0]
    a, b = target(first)
    if a * first.alpha == b * first.sigma:
        what = f"{name} predicts the noise, which says nothing at pure noise, where {choice.schedule} starts"
        raise DifftoolError(Exit.USAGE, what, "try --schedule leading, which starts a step below it")


def strength_of(row: Sampler) -> str | None:
    """The option of a sampler that says how much fresh noise it draws; None where it has none."""
    return next((key for key in ("eta", "sde") if key in row.defaults), None)
