"""A run of `voice train` from beginning to end."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ... import files
from ...audio.files import MP3, RATE, read_sound, write_short
from ...learning.config import RunConfig, last_part
from ...learning.driver import Cost, RunContext, ended, learn, with_measured_sizes
from ...learning.folder import LAST, PREVIOUS, best_average, clear, resumable
from ...learning.loop import Trainee, held_out
from ...learning.runlog import EventLog, append, plot
from ...learning.tasks import Task
from ...models import AVERAGES
from ...progress import Track, untracked
from ...signals import deferred
from ..library import LEARNED, WEIGHTS
from .clips import hashes
from .plan import Job, prepared
from .previews import SAMPLES, preview_path, speak
from .report import Figures, Judge, Recorded, Sentence, Tuned, notes_of, result_of, write_report
from .settings import Settings

log = logging.getLogger(__name__)


def train(
    voice: str, *, overwrite: bool = False, judge: Judge | None = None, track: Track = untracked, **settings: Any
) -> Tuned:
    """Trains an engine on a voice that voice prep made, or resumes the run in its folder. `settings` are fields of
    `Settings`; the length is one of `minutes` and `steps`.

    Raises DifftoolError: 1 if the loss stays not finite, 2 for settings that do not fit, 3 for a device that is not
    available, 4 for a voice or a network that is missing, too few clips, or a run with other settings, 6 if memory
    does not suffice for a single clip, 7 where no consent is recorded for the voice, 75 while another process trains
    it, 130 and 143 after Ctrl-C and SIGTERM, with the state saved.
    """
    began = time.monotonic()
    return run(prepared(Settings(voice=voice, **settings)), began, overwrite=overwrite, judge=judge, track=track)


def run(
    job: Job, began: float, *, overwrite: bool = False, judge: Judge | None = None, track: Track = untracked
) -> Tuned:
    """Trains, or resumes the run. Minutes count from `began` (`time.monotonic`) and include everything."""
    with deferred() as stop:
        resume = "resume with the same command, without --overwrite"
        context = RunContext(job.layout, stop, math.inf, None, None, track, resume=resume)
        try:
            with stop.at_once():  # outside updates a signal stops at once: everything can be repeated
                return _run(job, began, context, judge, overwrite=overwrite)
        except BaseException as error:
            if (known := ended(error, stop, saved=(job.folder / LAST).exists(), resume=resume)) is None:
                raise
            raise known from error


def _run(job: Job, began: float, context: RunContext, judge: Judge | None, *, overwrite: bool) -> Tuned:
    folder = job.folder
    with ExitStack() as stack:
        job.standing(overwrite=overwrite)
        stack.enter_context(files.writable(folder, option="--voices-dir"))
        stack.enter_context(files.lock(folder))
        # again, now that the lock keeps others out
        config, finished = job.standing(overwrite=overwrite)
        if finished:
            _tidy(folder)
            return result_of(job, config, finished_before=True)
        _begin(job, config, overwrite=overwrite)
        clips = job.tuning.clips
        for _ in context.track(job.tuning.prepare(folder), len(clips.train) + len(clips.held), "clips"):
            pass
        length, _ = last_part(config["train"])
        context = context._replace(end=began + 60 * length.get("minutes", math.inf))
        _learn(job, config, context)
        figures = _judged(job, judge, context.track) if judge else None
        notes = notes_of(folder, config)
        write_report(job, config, figures, notes)
        quality = figures.named if figures else None
        append(folder, {"finished": True, "quality": quality, "notes": notes})
        _tidy(folder)
        return result_of(job, config, finished_before=False)


def _begin(job: Job, config: RunConfig, *, overwrite: bool) -> None:
    """Makes the folder that of the run. What a run before it left is removed with `overwrite`, but for its weights:
    until there are others, the engine speaks with them."""
    if overwrite:
        for name in job.tuning.files:
            place = job.folder / name
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        clear(job.folder, job.layout, overwrite=True)
    if not resumable(job.folder):
        files.write_json(job.folder / "config.json", config)


def _tidy(folder: Path) -> None:
    """Removes what a finished run needs no more: its checkpoints take several times the space of the result."""
    for name in (LAST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / AVERAGES, ignore_errors=True)


def _learn(job: Job, config: RunConfig, context: RunContext) -> None:
    """Makes the remaining updates, with previews."""
    tuning, folder, train = job.tuning, job.folder, config["train"]

    def make() -> tuple[Trainee, Task]:
        return tuning.make(folder, config)

    first = preview_path(folder, 0)
    if not first.exists():
        speak(tuning, tuning.settings.text, first)
    sentences = min(tuning.judged, len(tuning.clips.held))
    cost = Cost(1, 2 * sentences, tuning.drawing)
    context = context._replace(end=with_measured_sizes(config, make, cost, context.end))
    trainee, task = make()
    if "held_out_before" not in train:
        bands = [loss for loss in held_out(trainee, task) or [] if loss is not None]
        train["held_out_before"] = sum(bands) / len(bands)
    log.info(f"held-out loss before training: {train['held_out_before']:.4f}")
    published, learned = list[Path | None](), hashes(tuning.voice)

    def publish(trainee: Trainee) -> None:
        best = best_average(folder)
        path = best.path if best else None
        if path is None or [path] != published:
            tuning.publish(folder / WEIGHTS, _weights(folder, trainee))
            files.write_json(folder / LEARNED, learned)
            published[:] = [path]

    def preview(trainee: Trainee, seen: int, events: EventLog | None) -> None:
        with _of_the_moment(job, trainee) as path:
            spoken = speak(tuning, tuning.settings.text, preview_path(folder, seen), path)
        if events is not None:
            events.writer.add_audio("preview", spoken.sounds[0], trainee.step, sample_rate=RATE)
            events.writer.flush()
        plot(folder)

    learn(folder, config, trainee, task, context._replace(publish=publish, preview=preview))
    tuning.export(folder, _weights(folder, trainee))


def _weights(folder: Path, trainee: Trainee) -> dict[str, Tensor]:
    """The best weights of a run so far, else those of the moment."""
    best = best_average(folder)
    if best is None:
        return trainee.averaged()
    return {name: value.float() for name, value in files.load_tensors(best.path).tensors.items()}


@contextmanager
def _of_the_moment(job: Job, trainee: Trainee) -> Iterator[Path]:
    """Inside, a file with the averaged weights of this moment."""
    path = files.temporary(job.folder / WEIGHTS)
    try:
        job.tuning.publish(path, trainee.averaged())
        yield path
    finally:
        path.unlink(missing_ok=True)


def _judged(job: Job, judge: Judge, track: Track) -> Figures:
    """The figures of held-out sentences, spoken without and with what was learned."""
    tuning, samples = job.tuning, job.folder / SAMPLES
    sentences: list[Sentence] = []

    def steps() -> Iterator[None]:
        for k, clip in enumerate(tuning.clips.held[: tuning.judged], 1):
            before = speak(tuning, clip.text, samples / f"before-{k}.mp3").sounds[0]
            yield
            after = speak(tuning, clip.text, samples / f"after-{k}.mp3", job.folder / WEIGHTS).sounds[0]
            write_short(samples / f"recorded-{k}.mp3", read_sound(clip.path, RATE), RATE, **MP3)
            sentences.append(Sentence(clip.text, before, after))
            yield

    for _ in track(steps(), 2 * min(tuning.judged, len(tuning.clips.held)), "sentences"):
        pass
    return judge(sentences, [Recorded(clip.text, read_sound(clip.path, RATE)) for clip in tuning.clips.held])
