"""The files of `sample`: single pictures or sounds, a picture of all, and the trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..audio.files import to_pcm
from ..audio.notes import save
from ..files import ItemNote
from ..outputs import Places
from ..pictures.plots import coloured, plot_spectrograms
from ..pictures.png import write_gif, write_png
from ..pictures.sheets import image_grid, points, sheet, strip
from .draw import Frame, Sampled, columns, evenly
from .sounds import SoundPlan

FRAMES, COLUMNS, ROWS = 51, 11, 4
"""Trajectory: frames of the animation, columns of the strip, pictures in the strip."""
PANELS = 16
"""Maximum number of spectrograms in the figure of a run."""


class Written(NamedTuple):
    """The pictures and their files."""

    drawn: Sampled
    places: Places
    """The files that were written."""
    outputs: list[Mapping[str, object]]
    """The path, index, seed, label and size of each picture; of a grid alone its path and first seed."""


def write(drawn: Sampled, places: Places) -> Written:
    """Writes the pictures or sounds, the trajectory if it has frames, and the grid; 2-D points are one plot."""
    if drawn.sound is not None:
        return _write_sounds(drawn, drawn.sound, places)
    outputs: list[Mapping[str, object]] = []
    if points(drawn.pixels):
        places = Places([], places.grid or places.singles[0], places.trajectory)
        outputs.append({"path": str(places.grid), **drawn.items[0]})
    elif not places.singles:
        outputs.append({"path": str(places.grid), "seed": drawn.items[0]["seed"]})
    else:
        for pixels, item, path in zip(drawn.pixels, drawn.items, places.singles, strict=True):
            write_png(path, pixels, {**drawn.manifest, "item": item})
            height, width, _ = pixels.shape
            outputs.append({"path": str(path), **item, "width": width, "height": height})
    _write_trajectory(drawn, places)
    if places.grid is not None:
        write_png(places.grid, sheet(drawn.pixels, columns(drawn)), drawn.manifest)
    return Written(drawn, places, outputs)


def _write_trajectory(drawn: Sampled, places: Places) -> None:
    if not places.trajectory:
        return
    strip_path, animation = places.trajectory
    write_png(strip_path, _strip(drawn), {**drawn.manifest, "command": "sample --trajectory"})
    frames = [sheet(frame.state, columns(drawn)) for frame in drawn.trajectory]
    write_gif(animation, frames, drawn.manifest)


def _write_sounds(drawn: Sampled, plan: SoundPlan, places: Places) -> Written:
    """Writes each sound with its manifest and its spectrogram, a figure of several spectrograms, and the trajectory."""
    shown = {**drawn.manifest, "command": "sample --spectrogram"}
    name, own = drawn.manifest["model"]["name"], plan.own.format
    outputs: list[Mapping[str, object]] = []
    pictures = coloured(drawn.pixels)
    for path, sound, picture, item in zip(places.singles, drawn.sounds, pictures, drawn.items, strict=False):
        tags = {"title": f"Synthetic sound: {item.get('label') or name}", "artist": f"difftool, with the model {name}"}
        save(path, [to_pcm(sound)], tags, {**drawn.manifest, "item": item}, rate=own.rate)
        write_png(path.with_suffix(".png"), image_grid(picture[None]), {**shown, "item": item})
        outputs.append({"path": str(path), **item, "seconds": round(len(sound) / own.rate, 3), "rate": own.rate})
    if not places.singles:
        outputs.append({"path": str(places.grid), "seed": drawn.items[0]["seed"]})
    frames = [Frame(*map(coloured, frame)) for frame in drawn.trajectory]
    _write_trajectory(drawn._replace(trajectory=frames), places)
    if places.grid is not None:
        rows = [(_caption(item), pixels) for item, pixels in zip(drawn.items, drawn.pixels[:PANELS], strict=False)]
        plot_spectrograms(places.grid, rows, own.hop / own.rate, own.centres(), shown)
    return Written(drawn, places, outputs)


def _caption(item: ItemNote) -> str:
    label = item.get("label")
    return f"seed {item['seed']}" if label is None else f"{label}, seed {item['seed']}"


def _strip(drawn: Sampled) -> np.ndarray:
    """Some frames side by side: plots of points, or pictures with each state above the network's estimate."""
    frames = [drawn.trajectory[k] for k in evenly(len(drawn.trajectory) - 1, COLUMNS)]
    if points(drawn.pixels):
        return image_grid(np.stack([sheet(frame.state) for frame in frames]), len(frames))
    return strip([_pairs(frame) for frame in frames])


def _pairs(frame: Frame) -> np.ndarray:
    """The first pictures of a frame, each followed by its estimate."""
    shown = range(min(ROWS, len(frame.state)))
    return np.stack([part[k] for k in shown for part in (frame.state, frame.estimate)])
