from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DifftoolError, Exit
from ..files import default_dir
from ..limits import counted
from ..settings import OUTPUT
from ..train.settings import Settings
from .console import Console, Result
from .options import DryRun, Open, Overwrite, one_of_each
from .viewer import open_page

if TYPE_CHECKING:
    from ..train.outcome import Trained
    from ..train.plan import TrainingPlan

FINISHED = "finished before, nothing left to do; --more AMOUNT trains it further"


@one_of_each(("folder", "data"), ("more", "overwrite"))
def train(
    console: Console,
    settings: Settings,
    folder: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Folder or zip of pictures or sounds, .npz, .npy, .parquet, IDX or CIFAR file, hf:owner/name, digits, "
            "shapes, tones, moons, swiss_roll or eight_gaussians; default: the preset's data.",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "--out", help="Run folder; an existing run is resumed.", rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Overwrite = False,
    open_report: Open = False,
    dry_run: DryRun = False,
) -> Result:
    """Train a model on your pictures or sounds, or by default for two minutes on handwritten digits.

    Subfolders become labels. Repeat the command with the same --output-dir to resume an interrupted run.

    Use --more instead of a length to train a finished run further; for text-to-image, only the denoiser is trained. The
    learning rate rises again and then follows the schedule of a run of the total length. If such an extension was
    interrupted, the same command resumes it first.

    Examples:

    difftool train

    difftool train ~/pictures --minutes 60 --output-dir runs/mine

    difftool train ~/pictures --more 30m --output-dir runs/mine

    difftool train ~/others --from runs/mine

    difftool train mnist/ --preset mnist --target eps --betas linear

    difftool train ~/sounds --frames 256
    """
    if settings.more is not None and output_dir is None:
        hint = "add --output-dir with the folder of a run; difftool runs ls lists them"
        raise DifftoolError(Exit.USAGE, "--more needs the run that it extends", hint)

    from dataclasses import replace

    from ..train.recipe import prepared

    to = output_dir or default_dir("train", console.run_id)
    job = prepared(settings if folder is None else replace(settings, data=folder))
    if dry_run:
        from ..train.plan import plan_training

        return _dry(plan_training(job, to, overwrite=overwrite))
    from ..train.run import run

    console.resume = f"resume with the same command, --output-dir {shlex.quote(str(to))} and no --overwrite"
    trained = run(job, to, console.began, overwrite=overwrite, track=console.track)
    result = _result(trained, time.monotonic() - console.began)
    return result._replace(after=partial(open_page, console, trained.report)) if open_report else result


def _result(done: Trained, seconds: float) -> Result:
    """Reports a finished run."""
    from ..learning.config import items_of
    from ..train.outcome import next_command

    data = {
        "outputs": [{"path": str(done.grid), "seed": 0}],
        "folder": str(done.folder),
        "plot": str(done.plot),
        "report": str(done.report),
        "images": done.images,
        "loss": done.loss,
        "quality": done.quality,
        "notes": done.notes,
        "skipped": done.skipped,
        "finished_before": done.finished_before,
        "config": done.config,
        "timing": {"total": round(seconds, 3)},
    }
    took = f"; {FINISHED}" if done.finished_before else f", {seconds:.0f} s"
    loss = "no finite update" if done.loss is None else f"loss {done.loss:.4f}"
    summary = [f"{done.images:,} {items_of(done.config)} seen, {loss}{took}"]
    if done.skipped:
        summary.append(f"skipped {counted(len(done.skipped), 'unreadable file')}")
    if done.quality is not None:
        summary.append(_quality(done.quality))
    summary += done.notes
    paths = {"run": done.folder, "samples": done.grid, "loss": done.plot, "report": done.report}
    summary += [f"{name:9} {path}" for name, path in paths.items()]
    summary.append(f"{'next':9} {next_command(done.folder, done.config)}")
    return Result(data, summary, [done.folder])


def _quality(figures: Mapping[str, float]) -> str:
    """The quality figures on one line."""
    if "c2st" not in figures:
        line = "FD {fd:.2f} dB squared, nearest {nearest:.2f}, ceiling {ceiling:.2f} dB (FD {ceiling_fd:.2f})"
        return line.format(**figures)
    line = "C2ST {c2st:.3f} (0.5: indistinguishable, 1: always recognised), FD {fd:.1f}, nearest {nearest:.2f}"
    if "legible" in figures:
        line += ", {legible:.0%} classified as their label"
    if figures["exploded"]:
        line += ", {exploded} exploded"
    return line.format(**figures)


def _dry(planned: TrainingPlan) -> Result:
    """Reports what a run would do."""
    folder = str(planned.folder)
    if planned.finished:
        data = {"dry_run": True, "finished_before": True, "folder": folder}
        return Result(data, [f"{folder}: {FINISHED}"], [])
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
