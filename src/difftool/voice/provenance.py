"""Provenance of speech: tags that say that it is synthetic, and its chapters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, cast

from ..audio import notes
from ..audio.files import RATE, Mark, chapters_of
from ..provenance import settings_of
from .documents import Document
from .speak import SYNTHETIC


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
    note = {**note, "chapters": chapter_records(marks)} if marks else note
    notes.save(path, pieces, tags, note, marks=marks, cover=document and document.cover)


def chapter_records(marks: Iterable[Mark]) -> list[ChapterRecord]:
    """Chapters in a manifest, with times in seconds."""
    return [
        {"title": mark.title, "start": round(mark.start / RATE, 3), "end": round(mark.end / RATE, 3)} for mark in marks
    ]


def chapters_in(path: Path, note: Mapping[str, object] | None) -> list[ChapterRecord]:
    """The chapters of a sound: those in its manifest, else those in the file itself."""
    rows = note.get("chapters") if note else None
    if not isinstance(rows, list):
        return [{"title": title, "start": start, "end": end} for title, start, end in chapters_of(path)]
    with settings_of(path):
        return [{"title": str(row["title"]), "start": float(row["start"]), "end": float(row["end"])} for row in rows]
