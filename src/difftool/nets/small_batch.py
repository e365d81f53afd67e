"""Linear layers for small batches, as a step of a decoder has them: every weight is read from memory for a few rows
only, and the layout of the weights decides how fast."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import Linear, nothing

ROWS = 16
"""Rows of a decoder's step on a CPU, padding included: the bits of a row depend on the size of a product."""
LEVELS = 127
"""An 8-bit weight is a whole number from -LEVELS to LEVELS, times the scale of its row."""
BASE, LARGEST = 128, 63
"""Input is rounded to two digits to the base BASE, the first of which is LARGEST at most."""
TINY = 1e-30
"""The least scale, for rows of zeros."""


class SmallBatchLinear(Linear):
    """A linear layer that is fast for a small batch of rows.

    Packed it differs from `Linear` in float32 on CPUs with AVX2 and without AVX-512 only. oneDNN has no blocked layout
    for a linear layer there, but one for a convolution of width 1, which is the same product.
    """

    kernel: Callable[[Tensor], Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:
        if self.kernel is None:
            return super().forward(input)
        rows = input.to(self.weight.dtype).flatten(0, -2)
        return self.kernel(rows).unflatten(0, input.shape[:-1])

    def pack(self) -> None:
        if self.weight.dtype != torch.float32 or torch.backends.cpu.get_cpu_capability() != "AVX2":
            super().pack()
            return
        self.kernel = _convolution(self.weight.detach(), self.bias)
        self.weight = nothing(self.weight)

    def quantise(self) -> None:
        """Rounds the weights to 8 bits with a scale for each output. Products are exact in the rounded weights, and
        in input of 14 bits with a scale for each row; the result is float32."""
        self.kernel = _integers(self.weight.detach(), self.bias)
        self.weight = nothing(self.weight)


def quantisable() -> bool:
    """Whether this CPU has a kernel for 8-bit weights."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def _convolution(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """x (R, inp) to x W^T + bias by convolutions of width 1 over ROWS positions, with the weights in oneDNN's blocked
    layout. Fewer rows are padded, and more are divided."""
    ops, inp = torch.ops.mkldnn, weight.shape[1]
    padding, stride, dilation = [0, 0], [1, 1], [1, 1]
    kernel = weight[:, :, None, None].contiguous(memory_format=torch.channels_last)
    size = [1, inp, ROWS, 1]
    blocks = ops._reorder_convolution_weight(kernel, padding, stride, dilation, 1, size)

    def product(x: Tensor) -> Tensor:
        image = x.as_strided(size, (x.numel(), 1, inp, inp))
        out = ops._convolution_pointwise(image, blocks, bias, padding, stride, dilation, 1, "none", [], "")
        return out[0, :, :, 0].T

    def products(x: Tensor) -> Tensor:
        count = len(x)
        if count == ROWS:
            return product(x.contiguous())
        padded = F.pad(x, (0, 0, 0, -count % ROWS)).contiguous()
        return torch.cat([product(part) for part in padded.split(ROWS)])[:count]

    return products


def _integers(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """x (R, inp) to x W^T + bias, with W rounded to 8 bits.

    x becomes whole numbers of two digits, whose products with the weights are one product of 8-bit integers with twice
    the rows: each digit is small enough for the sums of pairs in 16 bits that CPUs without VNNI make.
    """
    scale = weight.abs().amax(1).clamp(min=TINY) / LEVELS
    rounded = (weight / scale[:, None]).round().to(torch.int8)
    integers = _amx(rounded, scale) if torch.cpu._is_amx_tile_supported() else _fbgemm(rounded, scale)
    offset = weight.new_zeros(len(scale)) if bias is None else bias

    def product(x: Tensor) -> Tensor:
        step = x.abs().amax(1, keepdim=True).clamp_(min=TINY).mul_(1 / LARGEST)
        digits = x.new_empty(2, *x.shape)
        high, low = digits.unbind()
        x = x / step
        torch.round(x, out=high)
        torch.sub(x, high, out=low).mul_(BASE).round_()
        upper, lower = integers(digits.flatten(0, 1)).chunk(2)
        return torch.addcmul(offset, upper.add_(lower, alpha=1 / BASE), step)

    return product


def _fbgemm(rounded: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
    """Digits (rows, inp) from -BASE / 2 to BASE / 2 to their products with scaled 8-bit weights (out, inp)."""
    zeros = torch.zeros(len(scale), dtype=torch.long)
    weights = torch.ops.aten._make_per_channel_quantized_tensor(rounded, scale.double(), zeros, 0)
    usual = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        blocks = torch.ops.quantized.linear_prepack(weights, None)
    finally:
        torch.backends.quantized.engine = usual
    product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
    return lambda digits: product(digits, 1.0, BASE // 2, blocks)


def _amx(rounded: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
    """The same by oneDNN, which multiplies integers in the tiles of AMX."""
    blocks = torch.ops.onednn.qlinear_prepack(rounded, [2 * ROWS, rounded.shape[1]])
    zeros = torch.zeros(len(scale), dtype=torch.int32)

    def product(digits: Tensor) -> Tensor:
        unsigned = (digits + BASE // 2).to(torch.uint8)
        return torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, BASE // 2, blocks, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )

    return product
