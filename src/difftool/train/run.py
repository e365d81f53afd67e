"""A training run from beginning to end: `difftool train`."""

from __future__ import annotations

import logging
import math
import shlex
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from .. import files, processes
from ..device import machine_name, name_of
from ..errors import DifftoolError, Exit
from ..learning.config import items_of, last_part
from ..learning.driver import Cost, RunContext, ended, learn, with_measured_sizes
from ..learning.folder import LAST, REPORT, standing
from ..learning.loop import Trainee
from ..learning.report import Outcome, ReportLabels
from ..learning.report import write as write_report
from ..learning.runlog import EventLog, append, improving, read_log, training_seconds
from ..learning.tasks import Denoising, seeded
from ..models import Model, build_net, open_model, save_model
from ..pictures.png import write_png
from ..pictures.sheets import sheet
from ..pixels.draw import columns, draw_samples
from ..pixels.plan import SamplePlan, plan_samples_with
from ..progress import Track, untracked
from ..provenance import remember_data
from ..settings import exclude_each_other
from ..signals import deferred
from .data.pictures import Pictures
from .data.tensors import data_of
from .outcome import Trained, more_command, next_command, report
from .previews import AUTOENCODER, FIGURES, FIGURES_OF_SOUNDS, grid_path, layout, nearest_strip, show
from .quality import COPIED, FEWEST, JUDGE_SEED, JUDGED, by_share, is_measurable, measure, of_real
from .recipe import Job, PictureConfig, prepared
from .settings import Settings, amount_of

log = logging.getLogger(__name__)

PREVIEW_PICTURES, RAW_PICTURES, DRAWING_STEPS = 40, 20, 25


class Drawing(TypedDict):
    """How a run draws samples of its model."""

    steps: int
    device: str
    dtype: str


def train(
    data: str | Path | None = None,
    *,
    output_dir: str | Path | None = None,
    overwrite: bool = False,
    track: Track = untracked,
    **settings: Any,
) -> Trained:
    """Trains a model of pictures or sounds in the folder `output_dir`, or resumes the run in it.

    Args:
        data: what `data.pictures.load` reads; None is the preset's own data set.
        output_dir: the folder of the run; None is a new one below outputs/train.
        overwrite: replaces the run in the folder.
        track: follows the updates, to show progress.
        settings: fields of `Settings`. The length is one of `steps`, `images`, `epochs` and `minutes`, or of `more` for
            a finished run in `output_dir`; `init_from` is a model as for `open_model`; `size` is
            (width, height); `weight`, `times` and `betas` are rows of `core.WEIGHTS`, `core.DENSITIES` and names of
            `core.betas`. By default the state is saved every minute and previews are drawn five times; `save_every`
            and `preview_every` count pictures or windows.

    With several processes (torchrun) each does its share, and the first one writes.

    Raises DifftoolError: 1 if the loss stays not finite, 2 for settings that do not fit, 3 for a device that is not
    available, 4 for data that cannot be trained on or a folder that holds something else, 6 if memory does not suffice
    for a single item, 75 while another process trains there, 130 and 143 after Ctrl-C and SIGTERM, with the state
    saved.
    """
    began = time.monotonic()
    folder = files.default_dir("train", files.run_id()) if output_dir is None else files.expanded(output_dir)
    job = prepared(Settings(data=data, **settings))
    return run(job, folder, began, overwrite=overwrite, track=track)


def run(job: Job, folder: Path, began: float, *, overwrite: bool = False, track: Track = untracked) -> Trained:
    """Trains in `folder`, or resumes the run there. Minutes count from `began` (`time.monotonic`) and include
    everything the command does."""
    folder = processes.agreed(lambda to=folder: to)  # without --output-dir each process made up a name
    again = f"--output-dir {shlex.quote(str(folder))}"
    settings = job.settings
    with deferred() as stop:
        resume = f"resume with the same command, with {again} and without --overwrite"
        context = RunContext(
            layout(job.config), stop, math.inf, settings.save_every, settings.preview_every, track, resume=resume
        )
        try:
            with stop.at_once():  # outside updates a signal stops at once: everything can be repeated
                return _run(job, folder, began, context, overwrite=overwrite)
        except BaseException as error:
            if (known := ended(error, stop, saved=_is_saved(folder, job), resume=resume)) is None:
                raise
            if known.code == Exit.MEMORY:
                known.hint = f"add --micro-batch 1 or {known.hint}"
            raise known from error


