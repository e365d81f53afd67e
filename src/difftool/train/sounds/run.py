"""A training run on sounds: the parts in which it differs from one on pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from ... import processes
from ...audio.files import write_short
from ...device import name_of
from ...learning.config import chosen
from ...learning.driver import Cost, RunContext, learn, with_measured_sizes
from ...learning.loop import Trainee
from ...learning.runlog import EventLog, plot
from ...learning.tasks import Denoising, seeded
from ...models import build_net, save_model
from ...pictures.plots import plot_spectrograms
from ...pictures.png import read_png
from ...pixels.draw import Sampled, draw_samples, with_sounds
from ...pixels.plan import SamplePlan, plan_samples_with
from ..data.sounds import Sounds
from ..data.windows import data_of
from ..previews import grid_path
from ..quality import by_share
from ..recipe import Job, PictureConfig
from .quality import FEWEST, JUDGE_SEED, JUDGED, is_measurable, quality_of, sound_of, windows_of

log = logging.getLogger(__name__)

PREVIEWED, DRAWING_STEPS = 12, 25
"""Sounds in a preview, and steps to draw them."""
HEARD = 3
"""Held-out windows in the report, as they are and after the inversion."""


class Drawing(NamedTuple):
    """How a run draws samples of its model."""

    folder: Path
    sounds: Sounds
    device: str
    dtype: str

    def previewed(self) -> SamplePlan:
        """The sounds of a preview, always from the same noise; of some classes if there are many."""
        classes = self.sounds.classes
        labels = [classes[k * len(classes) // PREVIEWED] for k in range(PREVIEWED)] if classes else None
        return self._plan(PREVIEWED, labels, 0)

    def judged(self) -> SamplePlan:
        """The sounds of the figures."""
        labels = by_share(self.sounds.held_out or self.sounds, self.sounds.classes, JUDGED)
        return self._plan(JUDGED, labels, JUDGE_SEED)

    def _plan(self, count: int, labels: Sequence[str] | None, seed: int) -> SamplePlan:
        machine = {"device": self.device, "dtype": self.dtype}
        return plan_samples_with(self.folder, count=count, label=labels, seed=seed, steps=DRAWING_STEPS, **machine)


def drawing_of(folder: Path, job: Job) -> Drawing:
    assert isinstance(job.data, Sounds)
    return Drawing(folder, job.data, str(job.device), name_of(job.dtype))


def train_sounds(
    folder: Path, config: PictureConfig, job: Job, context: RunContext, *, overwrite: bool
) -> dict[str, float] | None:
    """Trains a model of sounds and returns the figures of its samples."""
    drawing = drawing_of(folder, job)
    sounds, device = drawing.sounds, job.device
    data = data_of(sounds, device, chosen(config["train"], "gain", 0.0))
    held = None if sounds.held_out is None else data_of(sounds.held_out, device)

    def make() -> tuple[Trainee, Denoising]:
        net = seeded(config["train"]["seed"], lambda: build_net(config["net"]))
        if job.weights is not None:
            net.load_state_dict({**net.state_dict(), **job.weights})
        task = Denoising(config, net, data, held, job.dtype)
        return Trainee(task.net, config["train"]), task

    judged = JUDGED if is_measurable(sounds) else 0
    cost = Cost(PREVIEWED, judged + PREVIEWED, DRAWING_STEPS)  # those of the report are drawn again
    context = context._replace(end=with_measured_sizes(config, make, cost, context.end, context.preview_every))
    trainee, task = make()

    def publish(trainee: Trainee) -> None:
        save_model(folder, config, trainee.averaged())

    def preview(trainee: Trainee, seen: int, events: EventLog | None) -> None:
        drawn = draw_samples(drawing.previewed())
        processes.agreed(lambda: _show(drawing, drawn, seen, trainee.step, events))

    context = context._replace(publish=publish, preview=preview)
    learn(folder, config, trainee, task, context, overwrite=overwrite)
    if not is_measurable(sounds):
        return None
    log.info(f"evaluating {JUDGED} samples")
    mels = draw_samples(drawing.judged()).mels
    assert mels is not None
    return processes.agreed(lambda: quality_of(mels, sounds)._asdict())


def _show(drawing: Drawing, drawn: Sampled, seen: int, step: int, events: EventLog | None) -> None:
    """Writes spectrograms as the preview after `seen` windows, also for TensorBoard, and plots the loss."""
    own, path = drawing.sounds.format, grid_path(drawing.folder, seen)
    path.parent.mkdir(exist_ok=True)
    rows = list(zip(_titles(drawn), drawn.pixels, strict=True))
    plot_spectrograms(path, rows, own.hop / own.rate, own.centres(), drawn.manifest)
    if events is not None:
        events.writer.add_image("samples", read_png(path)[0][..., :3], step, dataformats="HWC")
        events.writer.flush()
    plot(drawing.folder)


def _titles(drawn: Sampled) -> list[str]:
    """A title for each sound."""
    return [item.get("label") or f"seed {item['seed']}" for item in drawn.items]


def missing(sounds: Sounds) -> str:
    """Why a run has no figures."""
    held_out = 0 if sounds.held_out is None else sounds.held_out.items
    return f"no quality figures: they need {FEWEST} held-out windows, and there are {held_out}"


@contextmanager
def heard(drawing: Drawing) -> Iterator[dict[str, Path]]:
    """Files of the sounds in the report, by title: those of the preview, and of some held-out windows what is left of
    them after the inversion."""
    own, held_out = drawing.sounds.format, drawing.sounds.held_out
    drawn = with_sounds(draw_samples(drawing.previewed()))
    named = {f"{k}: {title}": sound for k, (title, sound) in enumerate(zip(_titles(drawn), drawn.sounds, strict=True))}
    if held_out is not None:
        for k, sound in enumerate(sound_of(windows_of(held_out, HEARD), own)):
            named[f"held out {k}, after the inversion"] = sound
    with TemporaryDirectory() as folder:
        files = {title: Path(folder) / f"{k}.flac" for k, title in enumerate(named)}
        for title, sound in named.items():
            write_short(files[title], sound, own.rate, format="FLAC")
        yield files
