"""The forward process: a picture on its way into noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..core.noise import START, Noise
from ..core.paths import Level
from ..core.solve import State
from ..errors import DifftoolError, Exit
from ..files import Manifest, ModelNote, digest_of, expanded, manifest, run_id
from ..models import Model, open_model
from ..outputs import Places
from ..pictures.images import fit, opened, rgb, upright
from ..pictures.png import MODES, write_gif, write_png
from ..pictures.sheets import image_grid, strip
from ..sampling.choice import choose_sampler
from ..settings import checked, manifest_of
from .draw import evenly, frame_of
from .settings import ForwardSettings
from .write import COLUMNS, FRAMES

if TYPE_CHECKING:
    from PIL import Image

    from ..pictures import Pixels

STEPS = FRAMES - 1
"""Default number of steps."""
LONGEST = 128
"""Pixels on the longer side of a picture that no model gives a size."""
COMMAND = "sample --forward"
HINT = "pass a picture"


@dataclass(frozen=True)
class ForwardPlan:
    """A picture and its levels, with all defaults resolved."""

    model: Model
    levels: Sequence[Level]
    """From clean data to the noisiest level."""
    x0: torch.Tensor
    """(1, C, H, W) in [-1, 1]"""
    settings: ForwardSettings
    """The settings that reproduce this plan."""


class ForwardManifest(Manifest):
    """How a picture was noised."""

    model: ModelNote
    files: dict[str, str]
    """Hash of the picture."""


class Noised(NamedTuple):
    """The frames of a forward process, and its files."""

    frames: list[Pixels]
    """uint8 (1, H, W, C) at each shown level"""
    levels: list[Level]
    """The shown levels."""
    manifest: ForwardManifest
    places: Places

    @property
    def strip(self) -> Pixels:
        """Some frames side by side."""
        return strip([self.frames[k] for k in evenly(len(self.frames) - 1, COLUMNS)])


def plan_forward(settings: ForwardSettings) -> ForwardPlan:
    """Opens the picture and the model. Raises DifftoolError 2 for a schedule that the model's path does not have or a
    model that draws no pictures, 4 for a picture or a model that cannot be opened."""
    settings = checked(settings)
    assert settings.init is not None
    model = open_model(settings.model)
    if model.sound is not None:
        message = f"--forward is for pictures, and {model.name} is a model of sounds"
        raise DifftoolError(Exit.USAGE, message, "use a model of pictures, or leave out MODEL")
    file = expanded(settings.init)
    pixels = np.asarray(_whole(file) if settings.model is None else _fitted(file, model))
    steps = STEPS if settings.steps is None else settings.steps
    choice = choose_sampler(model.path, "ddim", steps, settings.schedule)
    x0 = torch.from_numpy(pixels.copy()).reshape(1, *pixels.shape[:2], -1).permute(0, 3, 1, 2) / 127.5 - 1
    source = None if settings.model is None else model.source
    own = replace(settings, init=file.absolute(), model=source, steps=choice.asked, schedule=choice.schedule)
    return ForwardPlan(model, choice.levels[::-1], x0, own)


def _whole(file: Path) -> Image.Image:
    """A picture in its own colours and proportions, reduced to LONGEST."""
    image = rgb(file)
    image.thumbnail((LONGEST, LONGEST))
    return image


def _fitted(file: Path, model: Model) -> Image.Image:
    """A picture as training would show it to the model."""
    channels, height, width = model.shape
    mode = MODES.get(channels)
    if mode is None or height * width == 1:
        message = f"{model.name} does not draw pictures, but {channels} values for each of {width}x{height} points"
        raise DifftoolError(Exit.USAGE, message, "leave out MODEL to keep the picture's own size and colours")
    if mode in ("L", "RGB"):
        return fit(rgb(file).convert(mode), (width, height))
    with opened(file, HINT) as image:
        return fit(upright(image).convert("RGBA"), (width, height)).convert(mode)


def noised(plan: ForwardPlan, places: Places, name: str | None = None) -> Noised:
    """The states alpha * x0 + sigma * eps at the levels of the plan, with the noise of its seed, and their files to
    write; at most FRAMES levels are shown. name: the run's ID in the manifest."""
    eps = Noise([plan.settings.seed], tuple(plan.x0.shape[1:]))(START)
    levels = [plan.levels[k] for k in evenly(len(plan.levels) - 1, FRAMES)]
    states = [State(0, level, level.alpha * plan.x0 + level.sigma * eps, plan.x0) for level in levels]
    frames = [frame_of(state).state for state in states]
    model = plan.model
    about: ModelNote = {
        "name": model.name,
        "sha256": model.sha256,
        "size": list(plan.x0.shape[2:]),
        "classes": list(model.classes),
    }
    common = manifest(COMMAND, name or run_id(), manifest_of(plan.settings), model.packages)
    files = {str(plan.settings.init): digest_of(plan.settings.init or Path())[:16]}
    note: ForwardManifest = {**common, "model": about, "files": files}
    return Noised(frames, levels, note, places)


def write_noised(done: Noised) -> None:
    """Writes the strip and the animation."""
    picture, animation = done.places.trajectory
    write_gif(animation, [image_grid(frame) for frame in done.frames], done.manifest)
    write_png(picture, done.strip, done.manifest)
