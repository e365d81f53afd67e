"""From noise to a mel spectrogram: a transformer whose layers are modulated by the time (Peebles & Xie 2022,
arXiv:2212.09748)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..layers import Linear, attention
from .architecture import Architecture
from .text import turns

HEAD = 64
"""Channels of a head of attention."""
FREQUENCIES = 128
"""Of the sines and cosines of a time."""


class Modulations(NamedTuple):
    """What the network knows of n times: the same for every text and voice, so computed once for a grid."""

    blocks: Tensor
    """(n, depth, 6, dim): of each block shift, scale and gate of its attention, then of its feed-forward layers."""
    out: Tensor
    """(n, 2, dim): scale and shift before the output."""

    def at(self, i: int) -> Modulations:
        """Those of the i-th time."""
        return Modulations(self.blocks[i : i + 1], self.out[i : i + 1])


class TimeEmbedding(nn.Module):
    """The `Modulations` of times t (n,) from 0 (noise) to 1 (speech). Always in float32."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        dim = architecture.dim
        self.enter = nn.Linear(2 * FREQUENCIES, dim)
        self.leave = nn.Linear(dim, dim)
        self.blocks = nn.ModuleList(nn.Linear(dim, 6 * dim) for _ in range(architecture.depth))
        self.out = nn.Linear(dim, 2 * dim)

    def forward(self, t: Tensor) -> Modulations:
        h = F.silu(self.enter(waves(t)))
        h = F.silu(self.leave(h))
        each = [block(h) for block in self.blocks]
        blocks = torch.stack(each, dim=1).unflatten(2, (6, -1))
        return Modulations(blocks, self.out(h).unflatten(1, (2, -1)))


def waves(t: Tensor) -> Tensor:
    """Sines and cosines (n, 2 * FREQUENCIES) of times t (n,), in float32: with up to 1,000 radians a half has no
    phase."""
    places = torch.arange(FREQUENCIES, device=t.device).float()
    rates = torch.exp(places * (-math.log(10_000) / (FREQUENCIES - 1)))
    angles = 1000 * t.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Condition(NamedTuple):
    """The conditioning of a batch, the same at every step."""

    given: Tensor
    """(B, T, dim): what the references and texts add to the first layer."""
    rotation: Tensor
    """(heads, T, HEAD / 2), complex: what queries and keys are multiplied by."""
    inside: Tensor | None
    """(B, T, 1): the frames of each item; None where all items have the same number."""
    keys: Tensor | None
    """(B, 1, 1, T): what is added to the scores of attention."""


class Positions(nn.Module):
    """Convolutions that show a frame its neighbours, (B, T, dim) to the same. Frames that are not `inside` stay 0, like
    those beyond the ends."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(dim, dim, 31, padding=15, groups=16)
        self.second = nn.Conv1d(dim, dim, 31, padding=15, groups=16)

    def forward(self, x: Tensor, inside: Tensor | None) -> Tensor:
        for conv in (self.first, self.second):
            if inside is not None:
                x = x * inside
            x = F.mish(conv(x.transpose(1, 2))).transpose(1, 2)
        return x


class Block(nn.Module):
    """Attention and feed-forward layers, as residuals."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        dim, self.heads = architecture.dim, architecture.heads
        inner, hidden = self.heads * HEAD, architecture.widened * dim
        self.qkv = Linear(dim, 3 * inner)
        self.out = Linear(inner, dim)
        self.widen = Linear(dim, hidden)
        self.narrow = Linear(hidden, dim)

    def forward(self, x: Tensor, modulation: Tensor, condition: Condition) -> Tensor:
        """`modulation`: (B, 6, dim), or (1, 6, dim) for all."""
        shift, scale, gate, wide_shift, wide_scale, wide_gate = modulation[:, :, None].unbind(1)
        qkv = self.qkv(modulated(x, scale, shift)).unflatten(2, (3, self.heads, HEAD))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = rotated(q, condition.rotation), rotated(k, condition.rotation)
        h = attention(q, k, v, condition.keys).transpose(1, 2)
        x = x + gate * self.out(h.flatten(2))
        h = self.widen(modulated(x, wide_scale, wide_shift))
        h = self.narrow(F.gelu(h, approximate="tanh"))
        return x + wide_gate * h


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Queries or keys (B, heads, T, HEAD), each pair of neighbouring channels rotated in float32 (Su et al. 2021,
    arXiv:2104.09864)."""
    pairs = torch.view_as_complex(x.float().unflatten(3, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(3).to(x.dtype)


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x (B, T, dim), each frame normalised in float32, times 1 + scale, plus shift."""
    normalised = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return torch.addcmul(shift, normalised, 1 + scale)


class DiT(nn.Module):
    """Predicts the velocity, speech less noise, of noisy mel spectrograms: x (B, T, mels) to the same."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        dim, mels = architecture.dim, architecture.mels
        self.state = Linear(mels, dim, bias=False)
        self.given = Linear(mels + architecture.text, dim)
        self.positions = Positions(dim)
        self.blocks = nn.ModuleList(Block(architecture) for _ in range(architecture.depth))
        self.out = Linear(dim, mels)

    def condition(self, references: Sequence[Tensor], texts: Sequence[Tensor]) -> Condition:
        """The condition of a batch from the mels (R, mels) of its references, which end before their items do, and its
        texts (T, text) from `TextEmbedding`, as long as their items. Items may differ in length: what is predicted
        for one does not depend on the others, and means nothing beyond its end."""
        text = pad_sequence([*texts], batch_first=True)
        _, frames, _ = text.shape
        known = [F.pad(reference, (0, 0, 0, frames - len(reference))) for reference in references]
        both = torch.cat([torch.stack(known), text], dim=2)
        given, rotation = self.given(both).float(), self._rotation(frames, text.device)
        lengths = torch.tensor([len(item) for item in texts], device=text.device)
        inside = torch.arange(frames, device=text.device) < lengths[:, None]
        if inside.all():
            return Condition(given, rotation, None, None)
        scores = torch.zeros(inside.shape, dtype=self.out.weight.dtype, device=text.device)
        keys = scores.masked_fill(~inside, -math.inf)
        return Condition(given, rotation, inside[:, :, None], keys[:, None, None])

    def _rotation(self, frames: int, device: torch.device) -> Tensor:
        """That of a `Condition`; heads that know no position are rotated by 0."""
        angles = turns(frames, HEAD, device)
        heads, rotated = self.architecture.heads, self.architecture.rotated
        rotating = torch.arange(heads, device=device) < (heads if rotated is None else rotated)
        angles = angles * rotating[:, None, None]
        return torch.polar(torch.ones_like(angles), angles)

    def forward(self, x: Tensor, modulations: Modulations, condition: Condition) -> Tensor:
        """`modulations`: of one time for all items, or of a time for each."""
        h = self.state(x).float() + condition.given
        h = h + self.positions(h, condition.inside)
        for block, modulation in zip(self.blocks, modulations.blocks.unbind(1), strict=True):
            h = block(h, modulation, condition)
        scale, shift = modulations.out[:, :, None].unbind(1)
        return self.out(modulated(h, scale, shift)).float()
