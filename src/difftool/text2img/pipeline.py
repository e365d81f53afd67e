"""An opened pipeline and its parts, whatever it was opened from."""

from __future__ import annotations

import importlib
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import torch

from ..core.paths import Flow, Path, dynamic_shift
from ..core.predict import TARGETS, Target
from ..errors import DifftoolError, Exit, is_out_of_memory
from ..limits import LARGEST
from ..models import SCHEMA, read_config
from ..schedulers import discrete_path, target_of
from .settings import BUNDLED

MODULES = {
    "CLIPTokenizer": "transformers",
    "T5TokenizerFast": "transformers",
    "CLIPTextModel": "transformers",
    "CLIPTextModelWithProjection": "transformers",
    "T5EncoderModel": "transformers",
    "UNet2DConditionModel": "diffusers.models.unets.unet_2d_condition",
    "SD3Transformer2DModel": "diffusers.models.transformers.transformer_sd3",
    "FluxTransformer2DModel": "diffusers.models.transformers.transformer_flux",
    "AutoencoderKL": "diffusers.models.autoencoders.autoencoder_kl",
}
"""The classes that a folder may name, and their modules."""
ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
READERS = {"sd": 1, "sdxl": 2, "sd3": 2, "flux": 2}
"""Number of text encoders that a family needs."""
QUANTISED = re.compile(
    r"(?:scaled_fp8|scale_weight|weight_scale|scale_input|input_scale|comfy_quant|absmax|quant_map|quant_state[.\w]*|SCB"
    r"|weight_format|qweight|qzeros|wscales|smooth_factor\w*|weight_zero_point|zero_point)$"
)
"""Suffixes of tensors beside quantised weights: fp8 with scales, bitsandbytes, GPTQ, AWQ and SVDQuant."""
FAMILIES = {
    "StableDiffusion": "sd",
    "LatentConsistencyModel": "sd",
    "StableDiffusionXL": "sdxl",
    "StableDiffusion3": "sd3",
    "Flux": "flux",
}
"""Families by the beginning of a pipeline's class name."""


class Pipeline(NamedTuple):
    """The parts of an opened pipeline."""

    name: str
    source: str
    """The reference that opens it again: a bundled model, one of the store, or an absolute path."""
    sha256: str
    """Hash of the network's weights."""
    family: str
    """sd, sdxl, sd3 or flux."""
    tokenizers: list[Any]
    encoders: list[Any]
    net: Any
    vae: Any
    scheduler: Mapping[str, Any]
    """Its config, with the path and target the network was trained on."""
    zeros_for_nothing: bool
    """Whether a missing negative prompt is encoded as zeros instead of an empty text."""
    device: torch.device
    dtype: torch.dtype

    @property
    def factor(self) -> int:
        """Pixels along a side of a latent pixel."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def step(self) -> int:
        """Width and height are multiples of this."""
        return self.factor * (2 if self.family in ("sd3", "flux") else 1)

    @property
    def largest(self) -> int:
        """Largest width and height in pixels."""
        if self.family != "sd3":
            return LARGEST
        return self.net.config.pos_embed_max_size * self.net.config.patch_size * self.factor

    @property
    def channels(self) -> int:
        channels = self.net.config.in_channels
        return channels // 4 if self.family == "flux" else channels

    @property
    def native(self) -> tuple[int, int]:
        """(width, height) of the pictures that it was trained on."""
        size = 128 if self.family == "flux" else self.net.config.sample_size
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        return width * self.factor, height * self.factor

    @property
    def embedded(self) -> bool:
        """Whether the network has a guidance embedding (guidance-distilled), instead of being called twice."""
        if self.family == "flux":
            return bool(self.net.config.guidance_embeds)
        return getattr(self.net.config, "time_cond_proj_dim", None) is not None

    @property
    def kind(self) -> str:
        """The row of presets/txt2img.toml with its defaults."""
        if self.source in BUNDLED or _trained_here(FilePath(self.source)):
            return "shapes"
        few = self.scheduler.get("timestep_spacing") == "trailing" and "Euler" in self.scheduler["_class_name"]
        if self.family == "flux":
            return "flux" if self.embedded else "schnell"
        if self.family == "sd3":
            return "sd3"
        if self.embedded:
            return "lcm"
        if self.scheduler["_class_name"] == "LCMScheduler":
            return "lcm_fused"
        return "turbo" if few and not self.scheduler.get("rescale_betas_zero_snr") else self.family

    def path(self, width: int, height: int) -> Path:
        """The path from data to noise; for FLUX it depends on the size."""
        config = self.scheduler
        if not self.flows:
            return discrete_path(config)
        clock = 1.0 if self.family == "flux" else float(config.get("num_train_timesteps", 1000))
        shift = float(config.get("shift", 1.0))
        if config.get("use_dynamic_shifting"):
            tokens = (width // self.step) * (height // self.step)
            low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
            few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
            shift = dynamic_shift(256 + (tokens - few) * (4096 - 256) / (many - few), low, high)
        return Flow(shift, clock=lambda s: s * clock)

    @property
    def flows(self) -> bool:
        """Whether it is a flow model, which predicts the velocity of a straight path."""
        return "Flow" in self.scheduler["_class_name"]

    @property
    def target(self) -> Target:
        return TARGETS["flow"] if self.flows else target_of(self.scheduler)

    @property
    def parts(self) -> dict[str, Any]:
        """The networks by name."""
        encoders = zip(ENCODERS, self.encoders, strict=False)
        return {**{name: part for name, part in encoders if part is not None}, "network": self.net, "vae": self.vae}


def family_of(index: Mapping[str, Any], folder: FilePath) -> str:
    """The family of a pipeline's class. Raises DifftoolError 4 for an unsupported one."""
    named = str(index.get("_class_name", "")).split("Pipeline")[0].removesuffix("Img2Img")
    if named not in FAMILIES:
        message = f"{folder} contains a {index.get('_class_name')}, which is not supported"
        hint = "supported: Stable Diffusion 1, 2, XL and 3, their turbo and LCM forms, FLUX.1"
        raise DifftoolError(Exit.FILE, message, hint)
    return FAMILIES[named]


