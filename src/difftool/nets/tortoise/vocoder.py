"""From a mel spectrogram to sound: UnivNet (Jang et al. 2021, arXiv:2106.07889), whose kernels follow the mels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
SILENCE, TAIL = -11.5129, 10
"""The log mel of silence, and the number of such frames appended for a clean end."""


class KernelPredictor(nn.Module):
    """Kernels (B, T, layers, out, inp * 3) and biases (B, T, layers, out), one for each frame of mels (B, mels, T)."""

    def __init__(self, mels: int, inp: int, out: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.sizes = (layers, inp, out, 3)
        self.input_conv = nn.Conv1d(mels, hidden, 5, padding=2)
        self.residual_convs = nn.ModuleList(_two_convolutions(hidden) for _ in range(3))
        kernels = layers * inp * out * 3
        self.kernel_conv = nn.Conv1d(hidden, kernels, 3, padding=1)
        self.bias_conv = nn.Conv1d(hidden, layers * out, 3, padding=1)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        h = F.leaky_relu(self.input_conv(mel), SLOPE)
        for pair in self.residual_convs:
            first, second = pair.children()
            change = F.leaky_relu(first(h), SLOPE)
            change = F.leaky_relu(second(change), SLOPE)
            h = h + change
        layers, inp, out, width = self.sizes
        # as one product of matrices, which leaves each kernel as a matrix where it is used
        weight = self.kernel_conv.weight.unflatten(0, self.sizes).transpose(1, 2).flatten(0, 3).flatten(1)
        offsets = self.kernel_conv.get_parameter("bias").view(self.sizes).transpose(1, 2).flatten()
        around = F.pad(h, (1, 1)).unfold(2, 3, 1).transpose(1, 2).flatten(2)
        kernels = F.linear(around, weight, offsets).unflatten(2, (layers, out, inp * width))
        biases = self.bias_conv(h).transpose(1, 2).unflatten(2, (layers, out))
        return kernels, biases


def _two_convolutions(hidden: int) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Conv1d(hidden, hidden, 3, padding=1) for name in ("first", "second")})


class LVCBlock(nn.Module):
    """Upsamples the sound by `stride`, then convolves each frame with its own predicted kernels."""

    def __init__(self, channels: int, mels: int, stride: int, dilations: Sequence[int], hidden: int) -> None:
        super().__init__()
        self.kernel_predictor = KernelPredictor(mels, channels, 2 * channels, len(dilations), hidden)
        odd = stride % 2
        width, padding = 2 * stride, stride // 2 + odd
        self.convt_pre = nn.ConvTranspose1d(
            channels, channels, width, stride=stride, padding=padding, output_padding=odd
        )
        self.conv_blocks = nn.ModuleList(
            nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation) for dilation in dilations
        )

    def forward(self, x: Tensor, mel: Tensor) -> Tensor:
        x = self.convt_pre(F.leaky_relu(x, SLOPE))
        kernels, biases = self.kernel_predictor(mel)
        for i, conv in enumerate(self.conv_blocks):
            h = conv(F.leaky_relu(x, SLOPE))
            h = F.leaky_relu(h, SLOPE)
            h = local_convolution(h, kernels[:, :, i], biases[:, :, i])
            gate, signal = h.chunk(2, dim=1)
            by_frame = x.unflatten(2, gate.shape[2:])
            x = torch.addcmul(by_frame, torch.sigmoid(gate), torch.tanh(signal)).flatten(2)
        return x


def local_convolution(x: Tensor, kernels: Tensor, biases: Tensor) -> Tensor:
    """Convolves each of T equal pieces of x (B, inp, T * hop), and a neighbour on either side, with its own
    kernel: kernels (B, T, out, inp * 3), biases (B, T, out), result (B, out, T, hop)."""
    b, t, out, _ = kernels.shape
    hop = x.shape[2] // t
    pieces = F.pad(x, (1, 1)).unfold(2, hop + 2, hop)
    pieces = pieces.unfold(3, 3, 1)  # (B, inp, T, hop, 3)
    pieces = pieces.permute(0, 2, 1, 4, 3).reshape(b * t, -1, hop)
    convolved = torch.baddbmm(biases.flatten(0, 1)[:, :, None], kernels.flatten(0, 1), pieces)
    return convolved.view(b, t, out, hop).transpose(1, 2)


class UnivNet(nn.Module):
    """Log mels (B, mels, T) and noise (B, noise, T + TAIL) to sound (B, T * hop) within [-1, 1], hop = 256."""

    def __init__(
        self,
        mels: int = 100,
        noise: int = 64,
        channels: int = 32,
        strides: Sequence[int] = (8, 8, 4),
        dilations: Sequence[int] = (1, 3, 9, 27),
        hidden: int = 64,
    ) -> None:
        super().__init__()
        self.noise = noise
        self.conv_pre = nn.Conv1d(noise, channels, 7, padding=3, padding_mode="reflect")
        self.res_stack = nn.ModuleList(LVCBlock(channels, mels, stride, dilations, hidden) for stride in strides)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, padding_mode="reflect")

    def forward(self, mel: Tensor, noise: Tensor) -> Tensor:
        length = mel.shape[2]
        mel = F.pad(mel, (0, TAIL), value=SILENCE)
        x = self.conv_pre(noise)
        for block in self.res_stack:
            x = block(x, mel)
        x = self.conv_post(F.leaky_relu(x, SLOPE))
        sound = torch.tanh(x)[:, 0]
        hop = sound.shape[1] // mel.shape[2]
        return sound[:, : length * hop]
