"""Which phoneme is spoken when: a classifier of frames. It hears no speaker: the mean of each band over an utterance is
taken away."""

from __future__ import annotations

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
