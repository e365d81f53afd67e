"""Trains durations and flow, FOLDER/speech."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from dataset import packed
from pairs import LENGTH, LONGEST, Batch, Pairs
from runs import addresses, arguments, config_of, masked_mean, run, unbanded, with_weights
from torch import Tensor, nn

from difftool.core.noise import keys, normal, uniform
from difftool.core.objective import DENSITIES, loss, times, training_level
from difftool.core.paths import Flow as Straight
from difftool.core.predict import FLOW
from difftool.learning.config import RunConfig
from difftool.learning.tasks import HELD_SEED, seeded
from difftool.nets.mini.speech import CHANNELS, Speech, normalised, spread_out
from difftool.nets.spectrum import MELS

NOISE = 0
"""Stage of the random numbers; the others are those of `pairs`."""
ALONE = 0.1
"""Share of the items without a voice, for guidance."""
PITCHLESS = 0.25
"""Share of those without a voice in which the pitch is unknown, too: guidance shall not move it."""
NOISIER = {"mean": 0.8, "std": 1.4}
"""Of the times: nearly pure noise, where timbre and pitch are decided, comes oftener than with the usual mean of 0."""
CUT, FLOOR = 16, 17
"""Stages of the random numbers of `worn`."""
LOWEST_CUT, QUIETEST, NOISE_RANGE = 62, -16.1, 8.0
"""The lowest band above which a reference is cut off, 3.5 kHz; the log mel of silence, and how far noise lies above."""
TUNING = 10**0.5
"""What the error of the pitch is multiplied by: it counts as much as ten bands."""
GUESSING, PACING = 0.2, 0.1
"""Weights of the losses of the guess and of the durations."""


class Guess(nn.Module):
    """A mel spectrogram from text and voice at once: what the text's vectors are trained on besides the flow. It is not
    needed to speak."""

    def __init__(self, net: Speech) -> None:
        super().__init__()
        self.voice = nn.Linear(net.sizes.voice, net.sizes.text)
        self.out = nn.Linear(net.sizes.text, MELS)

    def forward(self, text: Tensor, voice: Tensor) -> Tensor:
        """(B, MELS, T) from vectors (B, T, C) of the text and (B, K, D) of the voice."""
        h = F.gelu(text + self.voice(voice.mean(1))[:, None])
        return self.out(h).transpose(1, 2)


def worn(reference: Tensor, seeds: Tensor, here: Tensor) -> Tensor:
    """References (B, MELS, T), normalised, as from recordings: half of them without the bands above some frequency, as
    in compressed files and on telephones, and half with noise below which nothing is heard."""
    cut, floor = (uniform(seeds, here, stage, 1) for stage in (CUT, FLOOR))
    noise = normalised(QUIETEST + NOISE_RANGE * (2 * floor % 1))[..., None]
    noisy = torch.where(floor[..., None] < 0.5, reference.maximum(noise), reference)
    first = LOWEST_CUT + (2 * cut * (98 - LOWEST_CUT)).int()
    is_cut = (cut < 0.5) & (torch.arange(MELS) >= first)
    return torch.where(is_cut[..., None], noisy.minimum(noise), noisy)


class Speaking:
    """The task: mel spectrograms from phonemes, with another utterance of the speaker as the reference."""

    banded = False

    def __init__(self, config: RunConfig, pairs: Pairs) -> None:
        self.train, self.pairs = config["train"], pairs
        self.net = seeded(0, lambda: nn.ModuleDict({"speech": Speech(**arguments(config))}))
        self.net["guess"] = seeded(1, lambda: Guess(self.net["speech"]))
        self.held_out = pairs.held_out
        self.path, self.density = Straight(), DENSITIES["logit_normal"](**NOISIER)

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        """As `Task.losses`."""
        size, seed = self.train["batch_size"], self.train["seed"]
        chosen = self.pairs.batch(seed, first, size)
        every = times(seed, first, size)
        # rows come in order of length, times in order of noise: mixed, so that long items see every time
        turn = uniform(keys([seed]), first, LENGTH, size)[0].argsort().tolist()
        seeds, here = addresses(seed, rows, first)
        return self._losses([chosen[k] for k in rows], seeds, here, [every[turn[k]] for k in rows])

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        """As `Task.held_losses`."""
        seeds, here = addresses(HELD_SEED, rows)
        when = [(k * 37 % self.held_out + 0.5) / self.held_out for k in rows]
        with with_weights(self.net, weights):
            return self._losses([self.pairs.count + k for k in rows], seeds, here, when)

    def _losses(self, rows: list[int], seeds: Tensor, here: Tensor, when: list[float]) -> tuple[Tensor, Tensor]:
        batch, net = self.pairs.items(rows, seeds, here), self.net["speech"]
        shown, mask, hidden = batch.text > 0, batch.mask, batch.drop[:, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            text = net.text(batch.text, shown)
            voice, height = net.voice(worn(batch.reference, seeds, here), batch.heard), net.voice.height(batch.pitch)
            nobody = net.no_voice + torch.where(hidden < ALONE * PITCHLESS, 0.0, height)
            voice = torch.where(hidden < ALONE, nobody.to(voice.dtype), voice + height)
            logs = net.durations(text, voice, shown)
            aligned = _aligned(text, batch)
            guess = self.net["guess"](aligned, voice).float()
            level = training_level(self.path, when, 3, "cpu", self.density)
            eps = normal(seeds, here, NOISE, batch.speech.shape[1:])
            wanted, weights = eps - batch.speech, torch.ones(CHANNELS, 1)
            weights[MELS:] = TUNING

            def masked(x: Tensor, s: Tensor, **cond: Tensor) -> Tensor:
                # where there is nothing, the error is 0, and the rest counts as much as if it were the whole
                error = net.flow(x, s, **cond).float() - wanted
                return wanted + weights * error * mask[:, None]

            cond = {"text": aligned, "voice": voice, "mask": mask}
            flow = loss(masked, FLOW, batch.speech, level, eps, cond=cond) / mask.float().mean(1)
        guessing = masked_mean((guess - batch.speech[:, :MELS]).square().mean(1), mask)
        pacing = masked_mean((logs.float() - batch.log_frames).square(), shown)
        return unbanded(flow + GUESSING * guessing + PACING * pacing)


def _aligned(text: Tensor, batch: Batch) -> Tensor:
    """The vectors (B, T, C) of the frames in the window of each item, from those (B, L, C) of its symbols."""
    every = spread_out(text, batch.frames, int(batch.frames.sum(1).max()) + LONGEST)
    index = batch.start[:, None] + torch.arange(batch.mask.shape[1])
    index = index[..., None].expand(-1, -1, every.shape[-1])
    return every.gather(1, index) * batch.mask[..., None]


def train(folder: Path, end: float) -> None:
    """The stage."""
    config = config_of("speech")
    run(folder / "speech", config, Speaking(config, Pairs(packed(folder))), end)
