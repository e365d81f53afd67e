"""Pipelines in a single file: the family follows from its tensor names; configs come with the package, and the
vocabularies of the tokenizers from the store."""

from __future__ import annotations

import importlib
import logging
import math
import re
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .. import store
from ..download import hash_beside
from ..errors import DifftoolError, Exit
from ..files import digest_of, read_json, unpickled, write_json
from ..limits import counted
from ..models import ASSETS
from .pipeline import ENCODERS, TOKENIZERS, Pipeline, family_of, finished, misfits, of_type, quantised, quiet

log = logging.getLogger(__name__)

UNET = "model.diffusion_model."
MARKS = {
    "sd3": f"{UNET}joint_blocks.0.context_block.adaLN_modulation.1.bias",
    "sdxl": "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias",
    "flux": "double_blocks.0.img_attn.norm.key_norm.scale",
}
"""A tensor name that only files of this family have."""
SAID = {
    "v_pred": {"prediction_type": "v_prediction"},
    "ztsnr": {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
}
"""Empty tensors that mark what some files were trained on."""
NETWORK = re.compile(
    re.escape(UNET)
    + r"|(double_blocks|single_blocks|img_in|txt_in|time_in|vector_in|guidance_in|final_layer|joint_blocks)\."
)
AUTOENCODER = re.compile(r"(first_stage_model|vae)\.(?!loss\.|model_ema\.)")
PLACES = re.compile(
    NETWORK.pattern
    + r"|(first_stage_model|cond_stage_model|conditioner|text_encoders|vae|model_ema)\."
    + r"|(alphas_cumprod|betas|log_one_minus_|posterior_|sqrt_|denoiser\.|logvar|scale_factor|loss\.|lvlb_weights)"
    + r"|(v_pred|ztsnr|edm_mean|edm_std|edm_vpred\.|global_step|model\.alphas_cumprod)"
)
"""Prefixes of tensors that are used, or that nothing needs: averages of the weights and state of the training."""
WORDS = {
    "CLIPTokenizer": ("clip-tokenizer", ("vocab.json", "merges.txt")),
    "T5TokenizerFast": ("t5-tokenizer", ("tokenizer.json",)),
}
"""The store's entry with the vocabulary of a tokenizer, and its files."""
PIPELINES = {
    "sd": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
}


def unpacked(
    path: Path, source: str, device: torch.device, dtype: torch.dtype, models_dir: Path | None = None
) -> Pipeline:
    """The pipeline of a .safetensors file, or of a .ckpt that opens without running code. Raises DifftoolError 4 if it
    is damaged or of an unsupported family, or the store lacks the vocabulary of its tokenizers."""
    shapes = shapes_of(path)
    if marked := quantised(shapes):
        message = f"{path} is quantised ({marked}) in an unsupported format"
        raise DifftoolError(Exit.FILE, message, "use an fp16 or bf16 version")
    if others := [name for name in shapes if not PLACES.match(name)]:
        log.warning(f"{path}: {counted(len(others), 'unexpected tensor')} not used, such as {others[0]}")
    about = read_json(ASSETS / "single" / f"{kind_of(shapes, path)}.json")
    for mark, settings in SAID.items():
        if mark in shapes:
            about["scheduler"] |= settings
    family = family_of(about["model_index"], path)
    with tempfile.TemporaryDirectory(prefix="difftool-") as place, misfits(path):
        folder = Path(place)
        _lay_out(folder, about, models_dir)
        quiet()
        made = getattr(importlib.import_module("diffusers"), PIPELINES[family])
        parts = made.from_single_file(
            str(path), config=str(folder), local_files_only=True, **of_type("diffusers", dtype)
        ).components
        net = parts.get("unet") or parts["transformer"]
        for title, pattern, part in (("network", NETWORK, net), ("autoencoder", AUTOENCODER, parts["vae"])):
            given = sum(math.prod(shape) for name, shape in shapes.items() if pattern.match(name))
            used = sum(tensor.numel() for tensor in part.state_dict().values())
            if given > used:
                log.warning(f"{path}: {given - used:,} unexpected weights of its {title} not used")
        return finished(
            Pipeline(
                name=path.stem,
                source=source,
                sha256=hash_beside(path) or digest_of(path),
                family=family,
                tokenizers=[parts.get(name) for name in TOKENIZERS if name in about],
                encoders=[parts.get(name) for name in ENCODERS if name in about],
                net=net,
                vae=parts["vae"],
                scheduler=about["scheduler"],
                zeros_for_nothing=bool(about["model_index"].get("force_zeros_for_empty_prompt", False)),
                device=device,
                dtype=dtype,
            )
        )


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in a checkpoint, by name, without reading their values."""
    if path.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin"):
        loaded = unpickled(path, "checkpoint", "use a .safetensors version", mmap=True)
        tensors = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
        return {str(name): tuple(value.shape) for name, value in tensors.items() if isinstance(value, torch.Tensor)}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        with path.open("rb") as file:
            if file.read(4) == b"GGUF":
                message = f"{path} is a GGUF file, a quantised format that is not supported"
                raise DifftoolError(Exit.FILE, message, "use a .safetensors version in fp16 or bf16") from error
        message = f"{path} is damaged, or not a .safetensors file: {error}"
        raise DifftoolError(Exit.FILE, message, "download it again") from error


def kind_of(shapes: Mapping[str, tuple[int, ...]], path: Path) -> str:
    """The family of a checkpoint: a name in assets/single. Raises DifftoolError 4 for an unsupported one."""
    bare = {name.removeprefix(UNET) for name in shapes}
    kind = next((kind for kind, mark in MARKS.items() if mark in shapes or mark in bare), None)
    if kind == "flux":
        return "flux" if "guidance_in.in_layer.bias" in bare else "schnell"
    words = shapes.get(f"{UNET}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight")
    if kind is None and words is not None:
        kind = {768: "sd1", 1024: "sd2"}.get(words[1])
    if kind is None:
        if any("lora" in name for name in shapes):
            hint = f"apply it with --lora {shlex.quote(str(path))}"
            raise DifftoolError(Exit.FILE, f"{path} is a LoRA, not a model", hint)
        hint = "supported: Stable Diffusion 1, 2, XL and 3, FLUX.1"
        raise DifftoolError(Exit.FILE, f"{path} is not a model of a supported family", hint)
    return kind


def _lay_out(folder: Path, about: Mapping[str, Any], models_dir: Path | None) -> None:
    """Writes the files that the library expects beside the weights."""
    write_json(folder / "model_index.json", about["model_index"])
    for name, config in about.items():
        if name == "model_index":
            continue
        (folder / name).mkdir()
        if not name.startswith("tokenizer"):
            write_json(folder / name / ("scheduler_config.json" if name == "scheduler" else "config.json"), config)
            continue
        for file, text in config.items():
            write_json(folder / name / file, text)
        entry, files = WORDS[about["model_index"][name][1]]
        for file in files:
            words = store.home(models_dir) / entry / file
            if not words.is_file():
                message = f"a single file has no tokenizer vocabulary, and {entry} is not in the model store"
                raise DifftoolError(Exit.FILE, message, f"run difftool models pull {entry}")
            shutil.copy(words, folder / name / file)
