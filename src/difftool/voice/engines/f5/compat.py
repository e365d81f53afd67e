"""What f5-tts 1.1.22 does in another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ....nets.spectrum import RATE
from .synthesis import Item, Networks

FADE = 0.15
"""Seconds of the cross-fade between two chunks of a text."""


def package_noise(items: Sequence[Item], nets: Networks) -> Callable[[int, int], Tensor]:
    """The initial noise (B, T, mels) of f5-tts, from PyTorch's own generator with the seed of each item."""

    def drawn(item: Item) -> Tensor:
        generator = torch.Generator(nets.device).manual_seed(item.seed)
        return torch.randn(item.frames, nets.mels, generator=generator, device=nets.device)

    start = torch.nn.utils.rnn.pad_sequence([drawn(item) for item in items], batch_first=True)
    return lambda i, j: start


def cross_faded(sounds: Sequence[Tensor]) -> Tensor:
    """Sounds (S,) as one, each faded into the next."""
    whole = sounds[0].double()
    for sound in sounds[1:]:
        fade = min(round(FADE * RATE), len(whole), len(sound))
        rising = torch.linspace(0, 1, fade, dtype=torch.float64, device=sound.device)
        mixed = whole[len(whole) - fade :] * rising.flip(0) + sound[:fade] * rising
        whole = torch.cat([whole[: len(whole) - fade], mixed, sound[fade:].double()])
    return whole.float()
