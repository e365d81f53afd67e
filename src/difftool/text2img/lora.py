"""LoRA: small changes to a pipeline's weights, from files."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import DifftoolError, Exit, is_out_of_memory
from ..store import home
from .pipeline import ENCODERS, Pipeline, misfits, quiet

log = logging.getLogger(__name__)

MIXINS = {
    "sd": "StableDiffusionLoraLoaderMixin",
    "sdxl": "StableDiffusionXLLoraLoaderMixin",
    "sd3": "SD3LoraLoaderMixin",
    "flux": "FluxLoraLoaderMixin",
}


FORMS = {
    "DoRA": r"dora_scale|lora_magnitude_vector",
    "LoHa": r"\.hada_",
    "LoKr": r"\.lokr_",
    "OFT": r"\.b?oft_",
    "IA3": r"\.on_input$|ia3_",
    "GLoRA": r"\.[ab][12]\.weight$",
    "LoCon in Tucker's form": r"\.lora_mid\.",
    "difference of whole weights": r"\.(diff|diff_b|w_norm|b_norm)$",
    "textual inversion": r"^(emb_params|string_to_(param|token).*|clip_[lg]|t5xxl|bundle_emb\..*|<.*>)$",
    "ControlNet": r"^control_model\.|controlnet|zero_conv|input_hint_block|(query|key)_norm|norm_(added_)?[qk]\.",
    "IP-Adapter": r"^(ip_adapter|image_proj)\.",
    "T2I-Adapter": r"^(adapter\.)?body\.\d",
}
"""Other kinds of files, and the tensor names by which they are recognised."""
ENCODER = re.compile(r"lora_te\d*_|text_encoder|te\d?\.|t5")
"""Prefixes of a text encoder's tensors."""


