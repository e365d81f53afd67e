"""From the latents of the codes to a mel spectrogram, by diffusion."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Linear
from ..unet import time_embedding
from .layers import AttentionBlock, Conv3, GroupNorm

MEL_LOW, MEL_HIGH = -11.512925148010254, 2.3143386840820312
"""The log mels that -1 and 1 stand for."""


def frames(codes: int) -> int:
    """The number of frames (256 samples at 24 kHz) for a number of codes (1,024 samples at 22.05 kHz)."""
    return codes * 4 * 24000 // 22050


def denormalise(mel: Tensor) -> Tensor:
    """Converts [-1, 1] to the log mels that the vocoder expects."""
    return (mel + 1) / 2 * (MEL_HIGH - MEL_LOW) + MEL_LOW


class ResBlock(nn.Module):
    """Convolutions over one and three frames around a norm that is scaled and shifted by the time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_in = GroupNorm(channels)
        self.conv_in = Linear(channels, channels)
        self.time = Linear(channels, 2 * channels)
        self.norm_out = GroupNorm(channels)
        self.conv_out = Conv3(channels, channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """`time` (B, C) is the embedding after its SiLU."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.time(time).chunk(2, dim=1)
        return x + self.conv_out(F.silu(self.norm_out(h, scale, shift)))


class Layer(nn.Module):
    """A residual block and attention."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.res = ResBlock(channels)
        self.attn = AttentionBlock(channels, heads, relative=True)

    def forward(self, x: Tensor, time: Tensor, bias: Tensor | None) -> Tensor:
        return self.attn(self.res(x, time), bias)


class Condition(NamedTuple):
    """The conditioning of a spectrogram, the same at every step."""

    codes: Tensor
    """(B, T, C): the latents, in the voice, stretched to the frames."""
    biases: list[Tensor | None]
    """Of each layer's attention, for this length."""


class DiffusionTts(nn.Module):
    """Predicts noise and variance of a noisy spectrogram: x (B, mels, T) in [-1, 1] and times t (B,), 0 to 3999 (of
    4,000 linear betas), to (B, 2 * mels, T); the second half of the channels is the spread of a learned range."""

    def __init__(
        self, dim: int = 1024, layers: int = 10, heads: int = 16, mels: int = 100, latent_dim: int = 1024
    ) -> None:
        super().__init__()
        self.dim, self.mels = dim, mels
        self.inp_block = Conv3(mels, dim)
        self.time_embed = nn.Sequential(Linear(dim, dim), nn.SiLU(), Linear(dim, dim))
        self.latent_conv = Conv3(latent_dim, dim)
        self.latent_attn = nn.ModuleList(AttentionBlock(dim, heads, relative=True) for _ in range(4))
        self.code_norm = GroupNorm(dim)
        self.unconditioned_embedding = nn.Parameter(torch.empty(1, dim, 1))
        self.integrator = nn.ModuleList(Layer(dim, heads) for _ in range(3))
        self.integrating_conv = Linear(2 * dim, dim)
        self.layers = nn.ModuleList(Layer(dim, heads) for _ in range(layers))
        self.layers += [ResBlock(dim) for _ in range(3)]
        self.norm_out = GroupNorm(dim)
        self.conv_out = Conv3(dim, 2 * mels)

    def condition(self, latents: Tensor, voice: Tensor, length: int) -> Condition:
        """The condition from latents of the codes (B, M, latent_dim) and a `voice` (B, 2 * dim) from
        `ContextualEmbedder`, for `length` frames."""
        h = self.latent_conv(latents).float()
        for block in self.latent_attn:
            h = block(h)
        h = self.code_norm(h, *voice.chunk(2, dim=1))
        stretched = F.interpolate(h.transpose(1, 2), size=length, mode="nearest").transpose(1, 2)
        return Condition(stretched.contiguous(), self._biases(length))

    def unconditional(self, batch: int, length: int) -> Condition:
        """The condition for classifier-free guidance: no text and no voice."""
        embedding = self.unconditioned_embedding.transpose(1, 2)
        return Condition(embedding.expand(batch, length, -1), self._biases(length))

    def _biases(self, length: int) -> list[Tensor | None]:
        attending = [layer for layer in (*self.integrator, *self.layers) if isinstance(layer, Layer)]
        return [layer.attn.biases(length) for layer in attending]

    def forward(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        time = F.silu(self.time_embed(time_embedding(t, self.dim)))
        biases = iter(condition.biases)
        codes = condition.codes
        for layer in self.integrator:
            codes = layer(codes, time, next(biases))
        h = self.inp_block(x.transpose(1, 2))
        h = torch.cat([h, codes.to(h.dtype)], dim=2)
        h = self.integrating_conv(h).float()
        for layer in self.layers:
            h = layer(h, time, next(biases)) if isinstance(layer, Layer) else layer(h, time)
        return self.conv_out(F.silu(self.norm_out(h))).transpose(1, 2).float()


class ContextualEmbedder(nn.Module):
    """A voice for `DiffusionTts` from the mels of reference clips: (clips, mels, T) to (1, 2 * dim)."""

    def __init__(self, dim: int = 1024, heads: int = 16, mels: int = 100) -> None:
        super().__init__()
        wide = 2 * dim
        first = nn.Conv1d(mels, dim, 3, stride=2, padding=1)
        second = nn.Conv1d(dim, wide, 3, stride=2, padding=1)
        self.conv = nn.ModuleList([first, second])
        self.attn = nn.ModuleList(AttentionBlock(wide, heads, relative=True) for _ in range(5))

    def forward(self, clips: Tensor) -> Tensor:
        h = clips
        for conv in self.conv:
            h = conv(h)
        h = h.transpose(1, 2)
        for block in self.attn:
            h = block(h)
        return h.mean((0, 1))[None]
