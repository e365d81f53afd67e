"""The digits model in the package, judged as the design asks: against pictures it never saw, over three seeds."""

from __future__ import annotations

import numpy as np
import pytest

import difftool
from difftool.models import ASSETS
from difftool.train.data.pictures import digits
from difftool.train.quality import measure


def test_quality() -> None:
    found = [measure(difftool.sample(count=500, seed=seed), digits()) for seed in (0, 10_000, 20_000)]
    figures = {name: np.mean([one[name] for one in found]) for name in found[0]}
    assert figures["c2st"] <= 0.60
    assert figures["fd"] <= 42
    assert figures["nearest"] >= 0.8
    assert figures["legible"] >= 0.97
    assert figures["exploded"] == 0


@pytest.mark.parametrize("name", ["digits", "tones"])
def test_it_is_small(name: str) -> None:
    assert sum(path.stat().st_size for path in (ASSETS / name).iterdir()) <= 3_000_000


def test_the_voice_in_the_package_is_small() -> None:
    """Networks, lexicon and recordings of its twenty voices."""
    files = [path for name in ("mini", "voices") for path in (ASSETS / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20_000_000
