"""Tiny models of sounds with random weights: of difftool, and as diffusers saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from difftool.audio.mels import FORMATS
from difftool.models import build_net, save_model

MEL = {"x_res": 16, "y_res": 16, "sample_rate": 4000, "n_fft": 256, "hop_length": 64, "top_db": 80, "n_iter": 4}
"""A config of diffusers' `Mel`."""


def own(folder: Path, form: str = "mel16", frames: int = 16) -> Path:
    """A model of sounds with the labels a and b."""
    torch.manual_seed(0)
    net = {"type": "unet", "channels": 1, "width": 8, "mults": [1, 2], "classes": 2}
    model = build_net(net)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.05)
    config = {
        "net": net,
        "path": {"type": "discrete_vp", "betas": "cosine", "T": 1000},
        "target": "v",
        "size": [FORMATS[form].mels, frames],
        "classes": ["a", "b"],
        "sound": {"format": form, "frames": frames},
    }
    folder.mkdir()
    save_model(folder, config, model.state_dict())
    return folder


def of_diffusers(folder: Path, *, latent: bool = False, channels: int = 1, **mel: Any) -> Path:
    """A folder as `AudioDiffusionPipeline` saves it, which itself needs librosa."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DModel

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"layers_per_block": 1, "norm_num_groups": 4}
    net = UNet2DModel(
        sample_size=(8, 8) if latent else (16, 16),
        in_channels=2 if latent else 1,
        out_channels=2 if latent else 1,
        block_out_channels=(8, 16),
        attention_head_dim=None,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **sizes,
    )
    net.save_pretrained(folder / "unet")
    DDIMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")
    if latent:
        AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            latent_channels=2,
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            **sizes,
        ).save_pretrained(folder / "vqvae")
    (folder / "mel").mkdir()
    (folder / "mel" / "mel_config.json").write_text(json.dumps({"_class_name": "Mel", **MEL, **mel}))
    index = {
        "_class_name": "AudioDiffusionPipeline",
        "mel": ["audio_diffusion", "Mel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
        "vqvae": ["diffusers", "AutoencoderKL"] if latent else [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
