"""Linear layers for small batches: the layouts of their weights, and weights of 8 bits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tiny_tortoise import NEEDS_KERNEL, noise, off
from torch import Tensor

from difftool.nets.small_batch import ROWS, SmallBatchLinear, _amx, _convolution, _fbgemm

NEEDS_ONEDNN = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch is built without oneDNN")


def layer(inp: int = 96, out: int = 72, bias: bool = True) -> SmallBatchLinear:
    made = SmallBatchLinear(inp, out, bias=bias).requires_grad_(False)
    made.weight.copy_(noise(1, out, inp))
    if bias:
        made.bias.copy_(noise(2, out))
    return made


@NEEDS_ONEDNN
@pytest.mark.parametrize("shape", [(1,), (15,), (16,), (17,), (33,), (2, 3), (1, 40), (4, 1, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_packed_it_is_the_same_product(shape: tuple[int, ...], bias: bool) -> None:
    x, net = noise(3, *shape, 96), layer(bias=bias)
    wanted = net(x)
    packed = layer(bias=bias)
    packed.pack()
    assert packed(x).shape == wanted.shape
    assert off(packed(x), wanted) < 1e-6
    rows = x.flatten(0, -2)
    assert off(_convolution(net.weight, net.bias)(rows), wanted.flatten(0, -2)) < 1e-6


@NEEDS_ONEDNN
def test_a_row_of_the_convolution_has_the_same_bits_in_every_batch() -> None:
    x, net = noise(3, 37, 96), layer()
    product = _convolution(net.weight, net.bias)
    whole = product(x)
    for first, last in ((0, 1), (5, 21), (30, 37)):
        assert torch.equal(product(x[first:last]), whole[first:last])


@NEEDS_KERNEL
@pytest.mark.parametrize(("inp", "out", "bias"), [(96, 72, True), (1024, 130, False), (4096, 33, True), (1, 1, True)])
def test_weights_of_8_bits_are_rounded_and_nothing_else(inp: int, out: int, bias: bool) -> None:
    """Against the rounded weights in float64: input of 14 bits loses as little as half precision would, also where one
    channel is a hundred times larger than the others."""
    x, net = noise(3, 20, inp), layer(inp, out, bias)
    x[3, :1] *= 100
    weight = net.weight.double()
    scale = weight.abs().amax(1, keepdim=True) / 127
    rounded = (weight / scale).round() * scale
    assert float((weight - rounded).abs().max()) > 0 or inp == 1
    wanted = F.linear(x.double(), rounded, None if net.bias is None else net.bias.double())
    net.quantise()
    made = net(x)
    assert made.dtype == torch.float32
    for row, exact in zip(made, wanted, strict=True):
        assert off(row, exact) < 2e-3
    assert off(made[:3], wanted[:3]) < 2e-4
    assert net.weight.numel() == 0


@NEEDS_KERNEL
def test_a_row_of_integers_has_the_same_bits_in_every_batch() -> None:
    x, net = noise(3, 40, 96), layer()
    net.quantise()
    whole = net(x)
    assert torch.equal(net(x[7:8]), whole[7:8])
    assert torch.equal(net(x.view(2, 20, 96)).flatten(0, 1), whole)


@NEEDS_KERNEL
def test_zeros_stay_zeros() -> None:
    net = layer(bias=False)
    net.weight[5] = 0
    net.quantise()
    made = net(torch.cat([torch.zeros(1, 96), noise(3, 1, 96)]))
    assert (made[0] == 0).all() and made[1, 5] == 0 and made.isfinite().all()


@NEEDS_KERNEL
@pytest.mark.parametrize("kernel", [_fbgemm, pytest.param(_amx, marks=NEEDS_ONEDNN)])
def test_integers_are_multiplied_exactly(kernel: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]]) -> None:
    """The largest digits of one sign, which overflow 16 bits where a kernel adds more than two of their products."""
    weights = (noise(4, 50, 256) * 60).round().clamp(-127, 127).to(torch.int8)
    weights[0], scale = 127, torch.ones(50)
    digits = (noise(5, 2 * ROWS, 256) * 40).round().clamp(-64, 64)
    digits[0], digits[1] = 64, -64
    wanted = digits.double() @ weights.double().T
    assert torch.equal(kernel(weights, scale)(digits).double(), wanted)


@NEEDS_KERNEL
@pytest.mark.parametrize("amx", [False, pytest.param(True, marks=NEEDS_ONEDNN)])
def test_input_is_rounded_and_not_cut_off(monkeypatch: pytest.MonkeyPatch, amx: bool) -> None:
    """Weights of one sign, with which cut off digits would add up."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    x, net = noise(3, 20, 1024), layer(1024, 50, bias=False)
    net.weight.abs_()
    scale = net.weight.double().amax(1, keepdim=True) / 127
    wanted = F.linear(x.double(), (net.weight / scale).round() * scale)
    net.quantise()
    assert off(net(x), wanted) < 5e-4
