"""From text and a voice to codes of speech, one after the other: a GPT-2 with two tables of positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Linear, embedding, recomputed
from ..small_batch import SmallBatchLinear
from .layers import AttentionBlock

STOP_TEXT = 0


class Block(nn.Module):
    """A block of GPT-2: causal attention and an MLP, each after its norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} channels cannot be divided among {heads} heads")
        self.heads = heads
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = _pair("c_attn", SmallBatchLinear(dim, 3 * dim), "c_proj", SmallBatchLinear(dim, dim))
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = _pair("c_fc", SmallBatchLinear(dim, 4 * dim), "c_proj", SmallBatchLinear(4 * dim, dim))

    def forward(self, x: Tensor, cache: Tensor | None, start: int, shared: int) -> Tensor:
        b, t = x.shape[:2]
        live = b if cache is None else cache.shape[1]
        qkv = self.attn["c_attn"](self.ln_1(x)).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            end = start + t
            cache[0, :, :, start:end] = k[:live]
            cache[1, :, :, start:end] = v[:live]
            k, v = cache[:, :, :, :end]
        if t > 1 and start:
            raise ValueError("several positions at once are allowed only at the start")
        if t > 1:
            h = F.scaled_dot_product_attention(q[:live], k, v, is_causal=True)
        else:
            h = attention_of_step(q, k, v, shared)
        h = h.transpose(1, 2).flatten(2)
        if live < b:
            h = F.pad(h, (0, 0, 0, 0, 0, b - live))
        x = x + self.attn["c_proj"](h)
        h = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](F.gelu(h, approximate="tanh"))


def attention_of_step(q: Tensor, k: Tensor, v: Tensor, shared: int) -> Tensor:
    """Attention of one position a row, q (R, H, 1, D), to keys and values (B, H, T, D) of the first B rows, as
    (B, H, 1, D). The first `shared` positions are the same in all rows: on a CPU in float32 they are read once for all
    of them."""
    live = len(k)
    if q.device.type != "cpu" or q.dtype != torch.float32:
        return F.scaled_dot_product_attention(q[:live], k, v)
    # with PyTorch's kernel the bits of a row depend, on some CPUs, on how many rows there are
    q = q * q.shape[3] ** -0.5
    own = q[:live] @ k[:, :, shared:].transpose(2, 3)
    if not shared:
        return own.softmax(3) @ v
    by_head = q[:, :, 0].transpose(0, 1)  # (H, R, D)
    common = by_head @ k[0, :, :shared].transpose(1, 2)
    common = common[:, :live].transpose(0, 1)[:, :, None]
    weights = torch.cat([common, own], dim=3).softmax(3)
    by_head = F.pad(weights[:, :, 0, :shared], (0, 0, 0, 0, 0, len(q) - live)).transpose(0, 1)
    common = (by_head @ v[0, :, :shared])[:, :live].transpose(0, 1)[:, :, None]
    return common + weights[:, :, :, shared:] @ v[:, :, shared:]


def _pair(first: str, one: nn.Module, second: str, other: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({first: one, second: other})


class UnifiedVoice(nn.Module):
    """The decoder. A sequence is the voice, the text, and the codes; `codes` includes the start and stop codes. Where
    `checkpointing` is set, the backward pass computes the blocks again instead of keeping what was in between."""

    checkpointing = False

    def __init__(
        self,
        layers: int = 30,
        dim: int = 1024,
        heads: int = 16,
        text_tokens: int = 255,
        codes: int = 8194,
        text_positions: int = 404,
        code_positions: int = 608,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.start_text = text_tokens
        self.start_code, self.stop_code = codes - 2, codes - 1
        self.most_text = text_positions - 6
        """Tokens of a text at most, two fewer than there would be room for: it was never given more."""
        self.text_embedding = embedding(text_tokens + 1, dim)
        self.text_positions = embedding(text_positions, dim)
        self.code_embedding = embedding(codes, dim)
        self.code_positions = embedding(code_positions, dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(dim)
        self.final_norm = nn.LayerNorm(dim)
        self.code_head = SmallBatchLinear(dim, codes)

    def prefix(self, voice: Tensor, text: Tensor) -> Tensor:
        """The embedded sequence before the codes, (B, N + 4, dim): a voice (B, dim) from `ConditioningEncoder`, then
        the tokens of a text (B, N) between one start and two stop tokens, as in training."""
        text = F.pad(text, (1, 0), value=self.start_text)
        text = F.pad(text, (0, 2), value=STOP_TEXT)
        embedded = self.text_embedding(text) + self.text_positions.weight[: text.shape[1]]
        return torch.cat([voice[:, None], embedded], dim=1)

    def embed(self, codes: Tensor, first: int = 0) -> Tensor:
        """Embeds codes (B, M), the first of them at position `first` (0 is the start code), as (B, M, dim)."""
        positions = self.code_positions.weight[first : first + codes.shape[1]]
        return self.code_embedding(codes) + positions

    def new_cache(self, batch: int, room: int) -> Tensor:
        """Keys and values of `room` positions: (layers, 2, batch, heads, room, dim / heads)."""
        weight = self.code_head.weight
        channels = self.code_head.in_features // self.heads
        shape = (len(self.blocks), 2, batch, self.heads, room, channels)
        return torch.empty(shape, dtype=weight.dtype, device=weight.device)

    def forward(self, x: Tensor, cache: Tensor | None = None, start: int = 0, shared: int = 0) -> Tensor:
        """Hidden states (B, T, dim) of embedded positions (B, T, dim), each from itself and those before it. With a
        `cache` the positions are kept in it from `start` on, and those before `start` are taken from there; one
        position at a time unless start is 0. The first `shared` positions in the cache are the same in all rows. Rows
        beyond those of the cache are padding: with a constant B all matrix products have the same size, so each row
        has the same bits in every batch."""
        for i, block in enumerate(self.blocks):
            own = None if cache is None else cache[i]
            x = recomputed(block, x, own, start, shared) if self.checkpointing else block(x, own, start, shared)
        return self.final_norm(self.ln_f(x))

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits of the next code: (..., dim) to (..., codes), float32."""
        return self.code_head(hidden).float()

    def latents(self, voice: Tensor, text: Tensor, codes: Tensor) -> Tensor:
        """Hidden states (B, M, dim) from which each of the codes (B, M) is predicted, given those before it: the input
        of `DiffusionTts`."""
        before = F.pad(codes[:, :-1], (1, 0), value=self.start_code)
        prefix = self.prefix(voice, text)
        hidden = self(torch.cat([prefix, self.embed(before)], dim=1))
        return hidden[:, prefix.shape[1] :]


class ConditioningEncoder(nn.Module):
    """A voice for `UnifiedVoice` from the mels of reference clips: (clips, mels, T) to (1, dim)."""

    def __init__(self, dim: int = 1024, heads: int = 16, mels: int = 80) -> None:
        super().__init__()
        self.init = Linear(mels, dim)
        self.attn = nn.ModuleList(AttentionBlock(dim, heads) for _ in range(6))

    def forward(self, clips: Tensor) -> Tensor:
        h = self.init(clips.transpose(1, 2)).float()
        for block in self.attn:
            h = block(h)
        return h[:, 0].mean(0, keepdim=True)
