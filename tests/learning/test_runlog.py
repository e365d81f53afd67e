"""What a run says of itself."""

from __future__ import annotations

import numpy as np
import pytest

from difftool.learning.runlog import improving, training_seconds

ROUGH = np.random.default_rng(0).standard_normal(1000)


def said(losses: object, name: str = "loss") -> str:
    return improving([{"loss": 1.0} | {name: float(value)} for value in np.asarray(losses)]).split(":")[0]


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        (
            [1.55, 1.42, 1.30, 1.21, 1.17, 1.13, 1.10, 1.09, 1.08, 1.05],
            "too short to tell if it is still improving",
        ),
        (np.ones(10), "too short to tell if it is still improving"),
        (1 + 0.3 * ROUGH[:40], "too short to tell if it is still improving"),  # a fall of a tenth would not show
        (1.5 * 0.97 ** np.arange(30) + 0.01 * ROUGH[:30], "still improving"),
        (2 - np.arange(200) / 400 + 0.02 * ROUGH[:200], "still improving"),
        (1 + 0.02 * ROUGH[:200], "no longer improving"),
        (np.ones(200), "no longer improving"),
        (1 + np.arange(200) / 400 + 0.02 * ROUGH[:200], "getting worse"),
    ],
)
def test_no_more_is_said_than_the_losses_show(losses: object, verdict: str) -> None:
    assert said(losses) == verdict


def test_the_held_out_loss_speaks_where_there_is_enough_of_it() -> None:
    assert said(1 + np.arange(25) / 100, "held_out") == "getting worse"
    assert said(1 + np.arange(24) / 100, "held_out") == "too short to tell if it is still improving"


def test_chance_is_seldom_taken_for_a_course() -> None:
    """Of runs that stand still, one in twenty at most may seem to move."""
    runs = [said(1 + 0.05 * np.random.default_rng(k).standard_normal(25)) for k in range(400)]
    assert sum(not run.startswith(("no longer", "too short")) for run in runs) <= 20


def test_the_time_of_the_updates_is_counted_and_that_of_interruptions_is_not() -> None:
    lines = [
        {"images": 100, "loss": 1.0, "images_per_second": 50.0},
        {"images": 300, "loss": 1.0, "images_per_second": 100.0},
        {"images": 400, "loss": 1.0},  # by an older version
        {"finished": True, "quality": None, "notes": []},
    ]
    assert training_seconds(lines) == 4.0
    assert training_seconds([]) == 0.0
