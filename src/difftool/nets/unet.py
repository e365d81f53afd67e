"""The U-Net: residual blocks that take the time and the label, a way down, a way up, and skips between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import embedding, recomputed

GROUPS = 8


def time_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding (Vaswani et al. 2017) of times t (B,): (B, dim), cosines first; `dim` must be even."""
    half = dim // 2
    places = torch.arange(half, device=t.device, dtype=torch.float32)
    freqs = torch.exp(places * (-math.log(max_period) / half))
    angles = t.float()[:, None] * freqs[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def labels_or_any(label: Tensor | None, t: Tensor, classes: int) -> Tensor:
    """The labels (B,), or without labels the index that means any class, once for each time (B,)."""
    if label is not None:
        return label
    return torch.full_like(t, classes, dtype=torch.int64)


class Dropout(nn.Dropout):
    """Dropout that, after `number_dropout`, gives each row a mask that does not depend on the other rows."""

    draws: tuple[int, range, int] | None = None

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        if self.draws is None or not self.training or not self.p:
            return super().forward(x)
        return x * self.mask(x)

    def mask(self, x: Tensor) -> Tensor:
        """0 or 1 / (1 - p) for every number of `x`."""
        assert self.draws is not None
        seed, rows, total = self.draws
        each = x[0].numel()
        generator = torch.Generator(x.device).manual_seed(seed)
        # four draws of 16 bits from a word: drawing takes long on a CPU
        count = math.ceil(total * each / 4)
        words = torch.empty(count, dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None, generator=generator)
        bits = words.view(torch.int16)[rows.start * each : rows.stop * each]
        dropped = round(self.p * 2**16)
        kept = bits.view_as(x) >= dropped - 2**15
        scale = 1 / (1 - dropped / 2**16)
        return kept.to(x.dtype).mul_(scale)


def number_dropout(dropouts: Sequence[Dropout], seed: int, step: int, rows: range, total: int) -> None:
    """Prepares every `Dropout` of a network for the `rows` of a batch of `total` at a step."""
    address = (seed * 1_000_003 + step) * 1_009
    for k, module in enumerate(dropouts):
        module.draws = (address + k) % 2**63, rows, total


class ResBlock(nn.Module):
    """Two 3x3 convolutions around a residual; the embedding scales and shifts the second norm (AdaGN)."""

    def __init__(self, inp: int, out: int, emb: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, inp)
        self.conv1 = nn.Conv2d(inp, out, 3, padding=1)
        self.emb = nn.Linear(emb, 2 * out)
        self.norm2 = nn.GroupNorm(GROUPS, out, affine=False)
        self.dropout = Dropout(dropout)
        self.conv2 = _zero(nn.Conv2d(out, out, 3, padding=1))
        self.skip = nn.Conv2d(inp, out, 1) if inp != out else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        change = self.emb(emb)[:, :, None, None]
        scale, shift = change.chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip(x) + self.conv2(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """Self-attention over the pixels, as a residual."""

    def __init__(self, channels: int, head_dim: int = 32) -> None:
        super().__init__()
        self.heads = max(channels // head_dim, 1)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x))
        heads = qkv.reshape(b, 3, self.heads, -1, h * w)
        q, k, v = heads.transpose(-1, -2).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v)
        y = y.transpose(-1, -2).reshape(b, c, h, w)
        return x + self.out(y)


class Stage(nn.ModuleList):
    """Modules in a row, of which the residual blocks take the embedding."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for module in self:
            x = module(x, emb) if isinstance(module, ResBlock) else module(x)
        return x


class UNet(nn.Module):
    """Noisy pictures (B, channels, H, W) and times (B,) in, the prediction of the same shape out, for any H and W.

    `width` times each of `mults` are the channels of the levels, from the full size down; `blocks` residual blocks
    stand on each level, and `attention` names the levels (0 is the full size) that also attend. With `classes`, a
    label (B,) in 0 .. classes steers the picture, `classes` itself (and no label at all) meaning "any": the condition
    of classifier-free guidance (Ho & Salimans 2022), learned by replacing some labels by it in training. With
    `learned_range` it returns twice the channels, the second half for the variance (Nichol & Dhariwal 2021). With
    `rows`, the height of pictures whose rows differ in meaning as those of spectrograms do, each row has a learned
    vector, which is added after the first convolution. Where `checkpointing` is set, the way back computes the stages
    anew instead of keeping what was in between.
    """

    checkpointing = False

    def __init__(
        self,
        channels: int,
        width: int,
        mults: Sequence[int] = (1, 2, 2),
        blocks: int = 1,
        attention: Sequence[int] = (),
        classes: int = 0,
        dropout: float = 0.0,
        learned_range: bool = False,
        rows: int = 0,
    ) -> None:
        """Raises ValueError where a size does not fit: 1 to 4 channels, a width that is a multiple of 8."""
        super().__init__()
        if not 1 <= channels <= 4:
            raise ValueError(f"the number of channels must be from 1 to 4, not {channels}")
        if width < GROUPS or width % GROUPS:
            raise ValueError(f"the width must be a multiple of {GROUPS}, not {width}")
        if not 1 <= blocks * len(mults) <= 1000:
            raise ValueError(
                f"the downward half must have 1 to 1000 blocks, not {blocks} on each of {len(mults)} levels"
            )
        self.width, self.classes = width, classes
        self.multiple = 2 ** (len(mults) - 1)
        attending = frozenset(attention)
        emb = 4 * width
        self.time = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.label = embedding(classes + 1, emb) if classes else None
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        padded = rows + -rows % self.multiple
        self.rows = nn.Parameter(torch.zeros(width, padded, 1)) if rows else None

        def stage(level: int, inp: int, out: int) -> Stage:
            extra = [Attention(out)] if level in attending else []
            return Stage([ResBlock(inp, out, emb, dropout), *extra])

        widths = [width * m for m in mults]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, now = [width], width
        for level, out in enumerate(widths):
            if level:
                self.down.append(Stage([nn.Conv2d(now, now, 3, stride=2, padding=1)]))
                skips.append(now)
            for _ in range(blocks):
                self.down.append(stage(level, now, out))
                now = out
                skips.append(now)
        deepest = stage(len(mults) - 1, now, now)
        self.middle = Stage([*deepest, ResBlock(now, now, emb, dropout)])
        self.joins: list[bool] = []  # which stages of the way up take a skip
        for level, out in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(stage(level, now + skips.pop(), out))
                self.joins.append(True)
                now = out
            if level:
                larger = nn.Upsample(scale_factor=2)
                self.up.append(Stage([larger, nn.Conv2d(now, now, 3, padding=1)]))
                self.joins.append(False)
        out = 2 * channels if learned_range else channels
        last = _zero(nn.Conv2d(now, out, 3, padding=1))
        self.head = nn.Sequential(nn.GroupNorm(GROUPS, now), nn.SiLU(), last)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        h, w = x.shape[-2:]
        right, below = -w % self.multiple, -h % self.multiple
        x = F.pad(x, (0, right, 0, below), mode="replicate")
        emb = self.time(time_embedding(t, self.width).to(x.dtype))
        if self.label is not None:
            emb = emb + self.label(labels_or_any(label, t, self.classes))
        emb = F.silu(emb)
        x = self.stem(x)
        if self.rows is not None:
            x = x + self.rows.to(x.dtype)
        skips = [x]
        for stage in self.down:
            x = self._run(stage, x, emb)
            skips.append(x)
        x = self._run(self.middle, x, emb)
        for stage, joins in zip(self.up, self.joins, strict=True):
            x = self._run(stage, _joined(x, skips) if joins else x, emb)
        return self.head(x)[..., :h, :w]

    def _run(self, stage: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
        return recomputed(stage, x, emb) if self.checkpointing else stage(x, emb)


def _joined(x: Tensor, skips: list[Tensor]) -> Tensor:
    return torch.cat([x, skips.pop()], dim=1)


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution that begins as nothing, so that a residual begins as the identity."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv
