"""From phonemes and a voice to a mel spectrogram: durations, and a flow that is conditioned on both.

The voice is a few vectors that attention reads from the frames of a reference (Wang et al. 2018, arXiv:1803.09017),
and its median pitch. So a reference needs no transcript and may have any length. The flow makes the pitch beside the
mels: a speaker is recognised by it, and a band of the mels is wider than the differences that are heard.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ConvNeXt, embedding
from ..spectrum import MELS
from .vocoder import HIGHEST, LOWEST

MEAN, DEVIATION = -4.5, 3.5
"""Of log mels, roughly."""
CHANNELS = MELS + 1
"""Of what the flow makes: the mels, normalised, and the pitch, as `tuned`."""
PATCH = 2
"""Frames that the flow takes at once."""
STRIDE = 2
"""Frames of a reference that are read at once."""


class Sizes(NamedTuple):
    """Widths and counts of the parts."""

    symbols: int = 55
    """Phonemes and punctuation; 0 is none."""
    text: int = 192
    text_blocks: int = 4
    voice: int = 192
    voice_blocks: int = 3
    slots: int = 16
    """Vectors of a voice."""
    flow: int = 256
    hidden: int = 512
    blocks: int = 9


class Attention(nn.Module):
    """Attention of (B, T, C) over itself, with rotary positions (Su et al. 2021, arXiv:2104.09864), or over other
    vectors (B, S, D), added to the input. `mask` (B, T or S) is True where there is something to attend to."""

    def __init__(self, width: int, other: int | None = None, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.rotary = heads, other is None
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width if other is None else other, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, other: Tensor | None = None) -> Tensor:
        h = self.norm(x)
        attended_to = h if other is None else other
        k, v = self.key_value(attended_to).chunk(2, -1)
        q, k, v = (self._by_head(part) for part in (self.query(h), k, v))
        if self.rotary:
            q, k = rotated(q), rotated(k)
        shown = None if mask is None else mask[:, None, None]
        attended = F.scaled_dot_product_attention(q, k, v, shown)
        return x + self.out(attended.transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, T, C) as (B, H, T, C / H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def rotated(x: Tensor) -> Tensor:
    """Queries or keys (B, H, T, C) rotated by their positions."""
    length, width = x.shape[-2:]
    channel = torch.arange(width // 2, device=x.device)
    position = torch.arange(length, device=x.device)
    rates = torch.exp(-math.log(10_000) / (width // 2) * channel)
    angles = position[:, None] * rates
    cos, sin = (wave.to(x.dtype) for wave in (angles.cos(), angles.sin()))
    a, b = x.chunk(2, -1)
    first, second = a * cos - b * sin, a * sin + b * cos
    return torch.cat([first, second], -1)


class TextEncoder(nn.Module):
    """Symbols (B, L) to vectors (B, L, C)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.text
        self.embed = embedding(sizes.symbols, width)
        self.blocks = nn.ModuleList(ConvNeXt(width, 2 * width, 5) for _ in range(sizes.text_blocks))
        self.attention = nn.ModuleList(Attention(width) for _ in range(sizes.text_blocks // 2))

    def forward(self, symbols: Tensor, mask: Tensor) -> Tensor:
        h, shown = self.embed(symbols), mask[..., None]
        for k, block in enumerate(self.blocks):
            h = block((h * shown).transpose(1, 2)).transpose(1, 2)
            if k % 2:
                h = self.attention[k // 2](h, mask)
        return h * shown


class VoiceEncoder(nn.Module):
    """A reference (B, MELS, T), normalised, to the vectors of a voice (B, K, C)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.voice
        self.embed = nn.Conv1d(MELS, width, 5, stride=STRIDE, padding=2)
        self.blocks = nn.ModuleList(ConvNeXt(width, 2 * width) for _ in range(sizes.voice_blocks))
        self.slots = nn.Parameter(torch.randn(sizes.slots, width) * 0.5)
        self.read = Attention(width, width)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, width)
        self.pitch = nn.Linear(64, width, bias=False)

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """`mask`: (B, T), True where the reference is. The pitch is not in the result, see `height`."""
        h = self.embed(mel * mask[:, None])
        mask = mask[:, ::STRIDE]
        for block in self.blocks:
            h = block(h * mask[:, None])
        slots = self.slots.to(h.dtype).expand(len(mel), -1, -1)
        read = self.read(slots, mask, h.transpose(1, 2))
        return self.mix(self.norm(read))

    def height(self, pitch: Tensor) -> Tensor:
        """What a median pitch (B,) in Hz, 0 where it is not known, adds to all vectors of a voice: (B, 1, C)."""
        height = (pitch.clamp(min=1) / LOWEST).log() / math.log(HIGHEST / LOWEST)
        about = waves(height, 64, 100) * (pitch > 0)[:, None]
        return self.pitch(about)[:, None]


class Durations(nn.Module):
    """The logarithm of the frames of each symbol, (B, L)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.text
        self.voice = nn.Linear(sizes.voice, width)
        self.blocks = nn.ModuleList(ConvNeXt(width, 2 * width, 5) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 1)

    def forward(self, text: Tensor, voice: Tensor, mask: Tensor) -> Tensor:
        about = self.voice(voice.mean(1))
        h = (text + about[:, None]).transpose(1, 2)
        for block in self.blocks:
            h = block(h * mask[:, None])
        return self.out(self.norm(h.transpose(1, 2)))[..., 0]


class FlowBlock(nn.Module):
    """A ConvNeXt block whose input is scaled and shifted, and whose result is scaled, by time and voice (adaLN-Zero,
    Peebles & Xie 2022, arXiv:2212.09748)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.own = nn.Parameter(torch.zeros(3 * width))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        own = modulation + self.own
        shift, scale, gate = own[:, None].chunk(3, -1)
        h = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        h = self.norm(h) * (1 + scale) + shift
        h = self.narrow(F.gelu(self.widen(h)))
        return x + (0.2 + gate) * h


class Flow(nn.Module):
    """The velocity eps - x0 of speech (B, CHANNELS, T), T a multiple of PATCH, at levels s (B,) from 0 (clean) to 1
    (noise)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.flow
        self.enter = nn.Linear(PATCH * (CHANNELS + sizes.text), width)
        self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.voice = nn.Linear(sizes.voice, width)
        self.modulation = nn.Linear(width, 3 * width)  # one for all blocks (Chen et al. 2023, arXiv:2310.00426)
        self.blocks = nn.ModuleList(FlowBlock(width, sizes.hidden) for _ in range(sizes.blocks))
        self.read = nn.ModuleList(Attention(width, sizes.voice) for _ in range(sizes.blocks // 3))
        self.attention = nn.ModuleList(Attention(width) for _ in range(sizes.blocks // 3 - 1))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, PATCH * CHANNELS)
        for layer in (self.modulation, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, s: Tensor, text: Tensor, voice: Tensor, mask: Tensor) -> Tensor:
        """`text`: (B, T, C), a vector for each frame; `voice`: (B, K, D); `mask`: (B, T), where the speech is."""
        frames = torch.cat([x.transpose(1, 2), text], -1)
        patches = frames.unflatten(1, (-1, PATCH)).flatten(2)
        mask = mask[:, ::PATCH]
        shown = mask[..., None]
        h = self.enter(patches)
        time = self.time(waves(s, 128, 1000).to(h.dtype))
        modulation = self.modulation(F.silu(time + self.voice(voice.mean(1))))
        for k, block in enumerate(self.blocks):
            group, place = divmod(k, 3)
            h = block(h * shown, modulation)
            if place == 0:
                h = self.read[group](h, None, voice)
            if place == 2 and group < len(self.attention):
                h = self.attention[group](h, mask)
        patches = self.leave(self.norm(h))
        frames = patches.unflatten(-1, (PATCH, CHANNELS)).flatten(1, 2)
        return frames.transpose(1, 2)


def waves(x: Tensor, count: int, fastest: float) -> Tensor:
    """Features (B, count) of numbers (B,) in [0, 1]: their cosines and sines at rates from 1 to `fastest`."""
    rates = torch.exp(torch.linspace(0, math.log(fastest), count // 2, device=x.device))
    angles = x.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


class Speech(nn.Module):
    """All parts, as they are trained together."""

    def __init__(self, **sizes: int) -> None:
        super().__init__()
        self.sizes = Sizes(**sizes)
        self.text, self.voice = TextEncoder(self.sizes), VoiceEncoder(self.sizes)
        self.durations, self.flow = Durations(self.sizes), Flow(self.sizes)
        self.no_voice = nn.Parameter(torch.zeros(self.sizes.slots, self.sizes.voice))
        """The vectors of no voice in particular, for guidance. A pitch can be added to them."""


def normalised(mel: Tensor) -> Tensor:
    """Log mels with about unit variance."""
    return (mel - MEAN) / DEVIATION


def tuned(pitch: Tensor) -> Tensor:
    """The channel of a pitch in Hz, with about unit variance."""
    return (pitch.log() - 5.1) / 0.35


def spread_out(text: Tensor, frames: Tensor, total: int) -> Tensor:
    """Vectors (B, L, C) repeated for the `frames` (B, L) of each symbol, (B, total, C), padded with 0 or cut off."""
    batch, length, width = text.shape
    ends = frames.cumsum(1)
    here = torch.arange(total, device=text.device).repeat(batch, 1)
    index = torch.searchsorted(ends, here, right=True).clamp(max=length)
    padded = F.pad(text, (0, 0, 0, 1))
    return padded.gather(1, index[..., None].expand(-1, -1, width))
