"""Writes a Stable Diffusion folder that other tools can open."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ... import files
from ...core.paths import RAMPS
from ...learning.config import PathConfig
from ...schedulers import PREDICTIONS


def write_network(folder: Path, module: Any, weights: Mapping[str, Tensor], **more: Any) -> None:
    """Writes a network of diffusers or transformers with these `weights` and `more` entries in its config; the folder
    is replaced in one move."""
    from safetensors.torch import save_file

    fresh = files.temporary(folder)
    fresh.mkdir()
    try:
        name = "diffusion_pytorch_model"
        if hasattr(module, "save_config"):
            module.save_config(str(fresh))
        else:
            module.config.to_json_file(str(fresh / "config.json"))
            more |= {"architectures": [type(module).__name__], "model_type": "clip_text_model"}
            # old versions of transformers need this prefix, new ones accept it
            weights = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in weights.items()}
            name = "model"
        about = json.loads((fresh / "config.json").read_text(encoding="utf-8"))
        files.write_json(fresh / "config.json", {**about, **more})
        plain = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
        save_file(plain, str(fresh / f"{name}.safetensors"), {"format": "pt"})
        files.replace_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def write_pipeline(folder: Path, path: PathConfig, target: str) -> None:
    """Writes the scheduler for a discrete path (as in a run's config.json) and a target, and the index of the parts."""
    import diffusers

    version = {"_diffusers_version": diffusers.__version__}
    assert "betas" in path
    assert "T" in path
    start, end, _ = RAMPS[path["betas"]]
    (folder / "scheduler").mkdir(exist_ok=True)
    files.write_json(
        folder / "scheduler" / "scheduler_config.json",
        {
            "_class_name": "DDIMScheduler",
            **version,
            "beta_schedule": path["betas"],
            "beta_start": start,
            "beta_end": end,
            "num_train_timesteps": path["T"],
            "prediction_type": PREDICTIONS[target],
            "clip_sample": False,
            "set_alpha_to_one": True,
            "steps_offset": 1,
            "timestep_spacing": "trailing",
            "rescale_betas_zero_snr": bool(path.get("zero_snr")),
        },
    )
    absent = [None, None]
    files.write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            **version,
            "feature_extractor": absent,
            "image_encoder": absent,
            "requires_safety_checker": False,
            "safety_checker": absent,
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )


def state_of(module: nn.Module, weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The state of a part of a larger network: its `weights`, whose names have a `prefix`, and its buffers."""
    return {
        name: weights.get(f"{prefix}{name}", value)
        for name, value in module.state_dict().items()
        if not name.endswith("position_ids")
    }
