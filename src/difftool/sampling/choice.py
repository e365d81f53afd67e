"""A sampler selected by name: its grid on a model's path, its noise strength, and its run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import signature
from typing import TYPE_CHECKING, NamedTuple

from ..core.grid import grid
from ..core.paths import Level, Path
from ..core.predict import Denoised, Predict, Target
from ..core.solve import SAMPLERS, Churn, Sampler, Solver, State, euler
from ..errors import DifftoolError, Exit
from ..limits import MAX_COUNT
from . import aliases

if TYPE_CHECKING:
    from torch import Tensor

    from ..core.solve import Draw

DEFAULT_STEPS = Sampler._field_defaults["steps"]
"""Default number of steps of most samplers."""
ALL_LEVELS = 1000
"""Number of steps for "all levels" on a continuous path."""


class Choice(NamedTuple):
    """A row of SAMPLERS on a grid, with all defaults resolved."""

    sampler: str
    schedule: str
    eta: float | None
    levels: list[Level]
    path: Path
    variance: str
    """Variance of ddpm: small, large or learned."""
    asked: int
    """The number of steps the grid was made for; it may have one more, or fewer where two of them coincide."""
    churn: float | None = None

    @property
    def steps(self) -> int:
        return len(self.levels) - 1

    @property
    def settings(self) -> dict[str, object]:
        """The arguments of `choose_sampler` that reproduce this choice, besides the churn, which has no default."""
        return {"sampler": self.sampler, "steps": self.asked, "schedule": self.schedule, "eta": self.eta}

    @property
    def needs_uncond(self) -> bool:
        """Whether it steps with the unconditional prediction too (CFG++), whatever the guidance scale."""
        return bool(SAMPLERS[self.sampler].defaults.get("plus"))

    @property
    def calls(self) -> int:
        """The number of network calls."""
        return self.counted(lambda predict: predict)

    def counted(self, guide: Callable[[Predict], Predict]) -> int:
        """The number of network calls for an item, with guidance; a call for two items counts twice."""
        return len(self.called_at(guide))

    def called_at(self, guide: Callable[[Predict], Predict] = lambda predict: predict) -> list[Level]:
        """The levels of these calls, in their order."""
        import torch

        levels: list[Level] = []

        def predict(x: Tensor, level: Level) -> Denoised:
            levels.extend([level] * len(x))
            return Denoised(x, torch.zeros_like(x), x)

        zero = torch.zeros(1, 1, 2)
        for _ in self.run(guide(predict), zero, lambda i, j: zero):
            pass
        return levels

    def run(self, predict: Predict, x: Tensor, noise: Draw) -> Iterator[State]:
        """Yields the state after each step from x."""
        row = SAMPLERS[self.sampler]
        options, strength_option = dict(row.defaults), strength_option_of(row)
        if strength_option and self.eta is not None:
            options[strength_option] = self.eta
        if self.sampler == "ddpm":
            options["variance"] = self.variance
        solver = row.solver
        if self.churn:
            solver, options["churn"] = churning(self.sampler) or solver, Churn(self.churn)
        return solver(predict, x, self.levels, **options, noise=noise, path=self.path)


def choose_sampler(
    path: Path,
    sampler: str,
    steps: int | None = None,
    schedule: str | None = None,
    eta: float | None = None,
    variance: str = "small",
    start: float = 1.0,
    churn: float | None = None,
) -> Choice:
    """Resolves a sampler's name and options on a path.

    sampler, schedule: any names that `aliases` knows, schedule None is the path's; steps: None is the sampler's
    default; eta: strength of fresh noise, None is the sampler's; variance: that of ddpm; start: as in `grid`; churn:
    the amount of `core.solve.Churn`.

    Raises DifftoolError 2 for invalid options.
    """
    named = aliases.sampler(sampler)
    spacing = (named.schedule if schedule is None else aliases.schedule(schedule)) or path.spacing
    row = SAMPLERS[named.row]
    strength_option = strength_option_of(row)
    if eta is not None and strength_option is None:
        raise DifftoolError(Exit.USAGE, f"{named.row} does not use eta", "leave out --eta")
    if eta is not None and not 0 <= eta <= 1:
        raise DifftoolError(Exit.USAGE, f"eta must be a number from 0 to 1, not {eta}", "try --eta 0.5")
    if churn and churning(named.row) is None:
        able = ", ".join(name for name in SAMPLERS if churning(name))
        raise DifftoolError(Exit.USAGE, f"{named.row} does not use churn", f"use one of {able}, or leave out --churn")
    if steps is None:
        all_levels = round(path.hi - path.clean) if path.discrete else ALL_LEVELS
        steps = all_levels if spacing == "all" else row.steps or all_levels
    if not 1 <= steps <= MAX_COUNT:
        raise DifftoolError(
            Exit.USAGE, f"steps must be at least 1 and at most {MAX_COUNT:,}, not {steps}", "try --steps 25"
        )
    try:
        levels = grid(path, steps, spacing, start=start)
    except ValueError as error:
        raise DifftoolError(Exit.USAGE, str(error), "change --steps or --schedule") from error
    eta = next((value for value in (eta, named.eta) if value is not None), row.defaults.get(strength_option or ""))
    return Choice(named.row, spacing, eta, levels, path, variance, steps, churn)


def preset_steps(sampler: str | None, preset_sampler: str, steps: int, like: int | None = DEFAULT_STEPS) -> int | None:
    """The `steps` of a preset, for its sampler (also None) and for samplers whose default is `like`; None for the
    others, which use their own default. Raises DifftoolError 2 for an unknown name."""
    row = aliases.sampler(preset_sampler if sampler is None else sampler).row
    is_own = row == aliases.sampler(preset_sampler).row
    return steps if is_own or SAMPLERS[row].steps == like else None


def refuse_pure_noise(name: str, target: Target, choice: Choice) -> None:
    """Raises DifftoolError 2 if the grid starts at pure noise and the network predicts that noise: x0 would need a
    division by zero."""
    first = choice.levels[0]
    a, b = target(first)
    if a * first.alpha == b * first.sigma:
        message = f"{name} predicts noise, so it cannot start at pure noise as the schedule {choice.schedule} does"
        raise DifftoolError(Exit.USAGE, message, "try --schedule leading, which starts one step later")


def strength_option_of(row: Sampler) -> str | None:
    """The option that sets a sampler's noise strength; None if it has none."""
    return next((key for key in ("eta", "sde") if key in row.defaults), None)


def churning(sampler: str) -> Solver | None:
    """The solver of a sampler with which it can add noise before a step; None if it cannot. That of euler differs from
    its usual one in nothing else."""
    solver = euler if sampler == "euler" else SAMPLERS[sampler].solver
    return solver if "churn" in signature(solver).parameters else None
