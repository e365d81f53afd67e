"""The reference of F5-TTS: a clip and its words."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Prompt(NamedTuple):
    """A reference as the network hears and reads it."""

    sound: Tensor
    """(S,) at 24 kHz, raised to LEVEL if it was quieter"""
    text: str
    """Its words. They end with a full stop and a space, or with a full-width full stop."""
    gain: float = 1.0
    """What it was multiplied by; the result is divided by it."""
