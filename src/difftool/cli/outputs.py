"""Where pictures go, and what is said of them."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import processes
from ..errors import DifftoolError, Exit
from ..files import default_dir, unused, writable
from ..limits import counted
from ..settings import manifest_of
from .console import Console, Result

if TYPE_CHECKING:
    from ..pixels.draw import Sampled
    from ..pixels.plan import Plan


FRAMES, COLUMNS, ROWS = 51, 11, 4
"""Of the way there: frames of the animation, columns of the strip, and pictures shown in it."""


class Places(NamedTuple):
    """The files of a run."""

    singles: list[Path]
    grid: Path | None
    way: list[Path]
    """A strip and an animation of the way there, or nothing."""

    @property
    def all(self) -> list[Path]:
        return [*self.way, *self.singles, *([self.grid] if self.grid else [])]


def places(
    command: str,
    run: str,
    items: Sequence[tuple[int, int]],
    output: Path | None,
    folder: Path | None,
    *,
    overwrite: bool,
    keep: bool = False,
    standing: bool = False,
    trajectory: bool = False,
) -> Places:
    """The files for pictures of these (index, seed), and with `trajectory` those of the way there. `keep` lets
    pictures be that are there; a `standing` folder is that of every run, where names that are taken lead to a folder
    of this run in it.

    Raises DifftoolError 2 for a file that is no PNG, 4 for a file that exists (without `overwrite`).
    """
    if output is not None:
        is_png(output)
        unused([output] if not keep else [], overwrite=overwrite)
    folder = folder or default_dir(command, run)

    def beside(name: str) -> Path:
        return folder / name if output is None else output.with_name(f"{output.stem}-{name}")

    singles = [beside(f"{index:05d}-{seed}.png") for index, seed in items]
    way = [beside(f"trajectory.{kind}") for kind in ("png", "gif")] if trajectory else []
    if len(items) > 1:
        found = Places(singles, output or folder / "grid.png", way)
    else:
        found = Places([output] if output else singles, None, way)
    if standing and output is None and not (overwrite or keep) and any(map(os.path.lexists, found.all)):
        return places(command, run, items, None, folder / run, overwrite=False, trajectory=trajectory)
    unused((path for path in found.all if not (keep and path.is_file())), overwrite=overwrite)
    return found


def is_png(output: Path) -> None:
    """Raises DifftoolError 2 for a file that does not end in .png."""
    if not output.is_dir() and output.suffix.lower() != ".png":
        raise DifftoolError(
            Exit.USAGE,
            f"pictures are written as PNG, and {output} ends otherwise",
            f"try -o {shlex.quote(str(output.with_suffix('.png')))}",
        )


def carry_out(console: Console, plan: Plan, to: Places, only: Collection[int] | None = None) -> tuple[Sampled, Result]:
    """Draws what was planned (or `only` these pictures of it), writes the files, and tells what it did."""
    import numpy as np

    from ..pictures.png import write_gif, write_png
    from ..pictures.sheets import grid, points, sheet, strip
    from ..pixels.draw import columns, draw

    loaded = time.monotonic()
    frames = FRAMES if to.way else 0
    if processes.rank():  # the first process writes what all drew
        return draw(plan, only=only, frames=frames), Result({}, [], [])
    with writable(to.singles[0].parent):
        drawn = draw(plan, only=only, track=console.track, name=console.run_id, frames=frames)
        sampled = time.monotonic()
        console.resume = "run it again with --overwrite"  # some of the files may be there by then
        outputs = []
        plane = points(drawn.pixels)
        if plane:
            to = Places([], to.grid or to.singles[0], to.way)
            outputs = [{"path": str(to.grid), **drawn.items[0]}]
        for pixels, item, path in () if plane else zip(drawn.pixels, drawn.items, to.singles, strict=True):
            write_png(path, pixels, {**drawn.manifest, "item": item})
            height, width, _ = pixels.shape
            outputs.append({"path": str(path), **item, "width": width, "height": height})
        if to.way:
            last = len(drawn.way) - 1
            few = [drawn.way[k] for k in sorted({round(k * last / (COLUMNS - 1)) for k in range(COLUMNS)})]
            shown = range(min(ROWS, len(few[0].state)))
            moments = [np.stack([part[k] for k in shown for part in (at.state, at.estimate)]) for at in few]
            seen = grid(np.stack([sheet(at.state) for at in few]), len(few)) if plane else strip(moments)
            write_png(to.way[0], seen, {**drawn.manifest, "command": "sample --trajectory"})
            write_gif(to.way[1], [sheet(at.state, columns(drawn)) for at in drawn.way], drawn.manifest)
        if to.grid is not None:
            write_png(to.grid, sheet(drawn.pixels, columns(drawn)), drawn.manifest)
    ended = time.monotonic()
    spans = {"load": (console.began, loaded), "sample": (loaded, sampled), "save": (sampled, ended)}
    timing = {name: round(end - begin, 3) for name, (begin, end) in {**spans, "total": (console.began, ended)}.items()}
    settings, model = drawn.manifest["settings"], drawn.manifest["model"]
    grid_path = str(to.grid) if to.grid else None
    data = {
        "outputs": outputs,
        "grid": grid_path,
        "trajectory": [*map(str, to.way)],
        "settings": settings,
        "model": model,
        "timing": timing,
    }
    seeds = " to ".join(dict.fromkeys(str(drawn.items[k]["seed"]) for k in (0, -1)))
    how = (
        f"{settings['sampler']}, {counted(settings['steps'], 'step')}, guidance {settings['guidance']:g}, seed {seeds}"
    )
    summary = [
        f"{counted(len(drawn.items), 'picture')} of {model['name']} in {timing['total']:.1f} s ({how})",
        str(to.all[-1]),
    ]
    if to.grid and to.singles:
        summary.append(f"singles: {to.singles[0]} ...")
    if to.way:
        summary.append(f"the way there, each state above what the network sees in it: {to.way[0]}, {to.way[1]}")
    return drawn, Result(data, summary, to.all)


def dry(plan: Plan, to: Places, only: Collection[int] | None = None) -> Result:
    """What `carry_out` would do and need."""
    from ..pixels.plan import batches

    settings = manifest_of(plan.settings)
    parameters = sum(p.numel() for p in plan.model.net.parameters())
    weights = sum(p.numel() * p.element_size() for p in plan.model.net.parameters())
    calls = plan.calls * len(batches(plan, plan.batch_size, only))
    needs = {
        "parameters": parameters,
        "weights_bytes": weights,
        "network_calls": calls,
        "batch_size": settings["batch_size"],
    }
    steps, pictures = counted(settings["steps"], "step"), counted(len(to.singles), "picture")
    how = f"{settings['sampler']}, {steps}, {settings['schedule']}, guidance {settings['guidance']:g}"
    where = f"{settings['device']} in {settings['dtype']}"
    summary = [
        f"would draw {pictures} of {plan.model.name} on {where}: {how}, seed {settings['seed']}",
        f"needs {weights / 1e6:.1f} MB of weights and {calls:,} calls of the network, {settings['batch_size']} at once",
        f"would write {counted(len(to.all), 'file')}, the last {to.all[-1]}",
    ]
    return Result(
        {"dry_run": True, "settings": settings, "needs": needs, "would_write": [*map(str, to.all)]}, summary, []
    )
