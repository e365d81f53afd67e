"""Low-rank adaptation of the decoder (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .....nets.layers import Linear
from .....nets.tortoise.autoregressive import UnifiedVoice


class Adapted(nn.Module):
    """A frozen linear layer plus a learned product of two thin matrices in float32, which is 0 at first."""

    def __init__(self, frozen: Linear, rank: int) -> None:
        super().__init__()
        self.frozen = frozen
        device = frozen.weight.device
        self.down = nn.Parameter(torch.empty(rank, frozen.in_features, device=device))
        self.up = nn.Parameter(torch.zeros(frozen.out_features, rank, device=device))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.frozen.weight.dtype)
        low = F.linear(x, self.down.to(x.dtype))
        return self.frozen(x) + F.linear(low, self.up.to(x.dtype))


def adapted(decoder: UnifiedVoice, rank: int) -> UnifiedVoice:
    """The decoder itself, with the four matrices of each block adapted."""
    for block in decoder.blocks:
        for pair in (block.attn, block.mlp):
            assert isinstance(pair, nn.ModuleDict)
            for name, layer in pair.items():
                assert isinstance(layer, Linear)
                pair[name] = Adapted(layer, rank)
    return decoder
