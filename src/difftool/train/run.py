"""A training run from beginning to end: what `difftool train` does."""

from __future__ import annotations

import logging
import math
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from .. import files
from ..device import name_of
from ..errors import DifftoolError, Exit
from ..image.pixels import Track, columns, draw, untracked
from ..image.plan import plan
from ..models import save_model
from ..pictures import grid, plot_loss, write_png
from ..signals import Stop, deferred
from .data import Pictures
from .folder import PLOT, Trained, append, clear, grid_path, read_log, report, resume, save, standing
from .judge import measure
from .loop import Trainee, Update, seconds_per_update, updates
from .recipe import Job, prepare

log = logging.getLogger(__name__)

BAD_IN_A_ROW = 10
SAVE_SECONDS = 60
LOG_LINES, PREVIEWS = 200, 5
"""Lines of the log, and grids drawn, in a run that says nothing else."""
PREVIEW_PICTURES, JUDGED, DRAWING_STEPS = 40, 500, 25
JUDGE_SEED = 1000
"""Judged pictures share no noise with the previews."""
MARGIN, CLOSING, PLOTTING = 0.04, 4.0, 0.5
"""Of a time budget: the share kept back for updates slower than the probe's, the seconds that judging takes, and those
that a checkpoint, a grid and its plot take beside the drawing."""


def train(
    data: str | Path | None = None,
    *,
    output_dir: str | Path | None = None,
    save_every: int | None = None,
    preview_every: int | None = None,
    overwrite: bool = False,
    track: Track = untracked,
    **settings: Any,
) -> Trained:
    """Trains a model of pictures in the folder `output_dir`, or goes on with the run that stands there.

    `data` is a folder of pictures or a built-in set; None is the preset's own. `settings` are the arguments of
    `prepare`. By default the state is saved each minute and drawn from five times; `save_every` and `preview_every`
    count pictures.

    Raises DifftoolError: 1 where the loss stays not finite, 2 for settings that do not fit, 3 for a device that is not
    there, 4 for data nothing can be learned from or a folder that holds something else, 6 where not even one picture
    can be drawn in the memory there is, 75 while another process trains there, 130 and 143 after Ctrl-C and SIGTERM,
    with the state saved.
    """
    began = time.monotonic()
    folder = files.default_dir("train", files.run_id()) if output_dir is None else files.expanded(output_dir)
    job = prepare(data, **settings)
    return run(job, folder, began, save_every=save_every, preview_every=preview_every, overwrite=overwrite, track=track)