def _is_saved(folder: Path, job: Job) -> bool:
    """Whether there is a checkpoint of this run."""
    try:
        check(job, folder, overwrite=False)
        return any(folder.rglob(LAST))
    except DifftoolError:
        return False


def _run(job: Job, folder: Path, began: float, context: RunContext, *, overwrite: bool) -> Trained:
    with ExitStack() as stack:

        def enter() -> tuple[PictureConfig, bool]:
            check(job, folder, overwrite)
            stack.enter_context(files.writable(folder))
            stack.enter_context(files.lock(folder))
            if job.data.path is not None:
                remember_data(job.config["train"]["data"]["sha256"], job.data.path)  # for `runs show`
            return check(job, folder, overwrite)  # again, now that the lock keeps others out

        config, finished = processes.agreed(enter)
        if finished:
            return report(folder, config, job.data, finished_before=True)
        if config["train"].get("more") and job.settings.more is None:
            log.info("this run was extended with --more; the extension is resumed")
        length, _ = last_part(config["train"])
        minutes = length.get("minutes", math.inf)
        context = context._replace(end=began + minutes * 60)
        if "autoencoder" in config:
            from .text2img.run import stages

            quality = stages(folder, config, job, context, began, overwrite=overwrite)
        elif "sound" in config:
            from .sounds.run import train_sounds

            quality = train_sounds(folder, config, job, context, overwrite=overwrite)
        else:
            quality = _pixels(folder, config, job, context, overwrite=overwrite)
        processes.agreed(lambda: _close(folder, config, job, quality))
        return report(folder, config, job.data, finished_before=False)


def _pixels(
    folder: Path, config: PictureConfig, job: Job, context: RunContext, *, overwrite: bool
) -> dict[str, float] | None:
    """Trains a model of pixels and returns the figures of its samples."""
    pictures, device, dtype = job.pictures, job.device, job.dtype
    data = data_of(pictures, device)
    held = None if pictures.held_out is None else data_of(pictures.held_out, device)

    def make() -> tuple[Trainee, Denoising]:
        net = seeded(config["train"]["seed"], lambda: build_net(config["net"]))
        if job.weights is not None:
            net.load_state_dict({**net.state_dict(), **job.weights})
        task = Denoising(config, net, data, held, dtype)
        return Trainee(task.net, config["train"]), task

    cost = Cost(PREVIEW_PICTURES + RAW_PICTURES, JUDGED if is_measurable(pictures) else 0, DRAWING_STEPS)
    context = context._replace(end=with_measured_sizes(config, make, cost, context.end, context.preview_every))
    trainee, task = make()
    drawing: Drawing = {"steps": DRAWING_STEPS, "device": str(device), "dtype": name_of(dtype)}

    def publish(trainee: Trainee) -> None:
        save_model(folder, config, trainee.averaged())

    def preview(trainee: Trainee, seen: int, events: EventLog | None) -> None:
        _preview(folder, trainee, seen, events, pictures, drawing)

    context = context._replace(publish=publish, preview=preview)
    learn(folder, config, trainee, task, context, overwrite=overwrite)
    return _measured(folder, config, pictures, drawing)


def check(job: Job, folder: Path, overwrite: bool) -> tuple[PictureConfig, bool]:
    """(the config of the run in `folder`, with the extension that was asked for; whether it is finished). Changes
    nothing. Raises DifftoolError 2 for a folder inside the training data, 4 for one that holds something else."""
    more = job.settings.more
    if more is not None and overwrite:
        raise exclude_each_other("--more", "--overwrite")
    start = job.settings.init_from
    if start is not None and overwrite and folder.resolve() == files.expanded(start).resolve():
        message = f"{folder} holds the model that the run begins with; it would be overwritten"
        raise DifftoolError(Exit.USAGE, message, "choose another folder with --output-dir")
    source = job.data.path
    if source is not None and folder.resolve().is_relative_to(source.resolve()):
        message = f"{folder} is inside the training data; the samples of the run would become part of it"
        raise DifftoolError(Exit.USAGE, message, "choose another folder with --output-dir")
    return standing(folder, job.config, layout(job.config), overwrite, None if more is None else amount_of(more))


