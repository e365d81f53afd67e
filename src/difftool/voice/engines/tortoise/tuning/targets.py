"""What clips are learned from: their codes, and the voice in them, on which the decoder is conditioned. Both are
computed once, by networks that do not change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .....audio.files import read_sound
from .....errors import DifftoolError
from .....files import digest_of, load_tensors, save_tensors
from .....nets.layers import Linear
from .....nets.official import stored_in
from .....nets.tortoise.autoregressive import ConditioningEncoder
from .....nets.tortoise.dvae import DiscreteEncoder, speech_codes
from .....nets.tortoise.mel import CODE_HZ, conditioning_mel
from .....nets.tortoise.official import AUTOREGRESSIVE
from ....tuning import Clip
from ..files import DECODER, dvae_folder
from ..networks import hash_of, open_network
from ..synthesis import HEARD

PULL = "run difftool models pull tortoise tortoise-dvae"
TEXT_HEAD = ("text_head.weight", "text_head.bias")
KEPT_EVERY = 25
"""Clips after which the results are saved."""


class Target(NamedTuple):
    """What a clip is learned from."""

    codes: Tensor
    """(M,)"""
    voices: Tensor
    """(W, dim): the voice in each window of 6 s."""


class Targets:
    """The targets in a file, by the SHA-256 of their clips. Those of other networks are computed again."""

    def __init__(self, path: Path, networks: Path, models_dir: str | Path | None) -> None:
        """`networks` is the folder of the decoder."""
        self.path, self.networks = path, networks
        self.dvae = dvae_folder(models_dir)
        self.made_by = {"dvae": hash_of("dvae", self.dvae), "encoder": hash_of("conditioning_encoder", networks)}
        self.tensors = self._stored()

    def _stored(self) -> dict[str, Tensor]:
        try:
            tensors, metadata, _ = load_tensors(self.path)
        except DifftoolError:  # missing, or damaged
            return {}
        return tensors if self.made_by.items() <= metadata.items() else {}

    def __getitem__(self, clip: Clip) -> Target:
        key = digest_of(clip.path)
        return Target(self.tensors[f"codes.{key}"].long(), self.tensors[f"voices.{key}"])

    def text_head(self) -> Linear:
        """The head of the decoder for text."""
        weight, bias = (self.tensors[name] for name in TEXT_HEAD)
        head = Linear(weight.shape[1], len(weight))
        head.weight = nn.Parameter(weight, requires_grad=False)
        head.bias = nn.Parameter(bias, requires_grad=False)
        return head

    def compute(self, clips: Sequence[Clip]) -> Iterator[None]:
        """Computes what is missing; yields once for each clip. On the CPU, so that codes never depend on the device."""
        missing = {clip for clip in clips if f"voices.{digest_of(clip.path)}" not in self.tensors}
        if not missing:
            yield from (None for _ in clips)
            return
        official = stored_in(self.networks / DECODER, AUTOREGRESSIVE, PULL)
        self.tensors |= {name: official[name].read() for name in TEXT_HEAD}
        encoder = cast(DiscreteEncoder, open_network("dvae", self.dvae))
        listener = cast(ConditioningEncoder, open_network("conditioning_encoder", self.networks))
        for k, clip in enumerate(clips, 1):
            if clip in missing:
                sound = torch.from_numpy(read_sound(clip.path, CODE_HZ))
                key = digest_of(clip.path)
                self.tensors[f"codes.{key}"] = speech_codes(encoder, sound).to(torch.uint16)
                self.tensors[f"voices.{key}"] = voices_in(listener, sound)
            if k == len(clips) or k % KEPT_EVERY == 0:
                save_tensors(self.path, self.tensors, self.made_by)
            yield


def voices_in(listener: ConditioningEncoder, sound: Tensor) -> Tensor:
    """The voice (W, dim) in each of the windows that cover a clip, as the decoder is conditioned on when it speaks."""
    count = math.ceil(len(sound) / HEARD)
    starts = [k * (len(sound) - HEARD) // max(count - 1, 1) for k in range(count)]
    windows = [sound[at : at + HEARD] for at in starts]
    heard = torch.stack([F.pad(window, (0, HEARD - len(window))) for window in windows])
    mels = conditioning_mel(heard)
    return torch.cat([listener(mel[None]) for mel in mels])
