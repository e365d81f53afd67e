"""Sounds from the spectrograms that a model generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.files import Samples
from ..audio.loudness import normalised
from ..audio.mels import Sound
from ..models import Model
from .editing import Edit, edit_of, frames_of, refuse_for_pictures, samples_of
from .settings import Settings
from .vocoders import Vocoder, vocoder_of

Mels = npt.NDArray[np.float32]

FADE = 0.01
"""Seconds of the cross-fade on either side of a mask."""
CONTEXT = 16
"""Frames on either side of a mask from which its sound is made too."""


class SoundPlan(NamedTuple):
    """What becomes of the spectrograms of a run."""

    own: Sound
    """What the model was trained on."""
    frames: int
    samples: int
    """Of each sound."""
    vocoder: Vocoder
    edit: Edit | None = None

    def stretched(self, model: Model) -> Model:
        """A model whose items are as long as these sounds."""
        return model._replace(shape=(*model.shape[:2], self.frames // model.stride))


def plan_sounds(settings: Settings, model: Model, device: torch.device | str) -> SoundPlan | None:
    """Checks the settings of sounds; None for a model of pictures. Raises DifftoolError 2 for settings that do not fit
    the model, 4 for an initial sound or a vocoder that cannot be opened."""
    own = model.sound
    if own is None:
        refuse_for_pictures(settings, model)
        return None
    vocoder = vocoder_of(settings.vocoder, own.format, settings.models_dir, device)
    edit = edit_of(settings, own, model.stride)
    if edit is not None:
        samples = len(edit.sound)
    else:
        samples = samples_of(settings.seconds, own.format.rate) or (own.frames - 1) * own.format.hop
    return SoundPlan(own, frames_of(samples, own, model.stride), samples, vocoder, edit)


def sounds_of(plan: SoundPlan, mels: Mels, seeds: Sequence[int]) -> list[Samples]:
    """The sounds, within [-1, 1], of spectrograms (N, mels, T) in [-1, 1]."""
    return [_sound(plan, torch.from_numpy(mel), seed).numpy() for mel, seed in zip(mels, seeds, strict=True)]


def _sound(plan: SoundPlan, mel: Tensor, seed: int) -> Tensor:
    if plan.edit is not None and plan.edit.inside is not None:
        return _spliced(plan, plan.edit, mel, seed)
    sound = _decoded(plan, mel, seed)
    if plan.own.format.relative and plan.edit is None:
        sound = torch.from_numpy(normalised(sound.numpy(), plan.own.format.rate))
    return sound[: plan.samples]


def _decoded(plan: SoundPlan, mel: Tensor, seed: int) -> Tensor:
    """The sound of a spectrogram, scaled to [-1, 1] where it is louder."""
    own = plan.own.format
    bands = own.bands(mel)
    if own.relative and plan.edit is not None:
        bands = bands * np.exp(plan.edit.loudest)
    sound = plan.vocoder.decode(bands, seed)
    return sound / sound.abs().max().clamp(min=1.0)


def _spliced(plan: SoundPlan, edit: Edit, mel: Tensor, seed: int) -> Tensor:
    """The initial sound, with that of the generated spectrogram inside the mask, faded into it outside."""
    assert edit.inside is not None
    (first, last), hop = edit.inside, plan.own.format.hop
    begin = max(0, first // hop - CONTEXT)
    end = min(mel.shape[-1], last // hop + 1 + CONTEXT)
    made = _decoded(plan, mel[:, begin:end], seed)
    before = begin * hop
    made = F.pad(made, (before, max(0, plan.samples - before - len(made))))[: plan.samples]
    fade = round(FADE * plan.own.format.rate)
    places = torch.arange(plan.samples)
    distance = torch.maximum(first - places, places - last + 1).clamp(0, fade)
    return edit.sound + (1 - distance / fade) * (made - edit.sound)
