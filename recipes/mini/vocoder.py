"""Trains the vocoder, FOLDER/vocoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from dataset import FACTORS, HALF, HELD_OUT, Rows, hertz_of, packed, picked, resampled, rows_of
from plan import TRAININGS
from runs import addresses, arguments, config_of, run, unbanded, with_weights
from torch import Tensor

from difftool.core.noise import uniform
from difftool.learning.config import RunConfig
from difftool.learning.tasks import HELD_SEED, indices, seeded
from difftool.nets.mini.mel import mel
from difftool.nets.mini.vocoder import BINS, Vocoder, centres, filtered
from difftool.nets.spectrum import HOP, sound_of

FRAMES = TRAININGS["vocoder"].frames
"""Of an item."""
RESOLUTIONS = ((256, 64), (512, 128), (1024, 256), (2048, 512))
"""Samples of a window, and between windows, of the spectra that are compared."""
FAINTEST = 1e-5
"""Magnitudes below count as this one."""
WHERE, FACTOR, HISS = 10, 11, 12
"""Stages of the random numbers."""
PITCH, VOICING = 0.1, 0.5
"""Weights of the losses of the pitch, and of whether there is one."""


class Inversion:
    """The task: sound from its own mel spectrogram."""

    banded = False

    def __init__(self, config: RunConfig, rows: Rows) -> None:
        self.train, self.rows = config["train"], rows
        self.net = seeded(0, lambda: Vocoder(**arguments(config)))
        self.held_out = HELD_OUT
        self.count = len(rows.speakers) - HELD_OUT

    def items(self, rows: list[int], seeds: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        """(sound (B, HOP * FRAMES), pitch (B, FRAMES)) of windows of these rows, by seeds (B,) and their numbers (B,)
        in a run."""
        places, factors = (uniform(seeds, here, stage, 1)[:, 0].tolist() for stage in (WHERE, FACTOR))
        each = [self._item(*three) for three in zip(rows, places, factors, strict=True)]
        sounds, pitches = zip(*each, strict=True)
        return torch.stack(sounds), torch.stack(pitches)

    def _item(self, row: int, place: float, draw: float) -> tuple[Tensor, Tensor]:
        """(sound (HOP * FRAMES,), pitch (FRAMES,) in Hz, 0 where unvoiced), from a `place` in (0, 1] of the row; `draw`
        in (0, 1] decides on the factor."""
        length, factor = HOP * FRAMES, FACTORS[picked(draw, len(FACTORS))]
        wanted = length * factor // 10 + HALF
        first, last = self.rows.starts[row : row + 2].tolist()
        room = max((last - first) - wanted // HALF - 1, 0)
        start = first + int(place * room)
        sound = resampled(self.rows.sounds[start * HALF : last * HALF][:wanted], factor)
        sound = F.pad(sound, (0, max(length - len(sound), 0)))[:length]
        return sound, torch.from_numpy(hertz_of(self.rows.pitch[start:last], FRAMES, factor))

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        """As `Task.losses`."""
        seed = self.train["seed"]
        numbers = indices(seed, self.count, first + rows.start, len(rows)).tolist()
        return self._losses(numbers, *addresses(seed, rows, first))

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        """As `Task.held_losses`."""
        held = [self.count + k for k in rows]
        with with_weights(self.net, weights):
            return self._losses(held, *addresses(HELD_SEED, rows))

    def _losses(self, numbers: list[int], seeds: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        sound, pitch = self.items(numbers, seeds, here)
        mels = mel(sound)
        with torch.autocast("cpu", torch.bfloat16):
            filters = self.net.filters_of(mels)
        hiss = uniform(seeds, here, HISS, sound.shape[-1]) * 2 - 1
        back = sound_of(filtered(filters, hiss, pitch))
        voiced = (pitch > 0).float()
        apart = pitch[..., None].clamp(min=1).log() - centres().log()
        nearest = apart.abs().argmin(-1)
        scores = filters.pitch
        bins = F.cross_entropy(scores[:, :BINS], nearest, reduction="none", label_smoothing=0.05) * voiced
        voicing = F.binary_cross_entropy_with_logits(scores[:, BINS], voiced, reduction="none")
        off = mel(back).clamp(min=math.log(FAINTEST)) - mels.clamp(min=-11.5)
        sounding = spectral(back, sound) + off.abs().mean((1, 2))
        return unbanded(PITCH * bins.mean(-1) + VOICING * voicing.mean(-1) + sounding)


def spectral(back: Tensor, sound: Tensor) -> Tensor:
    """(B,): the mean over resolutions of the distance of log magnitudes and the spectral convergence, of two sounds
    (B, S)."""
    total = torch.zeros(len(sound))
    for size, hop in RESOLUTIONS:
        window = torch.hann_window(size)
        ours, theirs = (torch.stft(x, size, hop, window=window, return_complex=True).abs() for x in (back, sound))
        off = ours.clamp(min=FAINTEST).log() - theirs.clamp(min=FAINTEST).log()
        convergence = _size(ours - theirs) / _size(theirs).clamp(min=1e-3)
        total = total + off.abs().mean((1, 2)) + convergence
    return total / len(RESOLUTIONS)


def _size(spectra: Tensor) -> Tensor:
    """(B,), the norms of spectra (B, F, T)."""
    return spectra.flatten(1).norm(dim=1)


def train(folder: Path, end: float) -> None:
    """The stage."""
    config = config_of("vocoder")
    run(folder / "vocoder", config, Inversion(config, rows_of(packed(folder))), end)
