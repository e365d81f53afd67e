"""Random voices: from Gaussian noise to latents such as reference clips give."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SPEED = 0.1
"""The factor of StyleGAN2's equalised learning rate (Karras et al. 2020, arXiv:1912.04958)."""


class EqualLinear(nn.Linear):
    """A linear layer with an equalised learning rate, and a leaky ReLU that keeps the variance."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight * (SPEED * self.in_features**-0.5)
        scaled = F.linear(input, weight, self.bias * SPEED)
        return F.leaky_relu(scaled, 0.2) * 2**0.5


class RandomLatents(nn.Module):
    """Noise (B, dim) to latents (B, dim): 1,024 for `UnifiedVoice`, 2,048 for `DiffusionTts`."""

    def __init__(self, dim: int = 1024) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EqualLinear(dim) for _ in range(5))
        self.layers.append(nn.Linear(dim, dim))

    def forward(self, noise: Tensor) -> Tensor:
        x = noise
        for layer in self.layers:
            x = layer(x)
        return x
