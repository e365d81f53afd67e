"""What a listener hears: speech transcribed by Whisper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import device

from .. import store
from ..audio.files import RATE
from ..audio.media import Span
from ..errors import DifftoolError, Exit
from .prep.decode import Stored
from .prep.settings import WHISPER
from .prep.transcribe import Whisper, found, portions, pull_hint


def whisper_installed(models_dir: Path | None = None) -> str | None:
    """The size of Whisper to listen with: the default one, else the largest that is installed; None without any."""
    sizes = [name.removeprefix("whisper-") for name in store.entries() if name.startswith("whisper-")]
    for size in (WHISPER, *reversed(sizes)):
        if _is_installed(size, models_dir):
            return size
    return None


def _is_installed(size: str, models_dir: Path | None) -> bool:
    try:
        found(size, models_dir)
    except DifftoolError:
        return False
    return True


def listener(size: str, device: device, language: str | None, models_dir: Path | None, *, otherwise: str) -> Whisper:
    """The Whisper of this size. Raises as it; where it is not installed, the hint says what may be done `otherwise`."""
    try:
        return Whisper(size, device, language, models_dir)
    except DifftoolError as error:
        if error.code != Exit.FILE:
            raise
        hint = "check the path" if size.endswith(".pt") else pull_hint(size, models_dir)
        raise DifftoolError(Exit.FILE, error.message, f"{hint}, or {otherwise}") from error


def heard(whisper: Whisper, samples: Stored | Any, spans: Sequence[Span]) -> str:
    """The text of a sound (S,) at RATE with speech in `spans`."""
    pieces = (samples[round(part.start * RATE) : round(part.end * RATE)] for part in portions(spans))
    return " ".join(whisper.text_of(piece) for piece in pieces)
