"""Latents: an autoencoder of pictures, its training task, and the latents of a data set."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from ... import files, processes
from ...core.noise import keys, normal
from ...core.objective import NOISE
from ...errors import DifftoolError
from ...learning.config import RunConfig
from ...learning.metrics import scattered
from ...learning.tasks import HELD, HELD_SEED, Data, floats, indices

log = logging.getLogger(__name__)

LATENTS = "latents.safetensors"
KL = 1e-6
"""Weight of the latents' divergence from a unit Gaussian, beside the reconstruction error (Rombach et al. 2022,
arXiv:2112.10752, appendix G)."""
AT_ONCE = 64
"""Number of pictures encoded at once."""


class AutoencoderNet(TypedDict):
    """The arguments of an autoencoder."""

    widths: list[int]
    """Channels of each level, from full size down; each level halves the size."""
    blocks: int
    latent: int
    """Channels"""
    size: int
    channels: int


class Autoencoder(nn.Module):
    """An AutoencoderKL of diffusers as a network in training: pictures (B, C, H, W) and unit noise of the latents'
    shape in, (pictures, mean, deviation) out."""

    def __init__(self, row: AutoencoderNet) -> None:
        super().__init__()
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        widths = tuple(row["widths"])
        make: Any = AutoencoderKL
        self.vae = make(
            in_channels=row["channels"],
            out_channels=row["channels"],
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
            block_out_channels=widths,
            layers_per_block=row["blocks"],
            latent_channels=row["latent"],
            norm_num_groups=8,
            sample_size=row["size"],
        )
        side = row["size"] // 2 ** (len(widths) - 1)
        self.shape = (row["latent"], side, side)

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        latents: Any = self.vae.encode(x).latent_dist
        mean, deviation = latents.mean, latents.std
        decoded: Any = self.vae.decode(mean + deviation * noise)
        return decoded.sample, mean, deviation

    def encoded(self, x: Tensor) -> Tensor:
        """The latents (N, *shape) of uint8 pictures: the means, not scaled."""
        means = []
        for k in range(0, len(x), AT_ONCE):
            part: Any = self.vae.encode(floats(x[k : k + AT_ONCE]))
            means.append(part.latent_dist.mean)
        return torch.cat(means)

    def decoded(self, latents: Tensor) -> Tensor:
        """Pictures in [-1, 1] of latents that are not scaled."""
        decoded: Any = self.vae.decode(latents)
        return decoded.sample


class Autoencoding:
    """Training an autoencoder to reconstruct pictures: a `Task`."""

    banded = False

    def __init__(
        self,
        config: RunConfig,
        net: Autoencoder,
        data: Data,
        held: Data | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.train, self.data, self.held, self.dtype = config["train"], data, held, dtype
        self.net: Autoencoder = net.to(data.x.device)
        self.held_out = 0 if held is None else min(len(held.x), HELD)
        self.watched = scattered(0 if held is None else len(held.x), HELD)

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        seed, x = self.train["seed"], self.data.x
        here = torch.arange(first + rows.start, first + rows.stop, device=x.device)
        chosen = indices(seed, len(x), first + rows.start, len(rows)).to(x.device)
        return self._losses(self.net, floats(x[chosen]), keys([seed] * len(rows), x.device), here)

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        assert self.held is not None
        x = self.held.x
        here = torch.arange(rows.start, rows.stop, device=x.device)
        watched = torch.from_numpy(self.watched)[rows.start : rows.stop].to(x.device)

        def net(*args: Tensor) -> Any:
            return torch.func.functional_call(self.net, dict(weights), args)

        return self._losses(net, floats(x[watched]), keys([HELD_SEED] * len(rows), x.device), here)

    def _losses(self, net: Any, x: Tensor, seeds: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32):
            back, mean, deviation = net(x, normal(seeds, here, NOISE, self.net.shape))
        mean, deviation, off = mean.float(), deviation.float(), back.float() - x
        divergence = 0.5 * (mean.square() + deviation.square() - 1 - 2 * deviation.log()).flatten(1).sum(1)
        losses = (off.abs() + off.square()).flatten(1).mean(1) + KL * divergence
        return losses, torch.zeros(len(x), dtype=torch.int64, device=x.device)


@torch.no_grad()
def latents_of(folder: Path, net: Autoencoder, x: Tensor, held: Tensor) -> tuple[Tensor, Tensor, float]:
    """(latents of `x`, of `held`, the scale that gives the first unit variance) of uint8 pictures; computed once and
    saved in the autoencoder's `folder`."""
    place = folder / LATENTS
    model = files.load_tensors(folder / "model.safetensors").sha256

    def make() -> None:
        with suppress(DifftoolError):  # damaged latents are computed again
            if place.is_file() and files.load_tensors(place).metadata.get("model") == model:
                return
        log.info(f"encoding {len(x) + len(held):,} pictures (only once)")
        net.eval()
        files.save_tensors(place, {"train": net.encoded(x).half(), "held": net.encoded(held).half()}, {"model": model})

    processes.agreed(make)
    tensors = files.load_tensors(place).tensors
    deviation = float(tensors["train"].float().std())
    scale = float(f"{1 / deviation:.6g}")
    train, other = ((tensors[name].float() * scale).to(x.device) for name in ("train", "held"))
    return train, other, scale