class Loras:
    """The LoRAs loaded into a pipeline, each once, and which of them are active."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.names: dict[Path, str] = {}
        self.active: dict[Path, float] | None = {}
        """None after a failed attempt."""
        self.loader: Any = None

    def apply(self, wanted: Mapping[Path, float]) -> None:
        """Makes exactly these files active, each with its weight. Raises DifftoolError 4 for one that does not fit."""
        if wanted == self.active:
            return
        self.active = None
        loader = self._loader()
        for path in wanted:
            if path not in self.names:
                self.names[path] = self._load(loader, path)
        if wanted:
            loader.enable_lora()
            loader.set_adapters([self.names[path] for path in wanted], [*wanted.values()])
        elif self.names:
            loader.disable_lora()
        self.active = {**wanted}

    def _loader(self) -> Any:
        """The library's loader of this family, around our parts."""
        if self.loader is None:
            quiet()
            if not importlib.import_module("diffusers.utils").USE_PEFT_BACKEND:
                message = "LoRAs need newer libraries than the original tortoise-tts supports"
                raise DifftoolError(Exit.USAGE, message, "install difftool without [stock] in a separate environment")
            mixin = getattr(importlib.import_module("diffusers.loaders"), MIXINS[self.pipeline.family])
            parts = {"transformer" if self.pipeline.family in ("sd3", "flux") else "unet": self.pipeline.net}
            parts |= dict(zip(ENCODERS, self.pipeline.encoders, strict=False))
            self.loader = type("Loader", (mixin,), {"components": parts, "hf_device_map": None, **parts})()
        return self.loader

    def _load(self, loader: Any, path: Path) -> str:
        name = f"lora{len(self.names)}"
        with misfits(path):
            tensors = load_file(path)
            known(tensors, path)
            try:
                converted, lost = self._converted(loader, tensors)
                loader.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
            except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
                loader.delete_adapters(name)  # remove what was applied before the error
                if is_out_of_memory(error):
                    raise
                raise self._other(path) from error
        if not any(name in adapters for adapters in loader.get_list_adapters().values()):
            raise self._other(path)
        lost += _not_applied(loader, converted, name)
        if layers := [key for key in lost if not ENCODER.match(key)]:
            loader.delete_adapters(name)
            message = f"{path} is not a LoRA for {self.pipeline.name}, which has no layer {_first(layers)}"
            raise DifftoolError(Exit.FILE, message, "use a LoRA made for this model family")
        if lost:
            log.warning(f"{path}: text encoder layers not applied: {_first(lost)}")
        for part in self.pipeline.parts.values():
            part.eval()  # new layers start in training mode, with dropout
        return name

    def _converted(self, loader: Any, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """The tensors of a file as the library names them, and the names of those that it drops: those on which nothing
        in the result depends."""
        more = {"unet_config": self.pipeline.net.config} if self.pipeline.family == "sdxl" else {}
        with torch.enable_grad():
            weights = {key: value for key, value in tensors.items() if "alpha" not in key}
            leaves = {key: (w if w.element_size() > 1 else w.float()).requires_grad_() for key, w in weights.items()}
            given = {key: leaves[key] * 1 if key in leaves else value for key, value in tensors.items()}
            converted = loader.lora_state_dict(given, return_lora_metadata=True, **more)[0]
            total = sum((value.sum() for value in converted.values()), torch.zeros(()).requires_grad_())
            used = torch.autograd.grad(total, [*leaves.values()], allow_unused=True)
        return converted, [key for key, gradient in zip(leaves, used, strict=True) if gradient is None]

    def _other(self, path: Path) -> DifftoolError:
        message = f"{path} is not a LoRA for {self.pipeline.name}: its weights are for other layers"
        return DifftoolError(Exit.FILE, message, "use a LoRA made for this model family")


def known(names: Iterable[str], path: Path) -> None:
    """Raises DifftoolError 4 for a file whose tensors are not those of a LoRA."""
    names = [*names]
    for form, pattern in FORMS.items():
        if named := next((name for name in names if re.search(pattern, name)), None):
            hint = "use a plain LoRA, or merge it into a model with the tool that made it"
            raise DifftoolError(Exit.FILE, f"{path} is a {form} ({named}), which is not supported", hint)
    if not any("lora" in name for name in names):
        message = (
            f"{path} is not a LoRA: unexpected tensor {names[0]}" if names else f"{path} is not a LoRA: no tensors"
        )
        raise DifftoolError(Exit.FILE, message, "if it is a model, pass it with --model")


def _not_applied(loader: Any, converted: Mapping[str, Tensor], name: str) -> list[str]:
    """The layers of a LoRA that the parts do not have."""
    utils = importlib.import_module("diffusers.utils")
    lost = [key for key in converted if key.split(".")[0] not in loader._lora_loadable_modules]
    for part in loader._lora_loadable_modules:
        own = {key.removeprefix(f"{part}."): value for key, value in converted.items() if key.startswith(f"{part}.")}
        if not own:
            continue
        if part in ENCODERS:
            own = utils.convert_state_dict_to_peft(utils.convert_state_dict_to_diffusers(own))
        elif "lora_A" not in next(iter(own)):
            own = utils.convert_unet_state_dict_to_peft(own)
        modules = loader.components[part].named_modules()
        changed = {
            module.removeprefix("text_model.") for module, layer in modules if name in getattr(layer, "lora_A", ())
        }
        asked = dict.fromkeys(key.split(".lora_")[0].removeprefix("text_model.") for key in own if ".lora_" in key)
        lost += [f"{part}.{layer}" for layer in asked if layer not in changed]
    return lost


def _first(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if names[1:] else "")


def existing_lora(path: Path) -> Path:
    """The absolute path of a LoRA. Raises DifftoolError 4 if there is no such file."""
    if not path.is_file():
        raise DifftoolError(Exit.FILE, f"{path} does not exist", "pass a .safetensors file with a LoRA")
    if path.suffix != ".safetensors":
        raise DifftoolError(Exit.FILE, f"{path} is not a .safetensors file", "save the LoRA in that format")
    return path.absolute()


def lora_in_store(name: str, models_dir: Path | None) -> Path:
    """The file of a LoRA named in a prompt. Raises DifftoolError 4 if there is none."""
    folder = home(models_dir) / "loras"
    path = folder / f"{name}.safetensors"
    if path.parent != folder or not path.is_file():
        message = f"no LoRA {name!r} in {folder}"
        raise DifftoolError(Exit.FILE, message, "put it there, or pass its file with --lora")
    return path