def _preview(
    folder: Path, trainee: Trainee, seen: int, events: EventLog | None, pictures: Pictures, drawing: Drawing
) -> None:
    """Draws from the saved model and from the weights without averaging, always from the same noise, and plots the
    loss. The classes have their shares of the training pictures, in order if the shares differ."""

    def planned(model: Path | Model, count: int) -> SamplePlan:
        labels = by_share(pictures, pictures.classes, count)
        if labels:
            labels = sorted(labels, key=pictures.classes.index)
        return plan_samples_with(model, count=count, label=labels, **drawing)

    drawn = draw_samples(planned(folder, PREVIEW_PICTURES))
    trainee.net.eval()
    model = open_model(folder)._replace(net=trainee.net)
    try:
        raw = draw_samples(planned(model, RAW_PICTURES))
    finally:
        trainee.net.train()

    sheets = {}
    for kind, sampled in (("raw", raw), ("", drawn)):
        sheets[kind] = sheet(sampled.pixels, columns(sampled)), sampled.manifest
    processes.agreed(lambda: show(folder, seen, trainee.step, sheets, events))


def _measured(folder: Path, config: PictureConfig, pictures: Pictures, drawing: Drawing) -> dict[str, float] | None:
    """The figures of a finished run; also writes the strip of nearest training pictures."""
    count = JUDGED if is_measurable(pictures) else PREVIEW_PICTURES
    compared = pictures.held_out if is_measurable(pictures) else None
    labels = by_share(compared or pictures, pictures.classes, count)
    log.info(f"evaluating {count} samples" if is_measurable(pictures) else "finding the nearest training pictures")
    drawn = draw_samples(plan_samples_with(folder, count=count, seed=JUDGE_SEED, label=labels, **drawing))

    def judging() -> dict[str, float] | None:
        if not pictures.points:
            strip = nearest_strip(drawn.pixels, pictures.pixels)
            write_png(grid_path(folder, config["train"]["images"], "nearest"), strip)
        return measure(drawn, pictures) if is_measurable(pictures) else None

    return processes.agreed(judging)


def _close(folder: Path, config: PictureConfig, job: Job, quality: dict[str, float] | None) -> None:
    """Writes the report and the last line of the log."""
    with ExitStack() as stack:
        closing = _closing_sounds(folder, job, quality, stack) if "sound" in config else _closing(job, quality)
        notes = [improving(read_log(folder)), *closing.notes]
        before = training_seconds(read_log(folder / AUTOENCODER))
        outcome = Outcome(quality, closing.real, notes, machine_name(job.device), before)
        images = config["train"]["images"]
        shown = {title: grid_path(folder, images, kind) for title, kind in closing.grids.items()}
        commands = {
            "generate samples": next_command(folder, config),
            "train further, with the other options of this run": more_command(folder, job.settings.data),
        }
        labels = ReportLabels(items_of(config), closing.figures, commands)
        write_report(folder / REPORT, config, outcome, shown, labels, closing.sounds)
    append(folder, {"finished": True, "quality": quality, "notes": notes})


class _Closing(NamedTuple):
    """What the report says of the data of a run."""

    notes: list[str]
    real: dict[str, float]
    """The figures of real items in place of samples"""
    figures: Mapping[str, tuple[str, str]]
    grids: dict[str, str]
    """Kinds of grids by title"""
    sounds: Mapping[str, Path]


def _closing(job: Job, quality: dict[str, float] | None) -> _Closing:
    pictures, notes = job.pictures, []
    if quality is not None and quality["nearest"] < COPIED and not pictures.points:
        notes.append(_copied("pictures", quality["nearest"]))
    if quality is None:
        held_out = 0 if pictures.held_out is None else pictures.held_out.items
        notes.append(f"no quality figures: they need {FEWEST} held-out pictures, and there are {held_out}")
    real = {} if quality is None else of_real(pictures)
    grids = {
        "Samples with averaged weights": "",
        "Samples with the last weights, from the same noise": "raw",
        "Samples above, nearest training pictures below": "nearest",
    }
    return _Closing(notes, real, FIGURES, grids, {})


def _closing_sounds(folder: Path, job: Job, quality: dict[str, float] | None, stack: ExitStack) -> _Closing:
    from .sounds import quality as of_sounds
    from .sounds.run import drawing_of, heard, missing

    drawing, notes = drawing_of(folder, job), []
    if quality is not None and quality["nearest"] < COPIED:
        notes.append(_copied("windows", quality["nearest"]))
    if quality is None:
        notes.append(missing(drawing.sounds))
    real = {} if quality is None else of_sounds.of_real(drawing.sounds)
    files = stack.enter_context(heard(drawing))
    return _Closing(notes, real, FIGURES_OF_SOUNDS, {"Samples with averaged weights": ""}, files)


def _copied(items: str, nearest: float) -> str:
    """The warning that samples copy the training data."""
    note = f"the samples copy training {items} (nearest {nearest:.2f}); use more data or a shorter run"
    log.warning(note)
    return note