def run(
    job: Job,
    folder: Path,
    began: float,
    *,
    save_every: int | None = None,
    preview_every: int | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> Trained:
    """Trains in `folder`, or goes on there. Minutes count from `began` (`time.monotonic`), with all that the command
    does besides."""
    _, pictures, where, number = job
    check(job, folder, overwrite)
    with files.writable(folder), files.lock(folder), deferred() as stop:
        config, finished = check(job, folder, overwrite)  # once more, as the lock keeps it now
        if finished:
            return report(folder, config, pictures, finished_before=True)
        pixels = torch.from_numpy(pictures.pixels).permute(0, 3, 1, 2).to(where)
        labels = None if pictures.labels is None else torch.from_numpy(pictures.labels).to(where)
        fresh = "images" not in config["train"]
        per_update = seconds_per_update(config, pixels, labels, number) if fresh else 0.0
        end = began + config["train"]["length"].get("minutes", math.inf) * 60 - _closing(config, pictures, per_update)
        if fresh:
            config["train"]["images"] = _fitting(config, per_update, preview_every, end - time.monotonic())
        trainee = Trainee(config, where)
        clear(folder, overwrite)
        files.write_json(folder / "config.json", config)
        resume(folder, trainee)
        if trainee.step:  # the process may have died between its last checkpoint and the model
            save_model(folder, config, trainee.averaged())
        total, done = config["train"]["images"], trainee.step * config["train"]["batch_size"]
        what = f"{sum(p.numel() for p in trainee.params):,} parameters, seed {config['train']['seed']}"
        log.info(f"{folder}: {what}, {total - done:,} of {total:,} pictures to see")
        drawing = {"steps": DRAWING_STEPS, "device": str(where), "dtype": name_of(number)}
        preview_every = preview_every or math.ceil(total / PREVIEWS)
        left = math.ceil((total - done) / config["train"]["batch_size"])
        made = track(updates(trainee, config, pixels, labels, number), left)
        _loop(folder, config, trainee, made, stop, save_every, preview_every, drawing, end)
        _preview(folder, config["train"]["images"], drawing)
        quality = None
        if pictures.held_out is not None:
            log.info(f"judging {JUDGED} pictures")
            quality = measure(draw(plan(folder, count=JUDGED, seed=JUDGE_SEED, **drawing)), pictures)
        append(folder, {"finished": True, "quality": quality})
        return report(folder, config, pictures, finished_before=False)


def check(job: Job, folder: Path, overwrite: bool) -> tuple[dict[str, Any], bool]:
    """(the config to train by in `folder`, whether that run is finished already). Changes nothing. Raises DifftoolError
    2 for a folder among the run's own pictures, 4 for one that holds something else."""
    pictures = job.pictures
    if pictures.folder is not None and folder.resolve().is_relative_to(pictures.folder.resolve()):
        raise DifftoolError(
            Exit.USAGE,
            f"the run {folder} would stand among its own pictures, and they would be learned next time",
            "name a folder elsewhere with --output-dir",
        )
    return standing(folder, job.config, overwrite)


def _drawing(config: dict[str, Any], pictures: int, per_update: float) -> float:
    """Seconds that drawing takes: an update is a forward and a backward pass, and the latter is two of the former."""
    return pictures * DRAWING_STEPS * per_update / 3 / config["train"]["batch_size"]


def _closing(config: dict[str, Any], pictures: Pictures, per_update: float) -> float:
    """Seconds from the last update to the end of the command."""
    judged = 0 if pictures.held_out is None else JUDGED
    return _drawing(config, PREVIEW_PICTURES + judged, per_update) + PLOTTING + CLOSING


def _fitting(config: dict[str, Any], per_update: float, preview_every: int | None, seconds: float) -> int:
    """How many pictures can be seen in so many seconds, with grids drawn on the way."""
    size, preview = config["train"]["batch_size"], _drawing(config, PREVIEW_PICTURES, per_update) + PLOTTING
    if preview_every is None:
        seconds -= (PREVIEWS - 1) * preview
    else:
        per_update += preview / max(preview_every / size, 1)  # at most one after each update
    return max(int(seconds * (1 - MARGIN) / per_update), 1) * size


def _loop(
    folder: Path,
    config: dict[str, Any],
    trainee: Trainee,
    made: Iterable[Update],
    stop: Stop,
    save_every: int | None,
    preview_every: int,
    drawing: dict[str, Any],
    end: float,
) -> None:
    """Makes the updates that are left, and on the way writes the log, saves, draws, and stops where it is asked to, or
    where time ends on a machine that became slower (`end`, by `time.monotonic`)."""
    size, total = config["train"]["batch_size"], config["train"]["images"]
    log_every = max(total // size // LOG_LINES, 1) * size
    losses: list[float] = []
    bad, saved = 0, time.monotonic()
    for update in made:
        seen = update.step * size
        last = seen >= total
        if not last and time.monotonic() > end:
            log.info(f"out of time: ending after {seen:,} of {total:,} pictures")
            config["train"] |= {"images": seen, "planned": total}  # which also ends the updates
            files.write_json(folder / "config.json", config)
            last = True
        losses += [update.loss] if update.finite else []
        bad = 0 if update.finite else bad + 1
        if bad == BAD_IN_A_ROW:
            raise DifftoolError(
                Exit.FAILED,
                f"the loss was not finite {bad} times in a row, at picture {seen:,}; what was saved is intact",
                f"train in a new folder, with a smaller learning rate than --lr {config['train']['lr']:g}",
            )
        if losses and (last or _due(log_every, seen, size)):
            line = {"images": seen, "step": update.step, "loss": sum(losses) / len(losses), "lr": update.lr}
            norm = update.norm if math.isfinite(update.norm) else None
            append(folder, {**line, "norm": norm, "skipped": update.step - trainee.taken})
            losses = []
        drawing_now = _due(preview_every, seen, size) and not last and not bad
        aged = save_every is None and time.monotonic() - saved > SAVE_SECONDS
        due = (drawing_now or aged or _due(save_every, seen, size)) and not bad  # what is saved did well
        if last or due or stop.code is not None:
            save(folder, config, trainee)
            saved = time.monotonic()
        if stop.code is not None:
            raise DifftoolError(
                stop.code,
                f"stopped after {seen:,} of {total:,} pictures; the state is saved",
                f"go on with the same command, with --output-dir {shlex.quote(str(folder))} and without --overwrite",
            )
        if drawing_now:
            try:
                _preview(folder, seen, drawing)
            except DifftoolError as error:
                log.warning(f"no pictures at {seen:,}: {error.message}")


def _due(every: int | None, seen: int, size: int) -> bool:
    """Whether the last `size` pictures of `seen` ones crossed a multiple of `every`."""
    return every is not None and seen // every > (seen - size) // every


def _preview(folder: Path, seen: int, drawing: dict[str, Any]) -> None:
    """Draws from the model as saved, always from the same noise, and plots the loss."""
    drawn = draw(plan(folder, count=PREVIEW_PICTURES, **drawing))
    to = grid_path(folder, seen)
    to.parent.mkdir(exist_ok=True)
    write_png(to, grid(drawn.pixels, columns(drawn)), drawn.manifest)
    lines = [line for line in read_log(folder) if "loss" in line]
    plot_loss(folder / PLOT, [line["images"] for line in lines], [line["loss"] for line in lines], folder.name)
