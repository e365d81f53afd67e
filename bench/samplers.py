"""What each sampler makes of the digits in the package, against how often it calls the network.

    python bench/samplers.py [FILE.png]

Draws 500 pictures (the same starts for all) at 3 to 50 steps with every sampler, and measures the Frechet distance of
their pixels to 500 real ones that were never trained on, in grey levels; two sets of real pictures are 32 apart. Prints
the table and draws the figure; takes a quarter of an hour on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from difftool.core import SAMPLERS
from difftool.learning.metrics import frechet
from difftool.pixels.draw import draw_samples
from difftool.pixels.plan import plan_samples_with
from difftool.train.data.pictures import load

COUNT, SEED = 500, 1_000_000
STEPS = (3, 4, 5, 6, 8, 10, 12, 16, 25, 50)
REAL = 32
SAME = {"ddim": "ddim = euler", "euler_a": "euler_a = ddpm"}
"""On equal levels these draw the same pictures, and are measured once."""


def measured(name: str) -> list[tuple[int, float]]:
    """(calls of the network, Frechet distance) of a sampler at each number of steps."""
    pictures = load("digits")
    assert pictures.held_out is not None
    held = pictures.held_out.pixels
    real = np.round(held.reshape(len(held), -1) / 255 * 16)
    found = []
    for steps in STEPS:
        planned = plan_samples_with(sampler=name, steps=steps, count=COUNT, seed=SEED)
        drawn = draw_samples(planned).pixels.reshape(COUNT, -1)
        found.append((planned.calls, frechet(np.round(drawn / 255 * 16), real)))
    return found


def main() -> None:
    to = Path(sys.argv[1] if len(sys.argv) > 1 else "samplers.png")
    table = {}
    for name in SAMPLERS:
        if name not in ("euler", "ddpm"):
            table[name] = measured(name)
            print(f"{name:13}", "  ".join(f"{calls:3}: {fd:6.1f}" for calls, fd in table[name]), flush=True)
    figure(table, to)
    print(to)


def figure(table: dict[str, list[tuple[int, float]]], to: Path) -> None:
    made = Figure(figsize=(11, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(made)
    left, right = made.subplots(1, 2, sharex=True, sharey=True)
    for name, points in table.items():
        noisy = {"eta", "sde", "renoise"} & {key for key, value in SAMPLERS[name].defaults.items() if value}
        calls, distances = zip(*points, strict=True)
        (right if noisy else left).plot(calls, distances, marker="o", markersize=3, label=SAME.get(name, name))
    for axes, title in ((left, "deterministic"), (right, "with fresh noise")):
        axes.axhline(REAL, color="0.5", linestyle=":", label="real digits")
        axes.set(xlabel="calls of the network for one picture", title=title, xscale="log", yscale="log")
        axes.set_xticks([3, 5, 10, 20, 50, 100], ["3", "5", "10", "20", "50", "100"])
        axes.set_yticks([30, 40, 50, 70, 100], ["30", "40", "50", "70", "100"])
        axes.minorticks_off()
        axes.legend(fontsize=9)
        axes.grid(alpha=0.3)
    left.set_ylabel("Frechet distance to real digits")
    left.set_ylim(30, 120)
    to.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(to)


if __name__ == "__main__":
    main()
