"""Speech: voices, and texts spoken in them.

made = difftool.voice.prepare(["talk.mp3"], "me", "self", slice="vad")    # made.folder, made.grade
speech = difftool.voice.clone("It is late.", "me", preset="fast")     # speech.sounds[0]: float32 (S,) at 24 kHz
sound = difftool.voice.tts_with_preset("It is late.", ["a.wav", "b.wav", "c.wav"], preset="fast")    # (1, 1, S)
book = difftool.voice.read_out(text, "book.mp3", "me")     # in parts; called again, it resumes
tuned = difftool.voice.train("me", engine="mini", minutes=20)     # tuned.weights; clone then uses them
judged = difftool.voice.judge("speech.wav", "me", text="It is late.")     # judged.judgements[0].identity.likeness
text = difftool.voice.read_document("book.epub")     # instead of a text: chapters, title, author, cover
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .documents import read_document
    from .judging.judge import judge
    from .output import read_out
    from .prep.folder import prepare
    from .speak import clone, tts_with_preset
    from .tuning.run import train

__all__ = ["clone", "judge", "prepare", "read_document", "read_out", "train", "tts_with_preset"]

_MODULES = {
    "judge": ".judging.judge",
    "prepare": ".prep.folder",
    "read_document": ".documents",
    "read_out": ".output",
    "train": ".tuning.run",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(_MODULES.get(name, ".speak"), __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
