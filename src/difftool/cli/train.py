from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..files import default_dir
from ..settings import OUTPUT
from ..train.settings import Settings
from .console import Console, Result
from .options import DryRun, Overwrite, one_of_each

if TYPE_CHECKING:
    from ..train.outcome import Trained
    from ..train.planned import Planned


@one_of_each(("folder", "data"))
def train(
    console: Console,
    settings: Settings,
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="A folder, zip, .npz, .npy, .parquet, IDX or CIFAR file, hf:owner/name, digits, shapes, moons, "
            "swiss_roll or eight_gaussians; none: the preset's own.",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir", "--out", help="The run's folder; one that holds this run goes on.", rich_help_panel=OUTPUT
        ),
    ] = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Result:
    """Train a model on your pictures; without a folder, on the digits in two minutes.

    Sub-folders of pictures become labels. The same command in the same --output-dir goes on where it was stopped.

    Examples:

    difftool train

    difftool train ~/pictures --minutes 60 --output-dir runs/mine

    difftool train mnist/ --preset mnist --target eps --betas linear
    """
    from dataclasses import replace

    from ..train.recipe import prepared

    to = output_dir or default_dir("train", console.run_id)
    job = prepared(settings if folder is None else replace(settings, data=folder))
    if dry_run:
        from ..train.planned import planned

        return _dry(planned(job, to, overwrite=overwrite))
    from ..train.run import run

    console.resume = f"go on with the same command, with --output-dir {shlex.quote(str(to))} and without --overwrite"
    trained = run(job, to, console.began, overwrite=overwrite, track=console.track)
    return _result(trained, time.monotonic() - console.began)


def _result(done: Trained, seconds: float) -> Result:
    """What a run left, for people and for programs."""
    from ..models import typed

    data = {
        "outputs": [{"path": str(done.grid), "seed": 0}],
        **{key: str(getattr(done, key)) for key in ("folder", "plot", "report")},
        **{key: getattr(done, key) for key in ("images", "loss", "quality", "notes", "skipped", "finished_before")},
        "config": done.config,
        "timing": {"total": round(seconds, 3)},
    }
    took = "; it was finished, and nothing was left to do" if done.finished_before else f", {seconds:.0f} s"
    loss = "no update was finite" if done.loss is None else f"loss {done.loss:.4f}"
    summary = [f"{done.images:,} pictures seen, {loss}{took}"]
    if done.skipped:
        summary.append(f"{len(done.skipped)} files could not be read and were left out")
    if done.quality is not None:
        line = "C2ST {c2st:.3f} (0.5: as if real, 1: told apart), FD {fd:.1f}, nearest {nearest:.2f}"
        line += ", {legible:.0%} read as their label" if "legible" in done.quality else ""
        line += ", {exploded} exploded" if done.quality["exploded"] else ""
        summary.append(line.format(**done.quality))
    summary += done.notes
    folder = shlex.quote(typed(done.folder))
    where = {
        "run": done.folder,
        "pictures": done.grid,
        "loss": done.plot,
        "report": done.report,
        "next": f"difftool sample {folder}",
    }
    if "autoencoder" in done.config:
        from ..text2img.settings import BUNDLED

        where["next"] = f"difftool txt2img PROMPT --model {shlex.quote(typed(done.folder, BUNDLED))}"
    return Result(data, summary + [f"{name:9} {path}" for name, path in where.items()], [done.folder])


def _dry(planned: Planned) -> Result:
    """What a run would do, for people and for programs."""
    folder = str(planned.folder)
    if planned.finished:
        data = {"dry_run": True, "finished_before": True, "folder": folder}
        return Result(data, [f"{folder} is finished already"], [])
    data = {
        "dry_run": True,
        "config": planned.config,
        "folder": folder,
        "held_out": planned.held_out,
        "skipped": planned.skipped,
    }
    if planned.parameters is not None:
        data["parameters"] = planned.parameters
    return Result(data, planned.summary(), [])
