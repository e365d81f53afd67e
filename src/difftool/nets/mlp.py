"""A small network for points of the plane."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .unet import time_embedding


class MLP(nn.Module):
    """Noisy points (B, channels, 1, 1) and times (B,) in, the prediction of the same shape out: residual layers of
    `width` that are told the time. The points come in as they are and as sines of several frequencies. Labels are
    those of `UNet`."""

    def __init__(
        self, channels: int = 2, width: int = 128, layers: int = 3, classes: int = 0, learned_range: bool = False
    ) -> None:
        """Raises ValueError for sizes below 1 or a width that is odd."""
        super().__init__()
        if channels < 1 or layers < 1 or width < 2 or width % 2:
            raise ValueError(f"no network has {channels} channels, {layers} layers and a width of {width}")
        self.width, self.classes = width, classes
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.stem = nn.Linear(channels * (1 + 2 * len(FREQUENCIES)), width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
            for _ in range(layers)
        )
        self.head = nn.Linear(width, channels * (2 if learned_range else 1))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        flat = x.flatten(1)
        waves = [wave(flat * frequency) for frequency in FREQUENCIES for wave in (torch.sin, torch.cos)]
        emb = self.time(time_embedding(t, self.width).to(x.dtype))
        if self.label is not None:
            emb = emb + self.label(label if label is not None else torch.full_like(t, self.classes, dtype=torch.int64))
        h = self.stem(torch.cat([flat, *waves], 1))
        for layer in self.layers:
            h = h + layer(h + emb)
        return self.head(F.silu(h)).reshape(len(x), -1, *x.shape[2:])


FREQUENCIES = (1.5, 3.0, 6.0)
"""Of the sines, in radians per unit of the data, which lie in [-1, 1]."""
