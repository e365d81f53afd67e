"""difftool: diffusion models at home, on one sampling engine.

    drawn = difftool.sample(label="3", count=4)      # uint8 pictures (4, 8, 8, 1), and how they came to be
    difftool.txt2img("a red circle", "sd15")         # uint8 (1, 512, 512, 3)
    difftool.draw_prompts("list.txt", Path("out"))   # a picture for each line
    difftool.rerun("out/00000-0.png").identical      # True
    difftool.train.train("~/pictures", minutes=10)
    difftool.pull("sd15")                            # as difftool models pull

What a command does, a function does; it is imported when it is first used. Errors are `difftool.DifftoolError`, whose
`code` is the exit code of the command.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import core, store, train, voice
    from .errors import DifftoolError
    from .models import open_model
    from .pixels.draw import sample
    from .replay import rerun
    from .store import pull
    from .text2img.batch import draw_prompts
    from .text2img.draw import txt2img
    from .train.evaluation import evaluate

    __version__: str

__all__ = [
    "DifftoolError",
    "core",
    "draw_prompts",
    "evaluate",
    "open_model",
    "pull",
    "rerun",
    "sample",
    "store",
    "train",
    "txt2img",
    "voice",
]

_HOMES = {
    "DifftoolError": "errors",
    "draw_prompts": "text2img.batch",
    "evaluate": "train.evaluation",
    "open_model": "models",
    "pull": "store",
    "rerun": "replay",
    "sample": "pixels.draw",
    "txt2img": "text2img.draw",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # slow to import

        return version("difftool")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
