"""Utterances to learn to speak from, each with a reference: a part of another utterance by the same speaker."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from dataset import FACTORS, FRAME, HELD_OUT, frames_of, hertz_of, mels_of, picked, rows_of
from torch import Tensor

from difftool.core.noise import keys, uniform
from difftool.learning.tasks import indices
from difftool.nets.spectrum import HOP
from difftool.voice.engines.mini.losses import LONGEST, Batch, Item, batched, contour, padded_mels
from difftool.voice.engines.mini.phonemes import SYMBOLS

LEAST, MOST = 128, 384
"""Frames of a reference."""
SILENCE, SHIFT = 1, 2
"""The symbol of the silence at both ends; what is added to the teacher's numbers of the phonemes."""
WINDOW, OTHER, PART, FACTOR, DROP, LENGTH, MEASURED = 10, 11, 12, 13, 14, 15, 18
"""Stages of the random numbers."""
STAGES = (WINDOW, OTHER, PART, FACTOR, DROP, MEASURED)
"""Those of an item."""
UNKNOWN, ERROR = 0.1, 0.04
"""Share of the references whose pitch is not known, and the range in which it is measured, as a share."""
LEAST_VOICED = 10
"""Voiced frames that a pitch is measured in."""


class Heard(NamedTuple):
    """The references of B items."""

    reference: Tensor
    """(B, MELS, T'), normalised"""
    mask: Tensor
    """(B, T'), True where it is"""
    pitch: Tensor
    """(B,) Hz, its median, 0 where it is not known"""
    drop: Tensor
    """(B,) in (0, 1]: decides what the network is not told"""


class Pairs:
    """The packed utterances as items."""

    def __init__(self, packed: Path, held_out: int = HELD_OUT) -> None:
        rows = rows_of(packed)
        self.tokens, self.durations, self.speakers = rows.tokens, rows.durations, rows.speakers
        self.pitches = np.split(rows.pitch, rows.starts[1:-1])
        self.mels = {factor: mels_of(packed, factor) for factor in FACTORS}
        counts = {factor: frames_of(rows.samples, factor) for factor in FACTORS}
        self.places = {factor: np.concatenate([[0], np.cumsum(count)]) for factor, count in counts.items()}
        self.lengths = rows.samples // HOP
        self.held_out = held_out
        self.count = len(self.lengths) - held_out
        """The utterances to train on; those that are held out come after them."""
        self._order = lru_cache(2)(self._ordered)

    def batch(self, seed: int, first: int, size: int) -> list[int]:
        """The rows of the batch that begins with item number `first` of a run."""
        epoch, number = divmod(first // size, self.count // size)
        return self._order(seed, epoch, size)[number].tolist()

    def _ordered(self, seed: int, epoch: int, size: int) -> npt.NDArray[np.int64]:
        """The rows (count / size, size) of an epoch, those of a batch of about equal lengths."""
        jitter = uniform(keys([seed]), epoch, LENGTH, self.count)[0].numpy()
        lengths = np.minimum(self.lengths[: self.count], LONGEST) * (1 + 0.15 * jitter)
        rows = np.argsort(lengths, kind="stable")
        batches = rows[: len(rows) // size * size].reshape(-1, size)
        return batches[indices(seed, len(batches), epoch * len(batches), len(batches)).numpy()]

    def items(self, rows: list[int], seeds: Tensor, here: Tensor) -> tuple[Batch, Heard]:
        """Items of these rows, by seeds (B,) and their numbers (B,) in a run, and their references."""
        drawn = [uniform(seeds, here, stage, 1)[:, 0] for stage in STAGES]
        draws = [dict(zip(STAGES, values, strict=True)) for values in torch.stack(drawn, 1).tolist()]
        each = [self._item(*two) for two in zip(rows, draws, strict=True)]
        items, references, pitches = zip(*each, strict=True)
        heard = Heard(*padded_mels(references), torch.tensor(pitches), drawn[STAGES.index(DROP)])
        return batched(items), heard

    def _item(self, row: int, draw: dict[int, float]) -> tuple[Item, npt.NDArray[np.float16], float]:
        """An item, its reference (T', MELS) and the pitch of that, by a number in (0, 1] for each stage."""
        factor = FACTORS[picked(draw[FACTOR], len(FACTORS))]
        mel = self.mel(row, factor)
        exact = self.durations[row] * (FRAME * 10 / factor / HOP)
        edges = np.minimum(np.round(np.cumsum(exact)), len(mel)).astype(np.int64)
        start = int(draw[WINDOW] * max(len(mel) - LONGEST, 0))
        text = np.concatenate([[SILENCE], self.tokens[row].astype(np.int64) + SHIFT, [SILENCE]])
        logs = np.log(np.maximum(exact, 0.5)).astype(np.float32)
        others = self.others(row)
        number = others[picked(draw[OTHER], len(others))]
        other = self.mel(number, factor)
        share = draw[PART] * 7 % 1
        length = min(int(LEAST + (MOST - LEAST) * share), len(other))
        first = int(draw[PART] * (len(other) - length))
        tensors = map(torch.from_numpy, (text, np.diff(edges, prepend=0), logs))
        window, part = slice(start, start + LONGEST), slice(first, first + length)
        tune = contour(hertz_of(self.pitches[row], len(mel), factor))[window]
        pitch = measured(hertz_of(self.pitches[number], len(other), factor)[part], draw[MEASURED])
        return Item(*tensors, start, mel[window], tune), other[part], pitch

    def others(self, row: int) -> list[int]:
        """The other rows of the same speaker."""
        same = np.flatnonzero(self.speakers == self.speakers[row])
        return [other for other in same.tolist() if other != row]

    def mel(self, row: int, factor: int) -> npt.NDArray[np.float16]:
        """(T, MELS) of a row at a factor."""
        places = self.places[factor]
        return self.mels[factor][places[row] : places[row + 1]]


def measured(hertz: npt.NDArray[np.float32], draw: float) -> float:
    """The median pitch of a reference in Hz with an error, or 0, by a number in (0, 1]."""
    voiced, known = hertz[hertz > 0], 1 - UNKNOWN
    if len(voiced) < LEAST_VOICED or draw >= known:
        return 0.0
    return float(np.median(voiced)) * math.exp(ERROR * (draw / known - 0.5))


def symbol_rows(vocabulary: Path) -> list[int]:
    """The symbol in training of each symbol of the package: of none, of silence, and of SYMBOLS. `vocabulary`: the
    teacher's numbers of the phonemes."""
    known = json.loads(vocabulary.read_text(encoding="utf-8"))
    return [0, SILENCE, *(known[sign] + SHIFT for sign in SYMBOLS)]
