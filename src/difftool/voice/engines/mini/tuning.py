"""Fine-tuning of the voice in the package: of its flow and durations, and of the vectors of the voice."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ....errors import DifftoolError, Exit
from ...tuning import Clip, Clips, Method

if TYPE_CHECKING:
    from ...library import Voice
    from ...tuning.settings import Settings
    from .learning import MiniTuning

log = logging.getLogger(__name__)

METHODS = {"full": Method(lr=6e-4, batch_size=8, minutes=20)}
LEARNED = "training mini, the voice in this package (Apache-2.0), which was trained on synthetic speech"
FASTEST = 25.0
"""Symbols a second: a clip with more says something else than its text."""
LONGEST = 30.0
"""Seconds of a clip."""


def unusable(clip: Clip) -> str | None:
    """As `Tuner.unusable`."""
    from .alignment import most_seconds
    from .phonemes import phonemes, unspoken
    from .synthesis import symbols_of

    if clip.seconds > LONGEST:
        return f"it is longer than {LONGEST:g} s"
    if unspoken(clip.text):
        return "its text has characters without a pronunciation"
    said = phonemes(clip.text)
    if not said:
        return "its text has no words"
    if clip.seconds > most_seconds(len(symbols_of(said))):
        return "its text is too short for its sound"
    return "its text is too long for its sound" if len(said) > FASTEST * clip.seconds else None


def plan(settings: Settings, voice: Voice, clips: Clips) -> MiniTuning:
    """As `Tuner.plan`."""
    if settings.checkpointing:
        message = "the engine mini has no --checkpointing: its networks are small"
        raise DifftoolError(Exit.USAGE, message, "leave it out")
    from ...library import note_of
    from .learning import MiniTuning

    language = note_of(voice.folder).get("language")
    if language not in (None, "en"):
        log.warning("mini speaks only English, and the language of %s is %s", voice.name, language)
    return MiniTuning(settings, voice, clips)
