"""From a mel spectrogram to codes of speech, the targets in training: the encoder of a discrete VAE (van den Oord et
al. 2017, arXiv:1711.00937)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mel import conditioning_mel

HOP = 1024
"""Samples at 22,050 Hz from a code to the next."""
SILENCE = 8192
"""Zeros behind a clip: more than the encoder reaches, so that its last codes do not depend on where it is cut off."""


class Residual(nn.Module):
    """Three convolutions as a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv1d(channels, channels, 3, padding=1) for _ in range(2))
        mixed = nn.Conv1d(channels, channels, 1)
        self.net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), mixed)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


def _halved(inp: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(inp, out, 3, stride=2, padding=1), nn.ReLU())


class DiscreteEncoder(nn.Module):
    """Mels (B, mels, T) from `conditioning_mel` to codes (B, ceil(T / 4))."""

    def __init__(self, codes: int = 8192, dim: int = 512, hidden: int = 512, mels: int = 80) -> None:
        super().__init__()
        wide = 2 * hidden
        halves = _halved(mels, hidden), _halved(hidden, wide)
        residuals = [Residual(wide) for _ in range(3)]
        self.encoder = nn.Sequential(*halves, *residuals, nn.Conv1d(wide, dim, 1))
        self.codebook = nn.Parameter(torch.empty(dim, codes))

    def forward(self, mel: Tensor) -> Tensor:
        z = self.encoder(mel).transpose(1, 2)
        power = z.square().sum(2, keepdim=True)
        products = 2 * z @ self.codebook
        distances = power - products + self.codebook.square().sum(0)
        return distances.argmin(2)  # the first on a tie


def speech_codes(encoder: DiscreteEncoder, sound: Tensor) -> Tensor:
    """The codes (S // HOP + 1,) of a clip (S,) at 22,050 Hz, the same whatever is behind it in a batch."""
    mel = conditioning_mel(F.pad(sound, (0, SILENCE))[None])
    return encoder(mel)[0, : len(sound) // HOP + 1]
