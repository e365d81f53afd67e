"""A small network for points of the plane."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import embedding
from .unet import labels_or_any, time_embedding


class MLP(nn.Module):
    """Noisy points (B, channels, 1, 1) and times (B,) in, the prediction of the same shape out: residual layers of
    `width` that take the time. The points come in as they are and as sines of several frequencies. Labels are
    those of `UNet`."""

    def __init__(
        self, channels: int = 2, width: int = 128, layers: int = 3, classes: int = 0, learned_range: bool = False
    ) -> None:
        """Raises ValueError for sizes below 1 or a width that is odd."""
        super().__init__()
        if min(channels, layers) < 1 or width < 2 or width % 2:
            raise ValueError(f"invalid network of {channels} channels, {layers} layers and width {width}")
        self.width, self.classes = width, classes
        self.label = embedding(classes + 1, width) if classes else None
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        waves = 2 * len(FREQUENCIES)
        self.stem = nn.Linear(channels * (1 + waves), width)
        self.layers = nn.ModuleList(_residual(width) for _ in range(layers))
        outputs = 2 * channels if learned_range else channels
        self.head = nn.Linear(width, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        flat = x.flatten(1)
        features = [flat]
        for frequency in FREQUENCIES:
            angle = flat * frequency
            features += [torch.sin(angle), torch.cos(angle)]
        emb = self.time(time_embedding(t, self.width).to(x.dtype))
        if self.label is not None:
            emb = emb + self.label(labels_or_any(label, t, self.classes))
        h = self.stem(torch.cat(features, 1))
        for layer in self.layers:
            h = h + layer(h + emb)
        h = self.head(F.silu(h))
        return h.reshape(len(x), -1, *x.shape[2:])


def _residual(width: int) -> nn.Sequential:
    wide = 2 * width
    norm, inp = nn.LayerNorm(width), nn.Linear(width, wide)
    return nn.Sequential(norm, inp, nn.SiLU(), nn.Linear(wide, width))


FREQUENCIES = (1.5, 3.0, 6.0)
"""Of the sines, in radians per unit of the data, which lie in [-1, 1]."""
