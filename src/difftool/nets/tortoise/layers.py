"""Layers of Tortoise's networks. All sequences are (batch, time, channels)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Linear, attention, nothing, packed, product


class GroupNorm(nn.Module):
    """Group normalisation of (B, T, C) in float32, over the time and the channels of a group."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        groups = 8 if channels <= 16 else 16 if channels <= 64 else 32
        while channels % groups:
            groups //= 2
        self.groups, self.eps = groups, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """With `scale` and `shift` (B, C), returns the result times 1 + scale, plus shift."""
        x = x.float()
        centred = x - self._by_group(x.mean(1))[:, None]
        variance = self._by_group(centred.square().mean(1))
        gain = (variance + self.eps).rsqrt() * self.weight
        offset = self.bias.expand_as(gain)
        if scale is not None and shift is not None:
            factor = 1 + scale.float()
            gain = gain * factor
            offset = offset * factor + shift.float()
        return torch.addcmul(offset[:, None], centred, gain[:, None])

    def _by_group(self, means: Tensor) -> Tensor:
        """The means (B, C) of channels to those of their groups, (B, C) again."""
        grouped = means.unflatten(1, (self.groups, -1))
        return grouped.mean(2, keepdim=True).expand_as(grouped).flatten(1)


class Conv3(nn.Module):
    """A convolution over three neighbours in time, zeros beyond the ends: (B, T, inp) to (B, T, out). `weight` is
    (out, 3 * inp), the taps one after the other.

    Packed it makes four outputs of six products and not of twelve, by the minimal filtering F(4, 3) (Lavin & Gray 2016,
    arXiv:1509.09308, section 4.3), whose sums before and after are in float32. With products in bf16 it rounds to 0.9 %
    of the output (L2) where a plain one rounds to 0.3 %.
    """

    blocks: Sequence[Tensor] = ()

    def __init__(self, inp: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, 3 * inp))
        self.bias = nn.Parameter(torch.empty(out))

    def forward(self, x: Tensor) -> Tensor:
        if not self.blocks:
            x = F.pad(x.to(self.weight.dtype), (0, 0, 1, 1))
            before, after = x[:, :-2], x[:, 2:]
            here = x[:, 1:-1]
            return F.linear(torch.cat([before, here, after], dim=2), self.weight, self.bias)
        t = x.shape[1]
        tiles = math.ceil(t / 4)
        behind = 4 * tiles + 1 - t
        x = F.pad(x.float(), (0, 0, 1, behind))
        pieces = x.unfold(1, 6, 4).transpose(2, 3)  # six, overlapping
        spread = torch.matmul(_SPREAD, pieces).to(self.weight.dtype)  # (B, tiles, 6, inp)
        pairs = zip(spread.unbind(2), self.blocks, strict=True)
        products = torch.stack([product(piece, kernel) for piece, kernel in pairs], dim=2)
        out = torch.matmul(_GATHER, products.float()).flatten(1, 2)
        return out[:, :t].add_(self.bias)

    def pack(self) -> None:
        taps = self.weight.detach().float().unflatten(1, (3, -1))
        kernels = torch.einsum("ij,ojc->ioc", _KERNEL, taps).to(self.weight.dtype)
        self.blocks, self.weight = [packed(kernel) for kernel in kernels], nothing(self.weight)


_SPREAD = torch.tensor(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    dtype=torch.float32,
)
_KERNEL = torch.tensor([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_GATHER = torch.tensor(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], dtype=torch.float32
)
"""B^T, G and A^T of F(4, 3), for the points 0, 1, -1, 2, -2 and infinity."""


class RelativePositions(nn.Module):
    """T5's bidirectional relative position biases, in 32 buckets of which half are exact (Raffel et al. 2020,
    arXiv:1910.10683), as in x-transformers."""

    def __init__(self, heads: int, scale: float, buckets: int = 32, furthest: int = 64) -> None:
        super().__init__()
        self.scale, self.buckets, self.furthest = scale, buckets, furthest
        self.weight = nn.Parameter(torch.empty(buckets, heads))

    def forward(self, length: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(1, heads, length, length): what is added to the score of a query (row) for a key (column, the last one
        first). In that order it is a view of one row a head."""
        distance = torch.arange(length - 1, -length, -1, device=self.weight.device)  # of the key from the query
        away = distance.abs()
        half, exact = self.buckets // 2, self.buckets // 4
        ratio = away.clamp(min=1).float() / exact
        share = ratio.log() / math.log(self.furthest / exact)
        far = (exact + share * (half - exact)).long()
        far = far.clamp(max=half - 1)
        bucket = torch.where(away < exact, away, far) + half * (distance > 0)
        rows = (self.weight[bucket].T * self.scale).to(dtype)
        return rows.contiguous().unfold(1, length, 1)[None]


class AttentionBlock(nn.Module):
    """Self-attention as a residual, with or without relative positions."""

    def __init__(self, channels: int, heads: int, *, relative: bool = False) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels cannot be divided among {heads} heads")
        self.heads = heads
        self.norm = GroupNorm(channels)
        self.qkv = Linear(channels, 3 * channels)
        self.proj_out = Linear(channels, channels)
        self.positions = RelativePositions(heads, (channels / heads) ** 0.5) if relative else None

    def biases(self, length: int) -> Tensor | None:
        """The biases for sequences of `length`, in the number format of the weights; they can be reused."""
        return None if self.positions is None else self.positions(length, self.qkv.weight.dtype)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Pass `bias` to avoid computing the `biases` again."""
        bias = self.biases(x.shape[1]) if bias is None else bias
        qkv = self.qkv(self.norm(x)).unflatten(2, (self.heads, 3, -1))
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        if bias is not None:
            k, v = k.flip(2), v.flip(2)
        h = attention(q, k, v, bias).transpose(1, 2).flatten(2)
        h = self.proj_out(h)
        return x + h
