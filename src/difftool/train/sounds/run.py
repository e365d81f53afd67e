"""A training run on sounds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ... import processes
from ...device import name_of
from ...learning.driver import Cost, RunContext, learn, with_measured_sizes
from ...learning.loop import Trainee
from ...learning.runlog import EventLog
from ...learning.tasks import Denoising, seeded
from ...models import build_net, save_model
from ...pictures.spectrograms import spectrogram_grid
from ...pixels.draw import ended, walk
from ...pixels.plan import SamplePlan, plan_samples_with
from ..data.sounds import Sounds, data_of
from ..previews import show
from ..recipe import Job, PictureConfig

if TYPE_CHECKING:
    from ...learning.config import RunConfig

log = logging.getLogger(__name__)

PREVIEWED, DRAWING_STEPS = 12, 25
"""Sounds in a preview, and steps to draw them."""
Mels = np.ndarray[Any, np.dtype[np.float32]]


def train_sounds(
    folder: Path, config: PictureConfig, job: Job, context: RunContext, *, overwrite: bool
) -> dict[str, float] | None:
    """Trains a model of sounds and returns the figures of its samples."""
    sounds, device, dtype = job.data, job.device, job.dtype
    assert isinstance(sounds, Sounds)
    data = data_of(sounds, device, config["train"].get("gain", 0.0))
    held = None if sounds.held_out is None else data_of(sounds.held_out, device)

    def make() -> tuple[Trainee, Denoising]:
        net = seeded(config["train"]["seed"], lambda: build_net(config["net"]))
        if job.weights is not None:
            net.load_state_dict({**net.state_dict(), **job.weights})
        task = Denoising(config, net, data, held, dtype)
        return Trainee(task.net, config["train"]), task

    cost = Cost(PREVIEWED, 0, DRAWING_STEPS)
    context = context._replace(end=with_measured_sizes(config, make, cost, context.end, context.preview_every))
    trainee, task = make()
    drawing = {"steps": DRAWING_STEPS, "device": str(device), "dtype": name_of(dtype)}

    def publish(trainee: Trainee) -> None:
        save_model(folder, config, trainee.averaged())

    def preview(trainee: Trainee, seen: int, events: EventLog | None) -> None:
        _preview(folder, trainee, seen, events, sounds, drawing)

    context = context._replace(publish=publish, preview=preview)
    learn(folder, config, trainee, task, context, overwrite=overwrite)
    return None


def _preview(
    folder: Path, trainee: Trainee, seen: int, events: EventLog | None, sounds: Sounds, drawing: dict[str, Any]
) -> None:
    """Draws spectrograms from the saved model, always from the same noise, and plots the loss."""
    classes = sounds.classes
    labels = [classes[k * len(classes) // PREVIEWED] for k in range(PREVIEWED)] if classes else None
    plan = plan_samples_with(folder, count=PREVIEWED, label=labels, **drawing)
    titles = [label or f"seed {k}" for k, label in enumerate(plan.labels)]
    grid = spectrogram_grid(drawn_mels(plan), sounds.format, titles)
    processes.agreed(lambda: show(folder, seen, trainee.step, {"": (grid, None)}, events))


def drawn_mels(plan: SamplePlan) -> Mels:
    """The spectrograms (N, mels, T) of a plan, in [-1, 1]."""
    parts = [state.x[:, 0].float().clamp(-1, 1) for _, state in walk(plan, plan.batch_size) if ended(plan, state)]
    return torch.cat(parts).cpu().numpy()
