"""difftool: diffusion models at home, on one sampling engine.

    drawn = difftool.sample(label="3", count=4)      # uint8 pictures (4, 8, 8, 1), and how they came to be
    difftool.txt2img("a red circle", "sd15")         # uint8 (1, 512, 512, 3)
    difftool.train.train("~/pictures", minutes=10)

What a command does, a function does; it is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import core, train, voice
    from .models import open_model
    from .pixels.draw import sample
    from .text2img.draw import txt2img
    from .train.evaluation import evaluate

__all__ = ["core", "evaluate", "open_model", "sample", "train", "txt2img", "voice"]

_HOMES = {
    "evaluate": "train.evaluation",
    "open_model": "models",
    "sample": "pixels.draw",
    "txt2img": "text2img.draw",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return import_module(f".{name}", __name__)
