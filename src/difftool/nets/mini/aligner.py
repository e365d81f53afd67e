"""Which phoneme is spoken when: a classifier of frames, and the best path of a text through its scores. It hears no
speaker: the mean of each band over an utterance is taken away."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ConvNeXt
from ..spectrum import MELS

WIDTH, HIDDEN, BLOCKS = 64, 128, 4
SYMBOLS = 55
"""As in `speech.Sizes`."""


class Aligner(nn.Module):
    """Log mels (B, MELS, T) to the logarithm of the probability of each symbol, (B, T, SYMBOLS)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv1d(MELS, WIDTH, 5, padding=2)
        self.blocks = nn.Sequential(*[ConvNeXt(WIDTH, HIDDEN, 9) for _ in range(BLOCKS)])
        self.out = nn.Linear(WIDTH, SYMBOLS)

    def forward(self, mels: Tensor, mask: Tensor) -> Tensor:
        """`mask`: (B, T), True where the sound is."""
        h = self.embed(speaker_free(mels, mask))
        for block in self.blocks:
            h = block(h * mask[:, None])
        return self.out(h.transpose(1, 2)).log_softmax(-1)


def speaker_free(mels: Tensor, mask: Tensor) -> Tensor:
    """Mels less the mean of each band over the frames of the mask, and divided by their common deviation."""
    shown = mask[:, None].to(mels.dtype)
    count = shown.sum(2, keepdim=True).clamp(min=1)
    mean = (mels * shown).sum(2, keepdim=True) / count
    centred = (mels - mean) * shown
    power = centred.square().sum(2, keepdim=True) / count
    deviation = power.mean(1, keepdim=True).sqrt()
    return centred / deviation.clamp(min=1e-3)


def best_path(scores: Tensor, symbols: Tensor) -> Tensor:
    """The frames (L,) of each of the symbols (L,), in their order, that have the highest total score (T, SYMBOLS): each
    has at least one, and all together T. Raises ValueError for fewer frames than symbols."""
    own = scores[:, symbols].cpu().double()
    frames, count = own.shape
    if frames < count:
        raise ValueError(f"{count} symbols do not fit in {frames} frames")
    total = torch.full((count,), -torch.inf, dtype=torch.float64)
    total[0] = own[0, 0]
    came = torch.zeros(frames, count, dtype=torch.bool)
    """Whether the best path to a symbol at a frame comes from the symbol before."""
    for t in range(1, frames):
        before = F.pad(total[:-1], (1, 0), value=-torch.inf)
        came[t] = before > total
        total = torch.where(came[t], before, total) + own[t]
    lengths, k = [0] * count, count - 1
    for t in range(frames - 1, -1, -1):
        lengths[k] += 1
        k -= int(came[t, k])
    return torch.tensor(lengths)
