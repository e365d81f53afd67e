"""Trains the classifier of phonemes: `aligner.py PACKED RUN VOCABULARY ITEMS MINUTES [THREADS]`, resumed by repeating it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from runs import config_of, run
from speech import HELD_OUT, Speaking
from torch import Tensor

from difftool.core.noise import keys
from difftool.learning.config import RunConfig
from difftool.learning.tasks import HELD_SEED, seeded
from difftool.nets.mini.aligner import Aligner
from difftool.nets.mini.speech import DEVIATION, MEAN
from difftool.voice.engines.mini.phonemes import SYMBOLS


class Classifying:
    """The task: the phoneme of each frame."""

    banded = False

    def __init__(self, config: RunConfig, packed: Path, vocabulary: Path) -> None:
        self.train = config["train"]
        self.net = seeded(0, Aligner)
        self.speaking = Speaking({**config, "net": {"type": "mini-speech"}}, packed)
        self.held_out, self.count = HELD_OUT, self.speaking.count
        known = json.loads(vocabulary.read_text(encoding="utf-8"))
        self.symbol = torch.zeros(256, dtype=torch.int64)
        self.symbol[1] = 1
        for k, sign in enumerate(SYMBOLS):
            self.symbol[known[sign] + 2] = k + 2

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        size, seed = self.train["batch_size"], self.train["seed"]
        epoch, number = divmod(first // size, self.count // size)
        chosen = self.speaking.order(epoch)[number][rows.start : rows.stop].tolist()
        here = torch.arange(first + rows.start, first + rows.stop)
        return self._losses(chosen, keys([seed] * len(rows)), here)

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        own = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.net.load_state_dict(dict(weights), strict=False)
        here = torch.arange(rows.start, rows.stop)
        result = self._losses([self.count + k for k in rows], keys([HELD_SEED] * len(rows)), here)
        self.net.load_state_dict(own, strict=False)
        return result

    def _losses(self, rows: list[int], seeds: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        batch = self.speaking.items(rows, seeds, here)
        mask = batch["mask"]
        index = batch["start"][:, None] + torch.arange(mask.shape[1])
        ends = batch["frames"].cumsum(1)
        place = torch.searchsorted(ends, index, right=True).clamp(max=batch["text"].shape[1] - 1)
        label = self.symbol[batch["text"].gather(1, place)]
        scores = self.net(batch["mel"] * DEVIATION + MEAN, mask)
        loss = -scores.gather(-1, label[..., None])[..., 0]
        return (loss * mask).sum(1) / mask.sum(1), torch.zeros(len(rows), dtype=torch.int64)


def main() -> None:
    packed, folder, vocabulary = map(Path, sys.argv[1:4])
    items, minutes = int(sys.argv[4]), float(sys.argv[5])
    torch.set_num_threads(int(sys.argv[6]) if len(sys.argv) > 6 else 2)
    config = config_of("aligner", {}, items, 8, 3e-3, "kokoro mixes")
    run(folder, config, lambda config: Classifying(config, packed, vocabulary), minutes)


if __name__ == "__main__":
    main()
