"""What a sampler that was chosen by name has from a preset."""

from __future__ import annotations

import pytest

from difftool.core import DiscreteVP, betas
from difftool.errors import DifftoolError
from difftool.sampling.choice import choose_sampler, preset_steps


@pytest.mark.parametrize(
    ("sampler", "own", "like", "steps"),
    [
        (None, "dpmpp_2m", 25, 16),
        ("Euler a", "dpmpp_2m", 25, 16),  # has no number of its own
        ("lcm", "dpmpp_2m", 25, None),  # has one: 4
        ("ddpm", "dpmpp_2m", 25, None),  # visits every level
        ("lcm", "lcm", 25, 16),
        (None, "ddpm", None, 16),
        ("DDPM", "dpmpp_2m", None, 16),
        ("DPM++ 2M Karras", "dpmpp_2m", None, 16),
        ("euler", "dpmpp_2m", None, None),
    ],
)
def test_the_steps_of_a_preset(sampler: str | None, own: str, like: int | None, steps: int | None) -> None:
    assert preset_steps(sampler, own, 16, like) == steps


def test_a_name_that_is_none() -> None:
    with pytest.raises(DifftoolError) as wrong:
        preset_steps("eulr", "ddim", 16)
    assert wrong.value.code == 2


@pytest.mark.parametrize(("schedule", "asked", "steps"), [("ddim_uniform", 13, 14), ("beta57", 500, 459)])
def test_its_settings_make_the_same_grid(schedule: str, asked: int, steps: int) -> None:
    """They contain the steps that were asked for, not those of the grid."""
    path = DiscreteVP(betas("linear"))
    choice = choose_sampler(path, "ddim", asked, schedule)
    assert choice.settings["steps"] == asked
    assert choice.steps == steps
    assert choose_sampler(path, **choice.settings).levels == choice.levels  # type: ignore[arg-type]
