"""Trains the classifier of phonemes, FOLDER/aligner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from dataset import packed
from fetch import vocabulary
from pairs import SHIFT, Pairs, symbol_rows
from runs import addresses, config_of, run, unbanded, with_weights
from torch import Tensor

from difftool.learning.config import RunConfig
from difftool.learning.tasks import HELD_SEED, seeded
from difftool.nets.mini.aligner import Aligner
from difftool.nets.mini.speech import DEVIATION, MEAN
from difftool.voice.engines.mini.losses import masked_mean


class Classifying:
    """The task: the phoneme of each frame."""

    banded = False

    def __init__(self, config: RunConfig, pairs: Pairs, rows: list[int]) -> None:
        """`rows`: the symbol in training of each symbol of the package."""
        self.train, self.pairs = config["train"], pairs
        self.net = seeded(0, Aligner)
        self.held_out = pairs.held_out
        self.symbols = torch.zeros(256 + SHIFT, dtype=torch.int64)
        """The symbol of the package for each of those in training, 0 for those that do not occur."""
        self.symbols[rows] = torch.arange(len(rows))

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        """As `Task.losses`."""
        size, seed = self.train["batch_size"], self.train["seed"]
        chosen = self.pairs.batch(seed, first, size)
        return self._losses([chosen[k] for k in rows], *addresses(seed, rows, first))

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        """As `Task.held_losses`."""
        held = [self.pairs.count + k for k in rows]
        with with_weights(self.net, weights):
            return self._losses(held, *addresses(HELD_SEED, rows))

    def _losses(self, rows: list[int], seeds: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        batch, _ = self.pairs.items(rows, seeds, here)
        mask = batch.mask
        index = batch.start[:, None] + torch.arange(mask.shape[1])
        place = torch.searchsorted(batch.frames.cumsum(1), index, right=True)
        symbol = self.symbols[batch.text.gather(1, place.clamp(max=batch.text.shape[1] - 1))]
        scores = self.net(batch.mel * DEVIATION + MEAN, mask)
        likelihood = scores.gather(-1, symbol[..., None])[..., 0]
        return unbanded(masked_mean(-likelihood, mask))


def train(folder: Path, end: float) -> None:
    """The stage."""
    config = config_of("aligner")
    task = Classifying(config, Pairs(packed(folder)), symbol_rows(vocabulary(folder)))
    run(folder / "aligner", config, task, end)
