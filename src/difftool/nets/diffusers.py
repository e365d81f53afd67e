"""Networks of diffusers: their weights, also as the library of 2022 named and stored them, and their signatures."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import DifftoolError, Exit
from ..files import Loaded, digest_of, load_tensors, unpickled
from .official import Checkpoint, tensors_in

WEIGHTS, PICKLED = "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"
RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""The layers of attention in 2022, and now."""
OLD = re.compile(r"(.*attentions\.\d+\.)(query|key|value|proj_attn)(\.(?:weight|bias))")


def weights_in(folder: Path, *, pickled: bool) -> tuple[Path, Loaded]:
    """The file of weights in the folder of a network, and its tensors by the names of now. Without a safetensors file,
    one that is `pickled` may do. Raises DifftoolError 4 where there is none, or it is damaged or would run code."""
    file = folder / WEIGHTS
    if file.exists() or not (pickled and (folder / PICKLED).exists()):
        if not file.exists():
            message = f"{folder} contains no {WEIGHTS}"
            raise DifftoolError(Exit.FILE, message, "save the model with safe_serialization=True")
        loaded = load_tensors(file)
    else:
        file = folder / PICKLED
        hint = "use another copy of the file"
        state = unpickled(file, "file of weights", hint, mmap=True)
        loaded = Loaded(tensors_in(state, Checkpoint({}), file, hint), {}, digest_of(file))
    tensors = {_named(name): value for name, value in loaded.tensors.items()}
    return file, loaded._replace(tensors=tensors)


def _named(name: str) -> str:
    match = OLD.fullmatch(name)
    if match is None:
        return name
    before, layer, after = match.groups()
    return f"{before}{RENAMED[layer]}{after}"


class Denoiser(nn.Module):
    """Adapts a UNet2DModel to the signature of our networks."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        return self.net(x, t, class_labels=label, return_dict=False)[0]


LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a grey picture, as in Pillow."""


class Autoencoder(nn.Module):
    """Adapts an AutoencoderKL: spectrograms (B, mels, T) in [-1, 1] to latents (B, C, mels / n, T / n) and back."""

    def __init__(self, net: Any, scale: float, channels: int) -> None:
        super().__init__()
        self.net, self.scale, self.channels = net, scale, channels

    def encode(self, mels: Tensor) -> Tensor:
        pictures = mels[:, None].expand(-1, self.channels, -1, -1)
        return self.net.encode(pictures).latent_dist.mode() * self.scale

    def decode(self, latents: Tensor) -> Tensor:
        (decoded,) = self.net.decode(latents.float() / self.scale, return_dict=False)
        pictures = decoded.clamp(-1, 1)
        if self.channels == 1:
            return pictures[:, 0]
        return torch.einsum("bchw,c->bhw", pictures, pictures.new_tensor(LUMINANCE))


def combined(*hashes: str) -> str:
    """The hash of several files by theirs."""
    text = "".join(hashes)
    return hashlib.sha256(text.encode()).hexdigest()