def finished(pipeline: Pipeline) -> Pipeline:
    """A pipeline with its parts ready for use. Raises DifftoolError 4 for a network that needs more than a prompt, and
    ValueError for a missing part or an invalid config."""
    readers = list(zip(pipeline.tokenizers, pipeline.encoders, strict=True))
    lacking = [k for k, pair in enumerate(readers) if None in pair and (pipeline.family != "sd3" or k < 2)]
    if lacking or len(readers) < READERS[pipeline.family]:
        raise ValueError("one of its text encoders or tokenizers is missing")
    lengths = {encoder.config.max_position_embeddings for encoder in pipeline.encoders if is_clip(encoder)}
    if len(lengths) > 1 or min(lengths) < 3:
        raise ValueError(f"its text encoders have unusable lengths: {' and '.join(map(str, lengths))} tokens")
    channels = pipeline.vae.config.latent_channels
    if pipeline.channels != channels:
        message = f"{pipeline.source} needs {pipeline.channels} channels, but its latents have {channels}"
        hint = "models for inpainting or depth are not supported; use --mask with another model"
        raise DifftoolError(Exit.FILE, message, hint)
    for name, part in pipeline.parts.items():
        part.eval().requires_grad_(False)
        if empty := next((key for key, p in part.named_parameters() if p.is_meta), None):
            raise ValueError(f"its {name} lacks {empty}")
    large = pipeline.family == "sdxl" and getattr(pipeline.vae.config, "force_upcast", False)
    if large and pipeline.dtype == torch.float16:
        pipeline.vae.to(torch.float32)  # its activations overflow in float16
    if not math.isfinite(1 / pipeline.vae.config.scaling_factor):
        raise ValueError("the scaling factor of its autoencoder is not a number")
    if not all(isinstance(side, int) and 0 < side <= LARGEST for side in pipeline.native):
        raise ValueError(f"its picture size is not a number up to {LARGEST:,}")
    path = pipeline.path(*pipeline.native)
    pipeline.target(path.level(path.hi))
    return pipeline


def is_clip(encoder: Any) -> bool:
    """Whether a text encoder is a CLIP, which takes windows of tokens, and not a T5 or None."""
    return type(encoder).__name__.startswith("CLIP")


@contextmanager
def misfits(where: FilePath) -> Iterator[None]:
    """Within it, any error from opening invalid files becomes DifftoolError 4, and the libraries stay offline, whatever
    the files and the environment say."""
    try:
        with offline():
            yield
    except (DifftoolError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DifftoolError(Exit.FILE, f"cannot open {where}: {reason}", "download or save it again") from error


@contextmanager
def offline() -> Iterator[None]:
    """Within it the hub's libraries are offline, by the constant that they read before each request."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def class_of(name: str) -> Any:
    return getattr(importlib.import_module(MODULES[name]), name)


def of_type(kind: str, dtype: torch.dtype) -> dict[str, Any]:
    """The keyword argument for the number format of a library, renamed in 2025."""
    module = importlib.import_module(kind)
    since = {"diffusers": (0, 38), "transformers": (4, 56)}[kind]
    now = tuple(int(part) for part in module.__version__.split(".")[:2])
    return {"dtype" if now >= since else "torch_dtype": dtype}


def quantised(names: Iterable[str]) -> str | None:
    """The first tensor that only a quantised format has, if any: such weights cannot be used as they are."""
    return next((name for name in names if QUANTISED.search(name)), None)


def _trained_here(folder: FilePath) -> bool:
    """Whether a pipeline is a run of `difftool train`, by its config.json."""
    try:
        return read_config(folder / "config.json").get("schema") == SCHEMA
    except DifftoolError:  # most have no such file
        return False


def quiet() -> None:
    """Silences the messages and progress bars of diffusers and transformers."""
    for name in ("diffusers", "transformers"):
        module = importlib.import_module(f"{name}.utils.logging")
        module.set_verbosity(logging.CRITICAL)  # they log what they raise
        module.disable_progress_bar()
