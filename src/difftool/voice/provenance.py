"""Provenance of speech: tags and a manifest that say it is synthetic, and how it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from ..audio.files import RATE, Mark, chapters_of, tags_of, write_sound
from ..files import read_json, write_json
from ..provenance import beside, remember, settings_of, shared
from .documents import Document
from .speak import SYNTHETIC

LONG = 1000
"""Characters of a text that a tag holds; a longer one is stored in the JSON file only."""
PASSING = ("created", "run_id")
"""Fields that differ between two runs that make the same speech, and so are not in the sound file itself."""


class ChapterRecord(TypedDict):
    """A chapter of a sound, in seconds."""

    title: str
    start: float
    end: float


def save(
    path: Path,
    pieces: Iterable[bytes],
    note: Mapping[str, object],
    marks: Sequence[Mark] = (),
    document: Document | None = None,
) -> None:
    """Writes speech, in pieces of 16-bit samples, with its manifest in the tags and in a JSON file beside it; `marks`
    are its chapters."""
    settings = cast(Mapping[str, str], note["settings"])
    text, speaker = settings["text"], f"difftool, in the voice {settings['voice']}"
    title = " ".join(text.split())[:60]
    tags = {"title": f"{SYNTHETIC}: {title}", "artist": speaker}
    if document is not None:
        title = document.title or title
        tags = {"title": f"{SYNTHETIC}: {title}", "artist": document.author or speaker, "album": title}
        tags |= {"composer": speaker, "genre": "Audiobook"}
        tags |= {"language": document.language} if document.language else {}
    tags["comment"] = json.dumps(_brief(note), ensure_ascii=False)
    remember(note)
    write_sound(path, pieces, tags, marks, document and document.cover)
    write_json(beside(path), {**note, "chapters": chapter_records(marks)} if marks else note)


def chapter_records(marks: Iterable[Mark]) -> list[ChapterRecord]:
    """Chapters in a manifest, with times in seconds."""
    return [
        {"title": mark.title, "start": round(mark.start / RATE, 3), "end": round(mark.end / RATE, 3)} for mark in marks
    ]


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
        complete = {key: full[key] for key in ("settings", "voices", "chapters") if key in full}
        return tags, {**note, **complete}
    return tags, note


def chapters_in(path: Path, note: Mapping[str, Any] | None) -> list[ChapterRecord]:
    """The chapters of a sound: those in its manifest, else those in the file itself."""
    rows = note.get("chapters") if note else None
    if not isinstance(rows, list):
        return [{"title": title, "start": start, "end": end} for title, start, end in chapters_of(path)]
    with settings_of(path):
        return [{"title": str(row["title"]), "start": float(row["start"]), "end": float(row["end"])} for row in rows]


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
