"""Trains durations and flow: `speech.py PACKED RUN ITEMS MINUTES [THREADS]`, resumed by repeating it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mels import FACTORS
from runs import config_of, run
from torch import Tensor, nn

from difftool.core.noise import keys, normal, uniform
from difftool.core.objective import DENSITIES, loss, times, training_level
from difftool.core.paths import Flow as Straight
from difftool.core.predict import FLOW
from difftool.learning.config import RunConfig
from difftool.learning.tasks import HELD_SEED, indices, seeded
from difftool.nets.mini.speech import PATCH, Speech, normalised, spread_out
from difftool.nets.mini.vocoder import HOP, MELS

LONGEST = 448
"""Most frames of an item; of longer utterances a window is taken."""
LEAST, MOST = 128, 384
"""Frames of a reference."""
HELD_OUT = 64
SILENCE, SHIFT = 1, 2
"""The symbol of the silence at both ends; what is added to the teacher's numbers of the phonemes."""
NOISE, WINDOW, OTHER, PART, FACTOR, DROP, LENGTH = 0, 10, 11, 12, 13, 14, 15
"""Stages of the random numbers."""
ALONE, BOTH = 0.05, 0.12
"""Shares of items without a voice; and without voice and text."""


class Guess(nn.Module):
    """A mel spectrogram from text and voice at once: what the text's vectors are trained on besides the flow. It is not
    needed to speak."""

    def __init__(self, net: Speech) -> None:
        super().__init__()
        self.voice = nn.Linear(net.sizes.voice, net.sizes.text)
        self.out = nn.Linear(net.sizes.text, MELS)

    def forward(self, text: Tensor, voice: Tensor) -> Tensor:
        h = F.gelu(text + self.voice(voice.mean(1))[:, None])
        return self.out(h).transpose(1, 2)


class Batch(dict):
    """Tensors of some items by name."""


