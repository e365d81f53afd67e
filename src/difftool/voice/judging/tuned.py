"""Judges what a run of `voice train` has changed: likeness to the held-out clips, and the words that are heard."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...audio.files import RATE, Samples
from ...audio.media import Span
from ...device import choose
from ..comparison import compare
from ..hearing import heard, listener
from ..identity import Voiceprint, averaged, voiceprint
from ..prep.transcribe import Whisper, installed_size
from ..tuning.report import Figures, Judge, Recorded, Sentence


def judge_with(device: str, models_dir: Path | None, size: str | None = None) -> Judge:
    """The judge of a run on this device. It hears words by Whisper of this size, by default where it is installed."""
    size = size or installed_size(models_dir)

    def judge(sentences: Sequence[Sentence], clips: Sequence[Recorded]) -> Figures:
        whisper = listener(size, choose(device)[0], None, models_dir, otherwise="") if size else None
        prints = [voiceprint(clip.sound) for clip in clips]
        own = [float(each @ averaged(prints[:k] + prints[k + 1 :])) for k, each in enumerate(prints)]
        texts = [sentence.text for sentence in sentences]
        before = [sentence.before for sentence in sentences]
        after = [sentence.after for sentence in sentences]
        recorded = {"likeness": statistics.fmean(own)}
        if whisper:
            recorded["wer"] = _word_error_rate(whisper, [clip.text for clip in clips], [clip.sound for clip in clips])
        owner = averaged(prints)
        return Figures(
            _figures(whisper, texts, before, owner), _figures(whisper, texts, after, owner), _rounded(recorded)
        )

    return judge


def _figures(
    whisper: Whisper | None, texts: Sequence[str], sounds: Sequence[Samples], owner: Voiceprint
) -> dict[str, float]:
    """The figures of sounds that say these texts."""
    figures = {"likeness": statistics.fmean(float(voiceprint(sound) @ owner) for sound in sounds)}
    if whisper:
        figures["wer"] = _word_error_rate(whisper, texts, sounds)
    return _rounded(figures)


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


def _word_error_rate(whisper: Whisper, texts: Sequence[str], sounds: Sequence[Samples]) -> float:
    """The percentage of wrong words over all texts."""
    errors = count = 0
    for text, sound in zip(texts, sounds, strict=True):
        whisper.heard_language = None  # of the sound before
        found = heard(whisper, sound, [Span(0.0, len(sound) / RATE)])
        compared = compare(text, found, whisper.heard_language)
        errors, count = errors + compared.errors, count + compared.count
    return 100 * errors / max(count, 1)
