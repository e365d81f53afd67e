"""What a listener hears: speech transcribed by Whisper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import device

from ..audio.files import RATE
from ..audio.media import Span
from ..errors import DifftoolError, Exit
from .prep.decode import Stored
from .prep.transcribe import Whisper, portions, pull_hint


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
