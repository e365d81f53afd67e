"""From a mel spectrogram to sound, by way of its short-time spectrum."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import ConvNeXt
from ..spectrum import HOP, WINDOW, sound_of

LOUDEST = 100.0
"""Limit of a magnitude."""


class Vocos(nn.Module):
    """Log mels (B, mels, T) to sound (B, HOP * (T - 1)): the first and the last frame lie on its ends. The arguments
    are the sizes of the official network. In float32."""

    def __init__(self, mels: int = 100, width: int = 512, hidden: int = 1536, blocks: int = 8) -> None:
        super().__init__()
        self.embed = nn.Conv1d(mels, width, 7, padding=3)
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.Sequential(*[ConvNeXt(width, hidden) for _ in range(blocks)])
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.out = nn.Linear(width, WINDOW + 2)

    def forward(self, mels: Tensor) -> Tensor:
        h = self.embed(mels).transpose(1, 2)
        h = self.norm_in(h).transpose(1, 2)
        h = self.blocks(h).transpose(1, 2)
        h = self.out(self.norm_out(h))
        size, phase = h.transpose(1, 2).chunk(2, dim=1)
        spectrum = torch.polar(size.exp().clamp(max=LOUDEST), phase)
        return sound_of(spectrum)[:, :-HOP]
