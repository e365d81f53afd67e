"""The figures of a model of sounds, against held-out recordings, beside the ceiling of its representation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ...audio.inversion import inverted
from ...audio.mels import MelFormat
from ...learning.metrics import frechet, scattered
from ..data.sounds import Sounds
from ..data.windows import Windows

Mels = np.ndarray[Any, np.dtype[np.float32]]

JUDGED, JUDGE_SEED = 50, 1000
"""Sounds drawn for the figures of a run, and the seed of the first: they share no noise with the previews."""
FEWEST = 20
"""Least number of held-out windows for figures."""
COMPARED = 500
"""Most held-out windows that are compared with."""
NEIGHBOURS = 100
"""Those of which the nearest training window is sought."""
INVERTED = 20
"""Held-out windows that go through the inversion."""
STARTS = 20_000
"""Most windows of the training data that the nearest one is sought among."""
BLOCK = 1024
"""Of these windows that are in memory at a time."""
STEP = 4
"""Frames between which differences are taken."""


class SoundQuality(NamedTuple):
    """Figures of drawn spectrograms against held-out ones, in dB of the bands."""

    fd: float
    """Frechet distance of the mean and the deviation of each band and of its changes over STEP frames, in dB squared,
    divided by their number."""
    nearest: float
    """Median distance to the nearest training window over the same for held-out ones: far below 1 is memorised."""
    ceiling: float
    """Mean absolute difference in dB of held-out windows from what is left of them after the inversion to sound."""
    ceiling_fd: float
    """The Frechet distance of these windows from themselves after the inversion."""


def is_measurable(sounds: Sounds) -> bool:
    """Whether enough is held out for figures."""
    return sounds.held_out is not None and sounds.held_out.items >= FEWEST


def windows_of(sounds: Sounds, most: int) -> Mels:
    """Windows (N, mels, frames) of sounds, at most so many, spread over all of them."""
    windows = Windows(sounds, torch.device("cpu"))
    numbers = torch.from_numpy(scattered(len(windows), most))
    return windows[numbers][:, 0].numpy()


def quality_of(drawn: Mels, sounds: Sounds) -> SoundQuality:
    """Compares spectrograms (N, mels, frames) in [-1, 1] with held-out windows."""
    assert sounds.held_out is not None
    own = sounds.format
    real = windows_of(sounds.held_out, COMPARED)
    some = windows_of(sounds.held_out, NEIGHBOURS)
    far, usual = (float(np.median(distances)) for distances in _nearest([drawn, some], sounds))
    again = real[:INVERTED]
    back = _through_sound(again, own)
    ceiling = np.abs(back - again).mean() / own.shift(1)
    return SoundQuality(distance(drawn, real, own), far / max(usual, 1e-9), float(ceiling), distance(back, again, own))


def of_real(sounds: Sounds) -> dict[str, float]:
    """The same figures of as many training windows in place of samples, as far as they are known."""
    assert sounds.held_out is not None
    real = windows_of(sounds.held_out, COMPARED)
    return {"fd": distance(windows_of(sounds, JUDGED), real, sounds.format), "nearest": 1.0}


def distance(a: Mels, b: Mels, own: MelFormat) -> float:
    """The Frechet distance of two sets of spectrograms (N, mels, frames), with shrunk covariances."""
    from sklearn.covariance import ledoit_wolf

    one, two = features(a, own), features(b, own)
    return frechet(one, two, covariance=lambda x: ledoit_wolf(x)[0]) / one.shape[1]


def features(mels: Mels, own: MelFormat) -> np.ndarray[Any, Any]:
    """(N, 4 mels) in dB: the mean and the deviation of each band over time, and those of its changes over STEP
    frames."""
    decibels = mels.astype(np.float64) / own.shift(1)
    changes = decibels[..., STEP:] - decibels[..., :-STEP]
    return np.concatenate([decibels.mean(2), decibels.std(2), changes.mean(2), changes.std(2)], 1)


def sound_of(mels: Mels, own: MelFormat) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The sounds (N, S) in [-1, 1] of spectrograms (N, mels, T), without a vocoder."""
    sounds = inverted(own, own.bands(torch.from_numpy(mels)), range(len(mels)))
    return (sounds / sounds.abs().amax(1, keepdim=True).clamp(min=1)).numpy()


def _through_sound(mels: Mels, own: MelFormat) -> Mels:
    """Spectrograms after the inversion to sound."""
    return own.encode(torch.from_numpy(sound_of(mels, own))).numpy()


def _nearest(sets: Sequence[Mels], sounds: Sounds) -> list[np.ndarray[Any, Any]]:
    """For each set of spectrograms (N, mels, frames) their distances (N,) to the nearest of all windows of the training
    data, or of STARTS of them."""
    windows = Windows(sounds, torch.device("cpu"))
    every = torch.from_numpy(scattered(len(windows.starts), STARTS))
    flat = [torch.from_numpy(mels).flatten(1) for mels in sets]
    best = [torch.full((len(mels),), torch.inf) for mels in sets]
    for places in every.split(BLOCK):
        trained = windows.everywhere(places).flatten(1)
        best = [
            torch.minimum(known, torch.cdist(mels, trained).amin(1)) for known, mels in zip(best, flat, strict=True)
        ]
    return [known.numpy() for known in best]
