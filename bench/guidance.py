"""What each guidance mode makes of the bundled models at large scales.

    python bench/guidance.py [FILE.png]

A hundred captions of shapes that were never trained on (a VP model), read by plain geometry, and 500 digits (a flow,
where CFG-Zero* applies), read by the classifier of `difftool eval`, at guidance 3, 6 and 10. Beside how many show what
they are to show: the share of channel values at a limit (0 or 255), the saturation of shapes, and the Frechet distance
of digits to real ones. Prints the table and draws the figure; takes ten minutes on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from shapes import drawn, held_back

from difftool.pixels.draw import draw_samples
from difftool.pixels.plan import plan_samples_with
from difftool.text2img.session import Session
from difftool.train.data.pictures import load
from difftool.train.data.shapes import draw_set
from difftool.train.quality import measure, of_real

SCALES = (3.0, 6.0, 10.0)
CAPTIONS, DIGITS, SEED = 100, 500, 1_000_000
MODES: dict[str, dict[str, Any]] = {
    "cfg": {},
    "cfg, rescale 0.7": {"guidance_rescale": 0.7},
    "cfg, interval 0.2,0.8": {"guidance_interval": (0.2, 0.8)},
    "apg": {"guidance_mode": "apg"},
    "cfg_zero": {"guidance_mode": "cfg_zero"},
}
COLOURS = ("#1f6fb4", "#877a00", "#2d8449", "#bf4f0b", "#6a4bb0")
TITLES = {
    "shapes": {"accuracy": "share that shows its caption", "at limits": "channel values at a limit"},
    "digits": {"distance": "distance to real digits", "at limits": "grey levels at a limit"},
}
"""The figures that are drawn: nearly every digit is read as its label, at any scale."""
Row = dict[str, float]


def tones(pixels: np.ndarray[Any, Any]) -> Row:
    """The share of channel values at a limit and, of pictures in colour, the mean saturation (1 - least / most)."""
    row = {"at limits": float(np.isin(pixels, (0, 255)).mean())}
    if pixels.shape[-1] == 3:
        most, least = (end(pixels.astype(float), -1) for end in (np.max, np.min))
        row["saturation"] = float(np.mean(1 - least / np.maximum(most, 1)))
    return row


def of_shapes() -> dict[str, list[Row]]:
    """The figures of each mode at each scale, and of as many pictures as the model was trained on."""
    from shape_reader import right

    scenes, session = held_back(CAPTIONS), Session(device="cpu")
    captions = [scene.caption for scene in scenes]

    def row(pictures: list[Any], scenes: Any) -> Row:
        fine = [right(scene, pixels).what for scene, pixels in zip(scenes, pictures, strict=True)]
        return {"accuracy": sum(fine) / len(fine), **tones(np.stack(pictures))}

    table = {}
    for mode, settings in MODES.items():
        if mode != "cfg_zero":
            table[mode] = [row(drawn(session, captions, guidance=s, **settings), scenes) for s in SCALES]
            show("shapes", mode, table[mode])
    pixels, known = draw_set(CAPTIONS, held=True, seed=SEED)
    table["real"] = [row([*pixels], known)]
    show("shapes", "real", table["real"])
    return table


def of_digits() -> dict[str, list[Row]]:
    """As `of_shapes`, of digits."""
    pictures, table = load("digits"), {}
    assert pictures.held_out is not None
    for mode, settings in MODES.items():
        table[mode] = []
        for scale in SCALES:
            plan = plan_samples_with(count=DIGITS, seed=SEED, guidance=scale, device="cpu", **settings)
            sampled = draw_samples(plan)
            quality = measure(sampled, pictures)
            row = {"accuracy": quality["legible"], **tones(sampled.pixels), "distance": quality["fd"]}
            table[mode].append(row)
        show("digits", mode, table[mode])
    quality = of_real(pictures)
    table["real"] = [{"accuracy": quality["legible"], **tones(pictures.held_out.pixels), "distance": quality["fd"]}]
    show("digits", "real", table["real"])
    return table


def show(model: str, mode: str, rows: list[Row]) -> None:
    for scale, row in zip(SCALES, rows, strict=False):
        figures = "  ".join(f"{name} {value:.3f}" for name, value in row.items())
        at = "" if mode == "real" else f"guidance {scale:4g}  "
        print(f"{model}  {mode:22} {at}{figures}", flush=True)


def figure(tables: dict[str, dict[str, list[Row]]], to: Path) -> None:
    """A column for each model; a mode has its own colour, and real pictures are a dotted line."""
    made = Figure(figsize=(7.2, 6), dpi=200, layout="constrained")
    FigureCanvasAgg(made)
    panels = made.subplots(2, len(tables), sharex=True, squeeze=False)
    for column, (model, table) in zip(panels.T, tables.items(), strict=True):
        figures = TITLES[model]
        for axes, (name, title) in zip(column, figures.items(), strict=True):
            for colour, mode in zip(COLOURS, MODES, strict=True):
                if mode in table:
                    axes.plot(SCALES, [row[name] for row in table[mode]], "o-", color=colour, label=mode)
            axes.axhline(table["real"][0][name], color="0.4", linestyle=":", label="real pictures")
            axes.set_xticks(SCALES)
            axes.grid(alpha=0.3)
            axes.set(title=f"{model}: {title}")
        column[-1].set(xlabel="guidance scale")
    handles, labels = panels[0][-1].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    to.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(to)


def main() -> None:
    to = Path(sys.argv[1] if len(sys.argv) > 1 else "guidance-modes.png")
    figure({"shapes": of_shapes(), "digits": of_digits()}, to)
    print(to)


if __name__ == "__main__":
    main()
