"""Trains durations and flow, FOLDER/speech."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from dataset import packed
from pairs import LENGTH, Pairs
from runs import addresses, arguments, config_of, run, unbanded, with_weights
from torch import Tensor, nn

from difftool.core.noise import keys, normal, uniform
from difftool.core.objective import DENSITIES, times, training_level
from difftool.core.paths import Flow as Straight
from difftool.learning.config import RunConfig
from difftool.learning.tasks import HELD_SEED, seeded
from difftool.nets.mini.speech import Speech, normalised
from difftool.nets.spectrum import MELS
from difftool.voice.engines.mini.losses import NOISIER, PACING, masked_mean, terms_of

NOISE = 0
"""Stage of the random numbers; the others are those of `pairs`."""
ALONE = 0.1
"""Share of the items without a voice, for guidance."""
PITCHLESS = 0.25
"""Share of those without a voice in which the pitch is unknown, too: guidance shall not move it."""
CUT, FLOOR = 16, 17
"""Stages of the random numbers of `worn`."""
LOWEST_CUT, QUIETEST, NOISE_RANGE = 62, -16.1, 8.0
"""The lowest band above which a reference is cut off, 3.5 kHz; the log mel of silence, and how far noise lies above."""
GUESSING = 0.2
"""Weight of the loss of the guess."""


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
        (batch, heard), net = self.pairs.items(rows, seeds, here), self.net["speech"]
        hidden = heard.drop[:, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            voice, height = net.voice(worn(heard.reference, seeds, here), heard.mask), net.voice.height(heard.pitch)
            nobody = net.no_voice + torch.where(hidden < ALONE * PITCHLESS, 0.0, height)
            voice = torch.where(hidden < ALONE, nobody.to(voice.dtype), voice + height)
            level = training_level(self.path, when, 3, "cpu", self.density)
            eps = normal(seeds, here, NOISE, batch.speech.shape[1:])
            terms = terms_of(net, batch, voice, level, eps)
            guess = self.net["guess"](terms.aligned, voice).float()
        guessing = masked_mean((guess - batch.speech[:, :MELS]).square().mean(1), batch.mask)
        return unbanded(terms.flow + GUESSING * guessing + PACING * terms.pacing)


def train(folder: Path, end: float) -> None:
    """The stage."""
    config = config_of("speech")
    run(folder / "speech", config, Speaking(config, Pairs(packed(folder))), end)
