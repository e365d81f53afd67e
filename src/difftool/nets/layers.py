"""Layers of more than one network. Sequences are (batch, time, channels), but for `ConvNeXt`."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def packable(weight: Tensor) -> bool:
    """Whether oneDNN supports products with such a matrix on this CPU."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if weight.dtype == torch.float16:
        return torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return weight.dtype == torch.float32


def packed(weight: Tensor) -> Tensor:
    """A matrix (out, inp) in oneDNN's blocked layout. The layout for many rows is also the fastest for few: for 16 rows
    in float32 more than twice as fast as the plain layout, while the layout for 16 rows is three times slower."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 512)


def product(x: Tensor, blocks: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., inp) times the transpose of a `packed` matrix, plus a bias."""
    return torch.ops.mkldnn._linear_pointwise(x, blocks, bias, "none", [], "")


def nothing(weight: Tensor) -> nn.Parameter:
    """An empty parameter in place of a packed weight, with its device and number format."""
    return nn.Parameter(weight.new_empty(0), requires_grad=False)


class Linear(nn.Linear):
    """A linear layer that takes input of any number format and returns that of its weights."""

    blocks: Tensor | None = None

    def forward(self, input: Tensor) -> Tensor:
        x = input.to(self.weight.dtype)
        if self.blocks is None:
            return F.linear(x, self.weight, self.bias)
        return product(x, self.blocks, self.bias)

    def pack(self) -> None:
        self.blocks, self.weight = packed(self.weight.detach()), nothing(self.weight)


def embedding(tokens: int, dim: int) -> nn.Embedding:
    """As nn.Embedding, but uninitialised on the meta device, where that would import PyTorch's compiler: 1 s."""
    weight = torch.empty(tokens, dim)
    if not weight.is_meta:
        nn.init.normal_(weight)
    return nn.Embedding.from_pretrained(weight, freeze=False)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v of (B, H, T, D), with a bias that broadcasts to (B, H, T, T)."""
    if q.device.type != "cpu" or q.dtype == torch.float32:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    # PyTorch's kernel for the CPU gains nothing from half precision, its products of matrices do
    q = q * q.shape[3] ** -0.5
    if bias is not None:
        bias = bias.expand(-1, q.shape[1], -1, -1)
    parts = []
    for first in range(0, q.shape[1], 4):
        heads = slice(first, first + 4)  # so many at a time stay in the cache
        scores = q[:, heads] @ k[:, heads].transpose(2, 3)
        if bias is not None:
            scores.add_(bias[:, heads])
        parts.append(scores.softmax(-1) @ v[:, heads])
    return torch.cat(parts, dim=1)


class ConvNeXt(nn.Module):
    """A block of ConvNeXt (Liu et al. 2022, arXiv:2201.03545) over time, (B, C, T) to the same."""

    def __init__(self, width: int, hidden: int, kernel: int = 7) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.depthwise(x).transpose(1, 2)
        h = self.narrow(F.gelu(self.widen(self.norm(h))))
        return x + (self.scale * h).transpose(1, 2)


@runtime_checkable
class Packable(Protocol):
    """A layer with a matrix product, whose weights can be packed once they are final."""

    weight: Tensor

    def pack(self) -> None: ...


@runtime_checkable
class Quantisable(Protocol):
    """A layer whose weights can be rounded to 8 bits once they are final."""

    def quantise(self) -> None: ...


def prepare(layer: nn.Module, dtype: torch.dtype) -> None:
    """Converts a layer with a matrix product to `dtype`, once its weights are on their device, and packs the weights
    where oneDNN supports it: results agree up to rounding, and the layer can no longer be saved or moved. With int8,
    weights are rounded where a layer is Quantisable, and the others stay as they are. Norms and embeddings stay in
    float32."""
    if dtype == torch.int8:
        if isinstance(layer, Quantisable):
            layer.quantise()
    elif isinstance(layer, Packable):
        layer.to(dtype)
        if packable(layer.weight):
            layer.pack()


def recomputed(module: nn.Module, *inputs: object) -> Tensor:
    """The result of a module; the backward pass computes it again instead of keeping what was in between."""
    if not torch.is_grad_enabled():
        return module(*inputs)
    result: Any = checkpoint(module, *inputs, use_reentrant=False)
    return result
