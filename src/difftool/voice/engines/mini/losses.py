"""The losses that the voice in the package is trained with, and tuned with on a voice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ....core.objective import loss
from ....core.paths import Level
from ....core.predict import FLOW
from ....nets.mini.speech import CHANNELS, PATCH, Speech, normalised, spread_out, tuned
from ....nets.spectrum import MELS

LONGEST = 448
"""Most frames of an item; of longer utterances a window is taken."""
NOISIER = {"mean": 0.8, "std": 1.4}
"""Of the times: nearly pure noise, where timbre and pitch are decided, comes oftener than with the usual mean of 0."""
TUNING = 10**0.5
"""What the error of the pitch is multiplied by: it counts as much as ten bands."""
PACING = 0.1
"""Weight of the loss of the durations."""


class Item(NamedTuple):
    """An utterance of L symbols."""

    text: Tensor
    """(L,) symbols"""
    frames: Tensor
    """(L,) whole frames of each symbol"""
    log_frames: Tensor
    """(L,) the logarithm of their exact number"""
    start: int
    """The first frame of the window"""
    mel: npt.NDArray[np.float16]
    """(T, MELS) in the window"""
    tune: Tensor
    """(T,) the pitch in the window, as the flow makes it"""


class Batch(NamedTuple):
    """B items. Spectrograms are normalised; masks are True where there is something."""

    text: Tensor
    """(B, L) symbols, then 0"""
    frames: Tensor
    """(B, L)"""
    log_frames: Tensor
    """(B, L)"""
    start: Tensor
    """(B,)"""
    speech: Tensor
    """(B, CHANNELS, T), T a multiple of PATCH"""
    mask: Tensor
    """(B, T)"""


class Terms(NamedTuple):
    """Losses (B,) of a batch, and what they are of."""

    flow: Tensor
    pacing: Tensor
    aligned: Tensor
    """(B, T, C) the vectors of the frames"""
    logs: Tensor
    """(B, L) the predicted logarithms of the frames of each symbol"""


def batched(items: Sequence[Item]) -> Batch:
    """Items as a batch."""
    mel, mask = padded_mels([item.mel for item in items])
    tune = torch.zeros_like(mel[:, 0])
    for row, item in zip(tune, items, strict=True):
        row[: len(item.tune)] = item.tune
    return Batch(
        pad_sequence([item.text for item in items], batch_first=True),
        pad_sequence([item.frames for item in items], batch_first=True),
        pad_sequence([item.log_frames for item in items], batch_first=True),
        torch.tensor([item.start for item in items]),
        torch.cat([mel, tune[:, None]], 1),
        mask,
    )


def padded_mels(rows: Sequence[npt.NDArray[np.float16]]) -> tuple[Tensor, Tensor]:
    """Normalised spectrograms (B, MELS, T) padded to whole patches, and where they are (B, T)."""
    longest = -(-max(map(len, rows)) // PATCH) * PATCH
    mel, mask = torch.zeros(len(rows), longest, MELS), torch.zeros(len(rows), longest, dtype=torch.bool)
    for k, row in enumerate(rows):
        mel[k, : len(row)] = normalised(torch.from_numpy(row.astype(np.float32)))
        mask[k, : len(row)] = True
    return mel.transpose(1, 2), mask


def contour(hertz: npt.NDArray[np.float32]) -> Tensor:
    """(T,) a pitch as the flow makes it: unvoiced frames lie between the voiced ones beside them."""
    voiced = np.flatnonzero(hertz)
    if not len(voiced):
        return torch.zeros(len(hertz))
    logs = np.interp(np.arange(len(hertz)), voiced, np.log(hertz[voiced]))
    return tuned(torch.from_numpy(logs).float().exp())


def terms_of(net: Speech, batch: Batch, voice: Tensor, level: Level, eps: Tensor) -> Terms:
    """The losses of a batch in voices (B, K, C), with noise `eps` like its speech."""
    shown, mask = batch.text > 0, batch.mask
    text = net.text(batch.text, shown)
    logs = net.durations(text, voice, shown)
    aligned = _aligned(text, batch)
    wanted, weights = eps - batch.speech, torch.ones(CHANNELS, 1, device=eps.device)
    weights[MELS:] = TUNING

    def masked(x: Tensor, s: Tensor, **cond: Tensor) -> Tensor:
        # where there is nothing, the error is 0, and the rest counts as much as if it were the whole
        error = net.flow(x, s, **cond).float() - wanted
        return wanted + weights * error * mask[:, None]

    cond = {"text": aligned, "voice": voice, "mask": mask}
    flow = loss(masked, FLOW, batch.speech, level, eps, cond=cond) / mask.float().mean(1)
    pacing = masked_mean((logs.float() - batch.log_frames).square(), shown)
    return Terms(flow, pacing, aligned, logs)


def _aligned(text: Tensor, batch: Batch) -> Tensor:
    """The vectors (B, T, C) of the frames in the window of each item, from those (B, L, C) of its symbols."""
    every = spread_out(text, batch.frames, int(batch.frames.sum(1).max()) + LONGEST)
    index = batch.start[:, None] + torch.arange(batch.mask.shape[1], device=text.device)
    index = index[..., None].expand(-1, -1, every.shape[-1])
    return every.gather(1, index) * batch.mask[..., None]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B,), the mean of values (B, T) where the mask is True."""
    return (values * mask).sum(1) / mask.sum(1)
