"""Speech: voices, and texts said in them.

made = difftool.voice.prepare(["talk.mp3"], "me", "self", slice="vad")    # made.folder, made.grade
said = difftool.voice.clone("It is late.", "me", preset="fast")     # said.sounds[0]: float32 (S,) at 24 kHz
sound = difftool.voice.tts_with_preset("It is late.", ["a.wav", "b.wav", "c.wav"], preset="fast")    # (1, 1, S)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .prep.folder import prepare
    from .speak import clone, tts_with_preset

__all__ = ["clone", "prepare", "tts_with_preset"]

ENGINES = ("native", "stock")
"""Ours, and tortoise-tts itself where it is installed."""
MODES = ("stock", "stock-kv")
"""What our engine can be compatible with: tortoise-tts 3.0.0, and the same with its cache of keys and values."""

SLICES = ("words", "vad")
"""How recordings are cut: by a transcript, or by where somebody speaks alone."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(".prep.folder" if name == "prepare" else ".speak", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
