"""LoRA: small changes to a pipeline's weights, from files."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DifftoolError, Exit, is_out_of_memory
from ..store import home
from .pipeline import ENCODERS, Pipeline, misfits, quiet

MIXINS = {
    "sd": "StableDiffusionLoraLoaderMixin",
    "sdxl": "StableDiffusionXLLoraLoaderMixin",
    "sd3": "SD3LoraLoaderMixin",
    "flux": "FluxLoraLoaderMixin",
}


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
            try:
                loader.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
            except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
                loader.delete_adapters(name)  # what of it had been applied
                if is_out_of_memory(error):
                    raise
                raise self._other(path) from error
        if not any(name in found for found in loader.get_list_adapters().values()):
            raise self._other(path)
        for part in self.pipeline.parts.values():
            part.eval()  # what is new in them would drop out at random
        return name

    def _other(self, path: Path) -> DifftoolError:
        what = f"{path} is no LoRA for {self.pipeline.name}: its weights belong to other layers"
        return DifftoolError(Exit.FILE, what, "take one that was made for this family of models")


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
