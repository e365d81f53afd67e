"""Trains the vocoder: `vocoder.py PACKED RUN ITEMS MINUTES`, resumed by repeating it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio
from runs import config_of, run
from torch import Tensor

from difftool.core.noise import keys, uniform
from difftool.learning.config import RunConfig
from difftool.learning.tasks import HELD_SEED, indices, seeded
from difftool.nets.mini.vocoder import BINS, HOP, MELS, RATE, WINDOW, Vocoder, centres

FRAMES, HALF = 64, 300
"""Frames of an item; samples of a value of the teacher's pitch."""
FACTORS = (8, 9, 10, 11, 12)
"""Resampled to 10 / this of the length, so that pitch and formants move together."""
RESOLUTIONS = ((256, 64), (512, 128), (1024, 256), (2048, 512))
HELD_OUT = 64
WHERE, FACTOR, HISS = 10, 11, 12
"""Stages of the random numbers."""


class Inversion:
    """The task: sound from its own mel spectrogram."""

    banded = False

    def __init__(self, config: RunConfig, packed: Path) -> None:
        self.train = config["train"]
        net = {key: value for key, value in config["net"].items() if key != "type"}
        self.net = seeded(0, lambda: Vocoder(**net))
        self.sounds = np.memmap(packed / "sounds.i16", np.int16, "r")
        with np.load(packed / "rows.npz") as rows:
            lengths, self.pitch = rows["frames_per_row"], rows["pitch"].astype(np.float32)
        self.starts = np.concatenate([[0], np.cumsum(lengths)])
        self.held_out = HELD_OUT
        self.count = len(lengths) - HELD_OUT
        self.mel = torchaudio.transforms.MelSpectrogram(RATE, WINDOW, hop_length=HOP, n_mels=MELS, power=1)

    def items(self, rows: list[int], seeds: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        """(sound (R, HOP * FRAMES), pitch (R, FRAMES)) of windows of these rows."""
        places, factors = (uniform(seeds, here, stage, 1)[:, 0].tolist() for stage in (WHERE, FACTOR))
        sounds, pitches = [], []
        for row, place, draw in zip(rows, places, factors, strict=True):
            factor = FACTORS[min(int(draw * len(FACTORS)), len(FACTORS) - 1)]
            wanted = HOP * FRAMES * factor // 10 + HALF
            first, last = self.starts[row], self.starts[row + 1]
            start = first + int(place * max((last - first) - wanted // HALF - 1, 0))
            sound = torch.from_numpy(self.sounds[start * HALF : last * HALF][:wanted].astype(np.float32) / 32768)
            pitch = self.pitch[start:last]
            if factor != 10:
                sound = torchaudio.functional.resample(sound, factor, 10)
            sounds.append(F.pad(sound, (0, max(HOP * FRAMES - len(sound), 0)))[: HOP * FRAMES])
            centre = np.arange(FRAMES) * HOP * factor / 10 / HALF
            nearest = np.round(centre - 0.5).clip(0).astype(int)
            hertz = np.where(nearest < len(pitch), pitch[nearest.clip(max=len(pitch) - 1)], 0) * factor / 10
            pitches.append(torch.from_numpy(np.where(hertz > 40, hertz, 0).astype(np.float32)))
        return torch.stack(sounds), torch.stack(pitches)

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        numbers = indices(self.train["seed"], self.count, first + rows.start, len(rows)).tolist()
        here = torch.arange(first + rows.start, first + rows.stop)
        return self._losses(self.net, numbers, keys([self.train["seed"]] * len(rows)), here)

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        own = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.net.load_state_dict(dict(weights), strict=False)
        here = torch.arange(rows.start, rows.stop)
        result = self._losses(self.net, [self.count + k for k in rows], keys([HELD_SEED] * len(rows)), here)
        self.net.load_state_dict(own, strict=False)
        return result

    def _losses(self, net: Vocoder, numbers: list[int], seeds: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        sound, pitch = self.items(numbers, seeds, here)
        mel = self.mel(sound)[..., :FRAMES].clamp(min=1e-7).log()
        with torch.autocast("cpu", torch.bfloat16):
            filters = net.filters_of(mel)
        hiss = uniform(seeds, here, HISS, sound.shape[-1]) * 2 - 1
        back = net.sound(filters, hiss, pitch)
        voiced = (pitch > 0).float()
        nearest = (pitch[..., None].clamp(min=1).log() - centres().log()).abs().argmin(-1)
        scores = filters.pitch
        bins = F.cross_entropy(scores[:, :BINS], nearest, reduction="none", label_smoothing=0.05) * voiced
        gate = F.binary_cross_entropy_with_logits(scores[:, BINS], voiced, reduction="none")
        total = 0.1 * bins.mean(-1) + 0.5 * gate.mean(-1) + spectral(back, sound)
        mels = (self.mel(back)[..., :FRAMES].clamp(min=1e-5).log() - mel.clamp(min=-11.5)).abs().mean((1, 2))
        return total + mels, torch.zeros(len(total), dtype=torch.int64)


def spectral(back: Tensor, sound: Tensor) -> Tensor:
    """(B,): the mean over resolutions of the distance of log magnitudes and the spectral convergence."""
    total = torch.zeros(len(sound))
    for size, hop in RESOLUTIONS:
        window = torch.hann_window(size)
        ours, theirs = (torch.stft(x, size, hop, window=window, return_complex=True).abs() for x in (back, sound))
        off = (ours.clamp(min=1e-5).log() - theirs.clamp(min=1e-5).log()).abs().mean((1, 2))
        total = total + off + (ours - theirs).flatten(1).norm(dim=1) / theirs.flatten(1).norm(dim=1).clamp(min=1e-3)
    return total / len(RESOLUTIONS)


def main() -> None:
    packed, folder, items, minutes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(int(sys.argv[5]) if len(sys.argv) > 5 else 2)
    net = {"width": 256, "hidden": 640, "blocks": 6}
    config = config_of("vocoder", net, items, 16, 1e-3, "kokoro mixes")
    run(folder, config, lambda config: Inversion(config, packed), minutes)


if __name__ == "__main__":
    main()
