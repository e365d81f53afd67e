"""The figures of the documentation."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from difftool.core import SAMPLERS

BENCH = Path(__file__).parents[2] / "bench"


def test_a_colour_is_one_sampler_in_both_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    from samplers import AGAIN, REAL, figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, to: drawn.append(figure))
    measured = [name for name in SAMPLERS if name not in AGAIN]
    figure({name: [(5, 80.0), (50, REAL)] for name in measured}, tmp_path / "a.png")
    axes = drawn[0].axes
    lines = [line for panel in axes for line in panel.lines if line.get_label() != "real digits"]
    assert len(axes) == 2
    assert len(lines) == len(measured)
    assert len({line.get_color() for line in lines}) == len(lines)
    # where the figure is 400 pixels wide
    sizes = [text.get_fontsize() for panel in axes for text in panel.get_legend().get_texts()]
    assert min(sizes) / 72 * 400 / drawn[0].get_figwidth() >= 11
