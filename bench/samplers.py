"""What each sampler makes of the models in the package, against how often it calls the network.

    python bench/samplers.py [FILE.png]           # digits
    python bench/samplers.py shapes [FILE.png]

Draws 500 digits (the same starts for all) at 3 to 50 steps with every sampler, and measures the Frechet distance of
their pixels to 500 real ones that were never trained on, in grey levels; two sets of real pictures are 32 apart. Of
shapes it draws 60 captions that were never trained on at 4 to 16 steps, and counts how many a reader finds right.
Prints the table and draws the figure; each takes half an hour on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from shapes import drawn as draw_captions
from shapes import held_back

from difftool.core import SAMPLERS
from difftool.learning.metrics import frechet
from difftool.pixels.draw import draw_samples
from difftool.pixels.plan import plan_samples_with
from difftool.text2img.session import Session
from difftool.train.data.pictures import load

COUNT, SEED = 500, 1_000_000
CAPTIONS, FEW = 60, (4, 6, 8, 12, 16)
"""Of shapes: captions, and steps."""
STEPS = (3, 4, 5, 6, 8, 10, 12, 16, 25, 50)
REAL = 32
COLOURS = (
    *("#1f6fb4", "#20798b", "#bf4f0b", "#2d8449", "#877a00", "#b3202f", "#6a4bb0", "#5f6971"),
    *("#7a5230", "#c2408f", "#ef5a3c", "#3a3ac0", "#0b5d4f", "#111111", "#a06bd6"),
    *(to_hex(colour) for colour in colormaps["tab20"].colors),
)
MARKERS = "os^Dv"
SAME = {"ddim": "ddim = euler", "euler_a": "euler_a = ddpm"}
"""On equal levels these draw the same pictures, and are measured once."""
AGAIN = ("euler", "ddpm", "heunpp2", *(name for name, row in SAMPLERS.items() if row.defaults.get("plus")))
"""Samplers that draw what another one does, those of CFG++ without guidance, and Heun++, which is Euler's method."""
Points = list[tuple[int, float]]


def of_digits(name: str) -> Points:
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


def of_shapes(name: str, session: Session) -> Points:
    """(calls, share of the captions that their pictures show) of a sampler at each number of steps."""
    from shape_reader import right

    scenes, found = held_back(CAPTIONS), []
    captions = [scene.caption for scene in scenes]
    for steps in FEW:
        pictures = draw_captions(session, captions, sampler=name, steps=steps)
        fine = [right(scene, pixels).what for scene, pixels in zip(scenes, pictures, strict=True)]
        calls = plan_samples_with(sampler=name, steps=steps, count=1).calls
        found.append((calls, sum(fine) / len(fine)))
    return found


def main() -> None:
    words = sys.argv[1:]
    is_shapes = bool(words) and words[0] == "shapes"
    to = Path((words[1:] if is_shapes else words or ["samplers.png"])[0])
    session = Session(device="cpu") if is_shapes else None
    table = {}
    for name in SAMPLERS:
        if name not in AGAIN:
            table[name] = of_digits(name) if session is None else of_shapes(name, session)
            print(f"{name:16}", "  ".join(f"{calls:3}: {value:6.2f}" for calls, value in table[name]), flush=True)
    figure(table, to, shapes=is_shapes)
    print(to)


def figure(table: dict[str, Points], to: Path, *, shapes: bool = False) -> None:
    """Two panels below each other, which stay readable on a telephone; a sampler has its own colour and marker."""
    made = Figure(figsize=(4.8, 9.6), dpi=200, layout="constrained")
    FigureCanvasAgg(made)
    panels = made.subplots(2, 1, sharex=True, sharey=True)
    for k, (name, points) in enumerate(table.items()):
        noisy = {"eta", "sde", "renoise"} & {key for key, value in SAMPLERS[name].defaults.items() if value}
        calls, values = zip(*points, strict=True)
        style = {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)], "markersize": 3.5}
        panels[1 if noisy else 0].plot(calls, values, label=SAME.get(name, name), **style)
    for axes, title in zip(panels, ("deterministic", "with fresh noise"), strict=True):
        axes.set(title=title, xscale="log", xlabel="network calls for one picture")
        if shapes:
            axes.set_ylabel("share of shapes that show their caption")
            axes.set_xticks([4, 8, 16, 32], ["4", "8", "16", "32"])
        else:
            axes.axhline(REAL, color="0.4", linestyle=":", label="real digits")
            axes.set(yscale="log", ylabel="distance to real digits")
            axes.set_xticks([3, 5, 10, 20, 50, 100], ["3", "5", "10", "20", "50", "100"])
            axes.set_yticks([30, 40, 50, 70, 100], ["30", "40", "50", "70", "100"])
        axes.minorticks_off()
        axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=3, frameon=False, columnspacing=1)
        axes.tick_params(labelbottom=True)
        axes.grid(alpha=0.3)
    if not shapes:
        panels[0].set_ylim(30, 120)
    to.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(to)


if __name__ == "__main__":
    main()