class Speaking:
    """The task: mel spectrograms from phonemes, with another utterance of the speaker as the reference."""

    banded = False

    def __init__(self, config: RunConfig, packed: Path) -> None:
        self.train = config["train"]
        net = {key: value for key, value in config["net"].items() if key != "type"}
        self.net = seeded(0, lambda: nn.ModuleDict({"speech": Speech(**net)}))
        self.net["guess"] = seeded(1, lambda: Guess(self.net["speech"]))
        with np.load(packed / "rows.npz") as rows:
            samples = rows["frames_per_row"] * 300
            self.tokens = np.split(rows["tokens"], np.cumsum(rows["tokens_per_row"])[:-1])
            counts = rows["tokens_per_row"] + 2
            self.spans = np.split(rows["durations"], np.cumsum(counts)[:-1])
            self.speakers = rows["speakers"]
        self.mels, self.places = {}, {}
        for factor in FACTORS:
            self.mels[factor] = np.memmap(packed / f"mels{factor}.f16", np.float16, "r").reshape(-1, MELS)
            self.places[factor] = np.concatenate([[0], np.cumsum(samples * 10 // factor // HOP)])
        self.lengths = samples // HOP
        self.held_out = HELD_OUT
        self.count = len(samples) - HELD_OUT
        self.path, self.density = Straight(), DENSITIES["logit_normal"]()
        self.order = lru_cache(2)(self._order)

    def _order(self, epoch: int) -> np.ndarray:
        """Rows (N / B, B) in batches of about equal lengths."""
        size, seed = self.train["batch_size"], self.train["seed"]
        jitter = uniform(keys([seed]), epoch, LENGTH, self.count)[0].numpy()
        rows = np.argsort(np.minimum(self.lengths[: self.count], LONGEST) * (1 + 0.15 * jitter), kind="stable")
        batches = rows[: len(rows) // size * size].reshape(-1, size)
        return batches[indices(seed, len(batches), epoch * len(batches), len(batches)).numpy()]

    def items(self, rows: list[int], seeds: Tensor, here: Tensor) -> Batch:
        """The items of these rows."""
        drawn = {stage: uniform(seeds, here, stage, 1)[:, 0].tolist() for stage in (WINDOW, OTHER, PART, FACTOR, DROP)}
        texts, frames, ends, mels, starts, references = [], [], [], [], [], []
        for k, row in enumerate(rows):
            draw = {stage: values[k] for stage, values in drawn.items()}
            factor = FACTORS[min(int(draw[FACTOR] * len(FACTORS)), len(FACTORS) - 1)]
            mel = self.mel(row, factor)
            exact = self.spans[row] * (600 * 10 / factor / HOP)
            edges = np.minimum(np.round(np.cumsum(exact)), len(mel)).astype(np.int64)
            start = int(draw[WINDOW] * max(len(mel) - LONGEST, 0))
            mels.append(mel[start : start + LONGEST])
            starts.append(start)
            texts.append(
                torch.from_numpy(np.concatenate([[SILENCE], self.tokens[row].astype(np.int64) + SHIFT, [SILENCE]]))
            )
            ends.append(torch.from_numpy(np.diff(edges, prepend=0)))
            frames.append(torch.from_numpy(np.log(np.maximum(exact, 0.5)).astype(np.float32)))
            others = [other for other in self.siblings(row) if other != row]
            other = self.mel(others[min(int(draw[OTHER] * len(others)), len(others) - 1)], factor)
            length = min(int(LEAST + (MOST - LEAST) * (draw[PART] * 7 % 1)), len(other))
            first = int(draw[PART] * (len(other) - length))
            references.append(other[first : first + length])
        batch = Batch(text=_padded(texts, 0), frames=_padded(ends, 0), logs=_padded(frames, 0.0))
        batch["start"] = torch.tensor(starts)
        batch["mel"], batch["mask"] = _mels(mels)
        batch["reference"], batch["heard"] = _mels(references)
        batch["drop"] = torch.tensor(drawn[DROP])
        return batch

    def siblings(self, row: int) -> list[int]:
        """Rows of the same speaker."""
        first = np.searchsorted(self.speakers, self.speakers[row], "left")
        last = np.searchsorted(self.speakers, self.speakers[row], "right")
        return list(range(int(first), int(last)))

    def mel(self, row: int, factor: int) -> np.ndarray:
        """(T, MELS) of a row at a factor."""
        places = self.places[factor]
        return self.mels[factor][places[row] : places[row + 1]]

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        size, seed = self.train["batch_size"], self.train["seed"]
        epoch, number = divmod(first // size, self.count // size)
        chosen = self.order(epoch)[number][rows.start : rows.stop].tolist()
        here = torch.arange(first + rows.start, first + rows.stop)
        when = times(seed, first, size)[rows.start : rows.stop]
        # rows come in order of length, times in order of noise: mixed, so that long items see every time
        turn = uniform(keys([seed]), first, LENGTH, size)[0].argsort()[rows.start : rows.stop].tolist()
        every = times(seed, first, size)
        when = [every[k] for k in turn]
        return self._losses(chosen, keys([seed] * len(rows)), here, when)

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        own = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.net.load_state_dict(dict(weights), strict=False)
        here = torch.arange(rows.start, rows.stop)
        when = [(k * 37 % HELD_OUT + 0.5) / HELD_OUT for k in rows]
        result = self._losses([self.count + k for k in rows], keys([HELD_SEED] * len(rows)), here, when)
        self.net.load_state_dict(own, strict=False)
        return result

    def _losses(self, rows: list[int], seeds: Tensor, here: Tensor, when: list[float]) -> tuple[Tensor, Tensor]:
        batch, net = self.items(rows, seeds, here), self.net["speech"]
        shown = batch["text"] > 0
        mask = batch["mask"]
        with torch.autocast("cpu", torch.bfloat16):
            text = net.text(batch["text"], shown)
            voice = net.voice(batch["reference"], batch["heard"])
            hidden = batch["drop"][:, None, None]
            spoken = torch.where(hidden < BOTH, net.no_voice.to(voice.dtype), voice)
            logs = net.durations(text, spoken, shown)
            whole = int(batch["frames"].sum(1).max())
            every = spread_out(text, batch["frames"], whole + LONGEST)
            index = batch["start"][:, None] + torch.arange(mask.shape[1])
            aligned = every.gather(1, index[..., None].expand(-1, -1, every.shape[-1])) * mask[..., None]
            guess = self.net["guess"](aligned, spoken).float()
            aligned = torch.where((hidden >= ALONE) & (hidden < BOTH), 0.0, aligned)
            level = training_level(self.path, when, 3, "cpu", self.density)
            eps = normal(seeds, here, NOISE, batch["mel"].shape[1:])
            where = {"text": aligned, "voice": spoken, "mask": mask}

            def masked(x: Tensor, s: Tensor, **cond: Tensor) -> Tensor:
                # where there is nothing, the error is 0, and the rest counts as much as if it were the whole
                out = net.flow(x, s, **cond).float()
                return torch.where(mask[:, None], out, eps - batch["mel"])

            share = mask.float().mean(1)
            flow = loss(masked, FLOW, batch["mel"], level, eps, cond=where) / share
        first = ((guess - batch["mel"]).square().mean(1) * mask).sum(1) / mask.sum(1)
        paces = ((logs.float() - batch["logs"]).square() * shown).sum(1) / shown.sum(1)
        return flow + 0.2 * first + 0.1 * paces, torch.zeros(len(rows), dtype=torch.int64)


def _padded(rows: list[Tensor], value: float) -> Tensor:
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def _mels(rows: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Normalised mels (B, MELS, T) padded to whole patches, and where they are (B, T)."""
    longest = -(-max(map(len, rows)) // PATCH) * PATCH
    mel, mask = torch.zeros(len(rows), longest, MELS), torch.zeros(len(rows), longest, dtype=torch.bool)
    for k, row in enumerate(rows):
        mel[k, : len(row)] = normalised(torch.from_numpy(row.astype(np.float32)))
        mask[k, : len(row)] = True
    return mel.transpose(1, 2), mask


def main() -> None:
    packed, folder, items, minutes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(int(sys.argv[5]) if len(sys.argv) > 5 else 2)
    config = config_of("speech", Speech().sizes._asdict(), items, 8, 1e-3, "kokoro mixes")
    run(folder, config, lambda config: Speaking(config, packed), minutes)


if __name__ == "__main__":
    main()
