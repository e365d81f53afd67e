"""Sounds of any length, and from other sounds: what a model of sounds is asked for besides its own."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..audio.files import read_sound
from ..audio.mels import Sound
from ..errors import DifftoolError, Exit
from ..files import expanded
from ..models import Model
from ..settings import name_of, options
from .settings import LONGEST, Settings, SoundSettings

STRENGTH = 0.5
"""Default strength with an initial sound that is not masked."""


class Edit(NamedTuple):
    """A sound to start from."""

    sound: Tensor
    """(S,) at the rate of the model"""
    mel: Tensor
    """(mels, T) in [-1, 1], as the model would see it"""
    loudest: float
    """The largest logarithm of a band, of which formats that are `relative` tell nothing"""
    inside: tuple[int, int] | None = None
    """The samples that are generated anew; None for all"""
    mask: Tensor | None = None
    """(T,) 1 for the frames inside, 0 for the others"""


def refuse_for_pictures(settings: Settings, model: Model) -> None:
    """Raises DifftoolError 2 for an option that has no effect on a model of pictures."""
    defaults = SoundSettings()
    for name, option in options(SoundSettings).items():
        if getattr(settings, name) != getattr(defaults, name):
            label = name_of(name, option)
            message = f"{label} is for sounds, and {model.name} is a model of pictures"
            raise DifftoolError(Exit.USAGE, message, f"leave out {label}, or use a model of sounds")


def edit_of(settings: Settings, own: Sound, stride: int = 1) -> Edit | None:
    """The sound that a run starts from, in the length of its result. Raises DifftoolError 2 for a mask beyond its end,
    4 for a file that is not a sound."""
    if settings.init is None:
        return None
    rate, hop = own.format.rate, own.format.hop
    longest = LONGEST * rate
    samples = samples_of(settings.seconds, rate)
    most = longest + 1 if samples is None else samples
    sound = torch.from_numpy(read_sound(expanded(settings.init), rate, centred=False, most=most))
    if samples is not None:
        sound = F.pad(sound, (0, samples - len(sound)))
    elif len(sound) > longest:
        message = f"{settings.init} is longer than {LONGEST} s"
        raise DifftoolError(Exit.USAGE, message, f"add --seconds for its beginning, such as --seconds {LONGEST}")
    whole = (frames_of(len(sound), own, stride) - 1) * hop
    logarithms = own.format.logarithms(F.pad(sound, (0, whole - len(sound))))
    edit = Edit(sound, own.format.scaled(logarithms), float(logarithms.max()))
    if settings.mask is None:
        return edit
    first, last = (round(second * rate) for second in settings.mask)
    centres = hop * torch.arange(edit.mel.shape[-1])
    mask = (centres >= first) & (centres <= last)
    if last > len(sound):
        message = f"--mask ends at {settings.mask[1]:g} s, but the sound at {len(sound) / rate:.2f} s"
        raise DifftoolError(Exit.USAGE, message, "add --seconds for a longer sound, or end the mask earlier")
    if not mask.any():
        message = f"--mask contains no frame, which are {1000 * hop / rate:.0f} ms apart"
        raise DifftoolError(Exit.USAGE, message, "make it longer")
    return edit._replace(inside=(first, last), mask=mask.float())


def samples_of(seconds: float | None, rate: int) -> int | None:
    """The samples of a sound of so many seconds, at least one."""
    return None if seconds is None else max(1, round(seconds * rate))


def frames_of(samples: int, own: Sound, stride: int) -> int:
    """The frames of a sound, a multiple of `stride`, at least those of a window."""
    needed = 1 + math.ceil(samples / own.format.hop)
    return max(own.frames, stride * math.ceil(needed / stride))


def strength_of(settings: Settings) -> float | None:
    """The share of the initial sound that is generated anew; None without one."""
    if settings.init is None or settings.strength is not None:
        return settings.strength
    return STRENGTH if settings.mask is None else 1.0
