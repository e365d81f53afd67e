"""Training of Tortoise's decoder on a voice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .....errors import DifftoolError
from ....tuning import Clip, Method
from ... import CLIP_HZ

if TYPE_CHECKING:
    from ....library import Voice
    from ....tuning import Clips
    from ....tuning.settings import Settings
    from .run import TortoiseTuning

METHODS = {"lora": Method(lr=1e-4, batch_size=32, weight_decay=0.0), "full": Method(lr=1e-5, batch_size=32)}
LEARNED = "Tortoise (Apache-2.0), trained by J. Betker on some 49,000 hours of English recordings"
LONGEST = 28.0
"""Seconds of a clip: a longer one has more codes than the decoder has positions."""
MOST_TOKENS = 398
"""Tokens of a text, for the same reason."""
QUIET = 1e-3
"""The peak of a clip that counts as silence, -60 dB."""


def unusable(clip: Clip) -> str | None:
    """As `Tuner.unusable`."""
    from .....audio.files import read_sound
    from .....nets.tortoise.tokenizer import UNKNOWN, tokenize

    try:
        tokens = tokenize(clip.text)
    except ValueError as error:
        return str(error)
    if not tokens:
        return "no text"
    if 0 in tokens or UNKNOWN in tokens:
        return "its text contains characters that Tortoise does not know"
    if len(tokens) > MOST_TOKENS:
        return f"its text has {len(tokens)} tokens, more than {MOST_TOKENS}"
    if clip.seconds > LONGEST:
        return f"longer than {LONGEST:g} s"
    try:
        is_silent = abs(read_sound(clip.path, CLIP_HZ)).max() < QUIET
    except DifftoolError as error:
        return error.message
    return "silence" if is_silent else None


def plan(settings: Settings, voice: Voice, clips: Clips) -> TortoiseTuning:
    """As `Tuner.plan`."""
    from .run import plan_tuning

    return plan_tuning(settings, voice, clips)
