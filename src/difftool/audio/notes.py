"""Manifests of sounds: in their tags, without paths, and complete in a JSON file beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import read_json, write_json
from ..provenance import beside, remember, shared
from .files import RATE, Mark, tags_of, write_sound

LONG = 1000
"""Characters of a text that a tag holds; a longer one is stored in the JSON file only."""
PASSING = ("created", "run_id")
"""Fields that differ between two runs that make the same sound, and so are not in the sound file itself."""
COMPLETE = ("settings", "voices", "chapters")
"""Fields that the JSON file may hold in full."""


def save(
    path: Path,
    pieces: Iterable[bytes],
    tags: Mapping[str, str],
    note: Mapping[str, object],
    *,
    rate: int = RATE,
    marks: Sequence[Mark] = (),
    cover: bytes | None = None,
) -> None:
    """Writes a sound, in pieces of 16-bit samples, with `tags`, and its manifest in another tag and in a JSON file
    beside it."""
    tags = {**tags, "comment": json.dumps(_brief(note), ensure_ascii=False)}
    remember(note)
    write_sound(path, pieces, tags, marks, cover, rate=rate)
    write_json(beside(path), note)


def load(path: Path) -> tuple[dict[str, str], Mapping[str, Any] | None]:
    """The tags of a sound file, and its manifest, None where it has none; a long text comes from the JSON file beside
    it, if that belongs to it. Raises DifftoolError 4 for a file that is not a sound."""
    tags = tags_of(path)
    try:
        note = json.loads(tags.get("comment", ""))
    except (ValueError, RecursionError):
        return tags, None
    if not isinstance(note, Mapping):
        return tags, None
    if not str(note.get("schema", "")).startswith("difftool/"):
        return tags, None
    places = (beside(path), path.with_suffix(".json"))
    own = next((place for place in places if place.exists()), None)
    full = {} if own is None else read_json(own)
    if isinstance(full.get("settings"), Mapping) and _brief(full) == _brief(note):
        complete = {key: full[key] for key in COMPLETE if key in full}
        return tags, {**note, **complete}
    return tags, note


def _brief(note: Mapping[str, object]) -> Mapping[str, object]:
    """The part of a manifest that is stored in the sound itself: no paths, and no long text."""
    left_out = (*PASSING, "said", "chapters")
    brief = {key: value for key, value in shared(note).items() if key not in left_out}
    settings = brief.get("settings")
    text = settings.get("text") if isinstance(settings, Mapping) else None
    if isinstance(settings, Mapping) and isinstance(text, str) and len(text) > LONG:
        brief["settings"] = {key: value for key, value in settings.items() if key != "text"}
        brief["text_sha256"] = _sha256(text)
    return brief


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
