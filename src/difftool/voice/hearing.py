"""What a listener understands: speech transcribed by Whisper, and compared with its text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .. import store
from ..audio.media import Span
from .prep.decode import Stored
from .prep.settings import WHISPER
from .prep.transcribe import RATE, Whisper, found, portions
from .prep.words import UNSPACED


class Step(NamedTuple):
    """A stretch of a comparison."""

    kind: str
    """equal, replace, delete or insert"""
    text: tuple[str, ...]
    """Words of the text"""
    heard: tuple[str, ...]


class Comparison(NamedTuple):
    """What was heard, compared with the text."""

    steps: tuple[Step, ...]
    word_error_rate: float
    """Edits over the number of words of the text; so it can exceed 1"""
    character_error_rate: float
    longest_run: int
    """The largest number of wrong, missing or added words in a row"""
    missing_end: int
    """Words of the text after the last that was heard"""


def whisper_installed(models_dir: Path | None = None) -> str | None:
    """The size of Whisper to listen with: the default one, else the largest that is installed; None without any."""
    sizes = [name.removeprefix("whisper-") for name in store.entries() if name.startswith("whisper-")]
    for size in (WHISPER, *reversed(sizes)):
        if _is_installed(size, models_dir):
            return size
    return None


def _is_installed(size: str, models_dir: Path | None) -> bool:
    from ..errors import DifftoolError

    try:
        found(size, models_dir)
    except DifftoolError:
        return False
    return True


def heard(whisper: Whisper, samples: Stored | Any, spans: Sequence[Span]) -> str:
    """The text of a sound (S,) at RATE with speech in `spans`."""
    pieces = (samples[round(part.start * RATE) : round(part.end * RATE)] for part in portions(spans))
    return " ".join(whisper.text_of(piece) for piece in pieces)


def compared(heard: str, text: str, language: str | None = None) -> Comparison:
    """Compares what was heard with the text. Case, punctuation, fillers and, in English, ways to write numbers and
    contractions do not count."""
    from rapidfuzz.distance import Levenshtein

    wanted, got = words_of(text, language), words_of(heard, language)
    codes = Levenshtein.opcodes(wanted, got)
    steps = [
        Step(code.tag, tuple(wanted[code.src_start : code.src_end]), tuple(got[code.dest_start : code.dest_end]))
        for code in codes
    ]
    characters = "".join(wanted)
    return Comparison(
        tuple(steps),
        Levenshtein.distance(wanted, got) / max(1, len(wanted)),
        Levenshtein.distance(characters, "".join(got)) / max(1, len(characters)),
        _longest_run(steps),
        _missing_end(steps),
    )


def words_of(text: str, language: str | None = None) -> list[str]:
    """The words of a text as they are compared; the characters in a script without spaces."""
    from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

    if language == "en":
        return EnglishTextNormalizer()(text).split()
    return BasicTextNormalizer(split_letters=bool(UNSPACED.search(text)))(text).split()


def _longest_run(steps: Sequence[Step]) -> int:
    longest = run = 0
    for step in steps:
        run = 0 if step.kind == "equal" else run + max(len(step.text), len(step.heard))
        longest = max(longest, run)
    return longest


def _missing_end(steps: Sequence[Step]) -> int:
    missing = 0
    for step in reversed(steps):
        if step.kind == "equal":
            break
        missing += len(step.text) - len(step.heard)
    return max(0, missing)
