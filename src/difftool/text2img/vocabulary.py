"""The words that the model in the package knows."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from ..models import ASSETS

GRAMMAR = ("a", "an", "and", "on", "ground")
"""Words of a caption beside those of the vocabulary: a COLOUR SHAPE[ PLACE][ and a ...] on a COLOUR ground."""


@cache
def vocabulary() -> dict[str, Any]:
    """{"colours": {name: [r, g, b]}, "shapes": [...], "places": [...]}."""
    return json.loads((ASSETS / "shapes" / "vocabulary.json").read_text(encoding="utf-8"))


def strangers(text: str) -> list[str]:
    """The words of a text that the model was never told of, each once."""
    known = {*GRAMMAR, *(word for part in vocabulary().values() for phrase in part for word in phrase.split())}
    found = re.findall(r"\w+|[^\w\s,.;:!?'\"-]+", text.lower())
    return [word for word in dict.fromkeys(found) if word not in known]
