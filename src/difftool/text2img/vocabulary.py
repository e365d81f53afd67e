"""The vocabulary of the bundled model."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from ..models import ASSETS

GRAMMAR = ("a", "an", "and", "on", "ground")
"""Other words of a caption: a COLOUR SHAPE[ PLACE][ and a ...] on a COLOUR ground."""


@cache
def vocabulary() -> dict[str, Any]:
    """{"colours": {name: [r, g, b]}, "shapes": [...], "places": [...]}."""
    return json.loads((ASSETS / "shapes" / "vocabulary.json").read_text(encoding="utf-8"))


def unknown_words(text: str) -> list[str]:
    """The words of a text that are not in the vocabulary, each once."""
    phrases = [phrase for part in vocabulary().values() for phrase in part]
    known = {*GRAMMAR, *(word for phrase in phrases for word in phrase.split())}
    words = re.findall(r"\w+|[^\w\s,.;:!?'\"-]+", text.lower())
    return [word for word in dict.fromkeys(words) if word not in known]
