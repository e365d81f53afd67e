"""CLVP: how well codes of speech match a text, like CLIP for voices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Linear, attention, embedding
from .autoregressive import STOP_TEXT

HEAD, ROTARY = 64, 32
"""Channels of a head, and how many of them carry the position."""


class RMSNorm(nn.Module):
    """x over its root mean square, times g."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        power = x.square().mean(-1, keepdim=True)
        return x * power.clamp(min=1e-16).rsqrt() * self.g


class Attention(nn.Module):
    """Attention as a residual, in which queries, keys and values are all rotated by their position (Su et al. 2021,
    arXiv:2104.09864)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = RMSNorm(dim)
        self.to_qkv = Linear(dim, 3 * heads * HEAD, bias=False)
        self.to_out = Linear(heads * HEAD, dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`cos` and `sin` of the angles, (T, ROTARY / 2)."""
        qkv = self.to_qkv(self.norm(x))
        qkv = qkv.unflatten(2, (3, self.heads, HEAD)).permute(2, 0, 3, 1, 4)
        a, b, rest = qkv.split((ROTARY // 2, ROTARY // 2, HEAD - ROTARY), dim=-1)
        turned = _turned(a, b, cos, sin).to(qkv.dtype)
        h = attention(*torch.cat([turned, rest], dim=-1).unbind(0))
        return x + self.to_out(h.transpose(1, 2).flatten(2))


def _turned(a: Tensor, b: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first = a * cos - b * sin
    second = b * cos + a * sin
    return torch.cat([first, second], dim=-1)


class FeedForward(nn.Module):
    """A gated MLP (GEGLU; Shazeer 2020, arXiv:2002.05202) as a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = RMSNorm(dim)
        self.gated = Linear(dim, 4 * dim)
        self.out = Linear(2 * dim, dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        h, gate = self.gated(self.norm(x)).chunk(2, dim=-1)
        return x + self.out(h * F.gelu(gate))


class Encoder(nn.Module):
    """Encodes tokens (B, T) as unit vectors (B, dim)."""

    def __init__(self, tokens: int, dim: int, layers: int, heads: int) -> None:
        super().__init__()
        self.emb = embedding(tokens, dim)
        self.blocks = nn.ModuleList()
        for _ in range(layers):
            self.blocks += [Attention(dim, heads), FeedForward(dim)]
        self.norm = nn.LayerNorm(dim)
        self.to_latent = Linear(dim, dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.emb(tokens)
        steps = torch.arange(ROTARY // 2, device=x.device) * (2 / ROTARY)
        angles = torch.arange(tokens.shape[1], device=x.device)
        angles = angles[:, None] / 10_000.0**steps
        for block in self.blocks:
            x = block(x, angles.cos(), angles.sin())
        latent = self.to_latent(self.norm(x).mean(1))
        return F.normalize(latent.float(), dim=-1)


class CLVP(nn.Module):
    """Scores how well codes of speech match a text. It was trained on sequences padded to 500 codes."""

    def __init__(
        self, dim: int = 768, layers: int = 20, heads: int = 12, text_tokens: int = 256, codes: int = 8192
    ) -> None:
        super().__init__()
        self.text = Encoder(text_tokens, dim, layers, heads)
        self.speech = Encoder(codes, dim, layers, heads)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def read(self, text: Tensor) -> Tensor:
        """Encodes the tokens of texts (B, N), after adding the stop token, as unit vectors (B, dim)."""
        return self.text(F.pad(text, (0, 1), value=STOP_TEXT))

    def score(self, read: Tensor, codes: Tensor) -> Tensor:
        """Scores (B,) of codes (B, M), without start and stop codes, for texts encoded by `read`: one for all rows
        (1, dim), or one per row."""
        likeness = (read * self.speech(codes)).sum(-1)
        return likeness * self.temperature.exp()

    def forward(self, text: Tensor, codes: Tensor) -> Tensor:
        """The `score` of codes for the tokens of texts."""
        return self.score(self.read(text), codes)
