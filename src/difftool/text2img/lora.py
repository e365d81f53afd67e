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
"""What a file may be that is no plain LoRA, and the names of tensors that only it has."""
ENCODER = re.compile(r"lora_te\d*_|text_encoder|te\d?\.|t5")
"""How the names of a text encoder's tensors begin."""


class Loras:
    """The files that were loaded into a pipeline, each once, and which of them are at work."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.names: dict[Path, str] = {}
        self.active: dict[Path, float] | None = {}
        """None after an attempt that failed halfway."""
        self.loader: Any = None

    def apply(self, wanted: Mapping[Path, float]) -> None:
        """Lets exactly these files be at work, each with its weight. Raises DifftoolError 4 for one that does not
        fit."""
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
                what = "LoRAs want newer libraries than those that the original Tortoise is installed with"
                raise DifftoolError(Exit.USAGE, what, "install difftool without [stock] in an environment of its own")
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
                loader.delete_adapters(name)  # what of it had been applied
                if is_out_of_memory(error):
                    raise
                raise self._other(path) from error
        if not any(name in found for found in loader.get_list_adapters().values()):
            raise self._other(path)
        lost += _not_applied(loader, converted, name)
        if layers := [key for key in lost if not ENCODER.match(key)]:
            loader.delete_adapters(name)
            what = f"{path} is no LoRA for {self.pipeline.name}: it has no place for {_first(layers)}"
            raise DifftoolError(Exit.FILE, what, "take one that was made for this family of models")
        if lost:
            log.warning(f"{path}: what it has for a text encoder is not applied, {_first(lost)}")
        for part in self.pipeline.parts.values():
            part.eval()  # what is new in them would drop out at random
        return name

    def _converted(self, loader: Any, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """The tensors of a file as the library names them, and the names of those that it leaves out on the way: those
        of which nothing in the result is made."""
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
        what = f"{path} is no LoRA for {self.pipeline.name}: its weights belong to other layers"
        return DifftoolError(Exit.FILE, what, "take one that was made for this family of models")


def known(names: Iterable[str], path: Path) -> None:
    """Raises DifftoolError 4 for a file whose tensors are those of something else than a LoRA."""
    names = [*names]
    for form, pattern in FORMS.items():
        if named := next((name for name in names if re.search(pattern, name)), None):
            hint = "take a plain LoRA, or have the tool that made it merge it into a model"
            raise DifftoolError(Exit.FILE, f"{path} is a {form} ({named}), which is not known here", hint)
    if not any("lora" in name for name in names):
        what = f"{path} is no LoRA: its tensors are called otherwise, as in {next(iter(names), 'none')}"
        raise DifftoolError(Exit.FILE, what, "if it is a model, name it with --model")


def _not_applied(loader: Any, converted: Mapping[str, Tensor], name: str) -> list[str]:
    """The layers that a LoRA would change, but that the parts do not have."""
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


def there(path: Path) -> Path:
    """The absolute path of a LoRA. Raises DifftoolError 4 where there is no such file."""
    if not path.is_file():
        raise DifftoolError(Exit.FILE, f"{path} does not exist", "name a .safetensors file with a LoRA")
    if path.suffix != ".safetensors":
        raise DifftoolError(Exit.FILE, f"{path} is no .safetensors file", "save the LoRA in that form")
    return path.absolute()


def stored(name: str, models_dir: Path | None) -> Path:
    """The file of a LoRA that a prompt names. Raises DifftoolError 4 where there is none."""
    folder = home(models_dir) / "loras"
    path = folder / f"{name}.safetensors"
    if path.parent != folder or not path.is_file():
        what = f"there is no LoRA {name!r} in {folder}"
        raise DifftoolError(Exit.FILE, what, "put it there, or name its file with --lora")
    return path
