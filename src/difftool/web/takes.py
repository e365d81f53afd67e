"""Recordings from the page: takes of its sentences, which are graded at once, and files instead of a microphone."""

from __future__ import annotations

import math
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ..errors import DifftoolError, Exit
from ..files import read_json, run_id, write_json
from .bodies import Refused
from .jobs import ID
from .media import MediaType, kind_of
from .sentences import SENTENCES
from .shapes import Heard, Recording, Take

MOST_BYTES, MOST_SECONDS, MOST_TAKES = 20 * 2**20, 60.0, 200
"""Of takes."""
MOST_UPLOADED, MOST_UPLOADS = 200 * 2**20, 50
"""Bytes of an uploaded file, and their number."""
REFUSED = "F"
"""The grade of a take that no voice is made of."""
LONGEST_GRADING = 60.0
"""Seconds that the grading of a take may need; the first one waits for torch."""
LONGEST_READ = 300.0
"""Seconds that reading an uploaded file may need."""


class Shelf:
    """A folder of recordings, each with a JSON file beside it."""

    def __init__(self, folder: Path, most: int, url: str) -> None:
        self.folder, self.most, self.url = folder, most, url

    def clear(self) -> None:
        """Removes what was left by a server that was killed."""
        for part in self.folder.glob("*.part*"):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink()

    def notes(self) -> list[Recording]:
        """What is known of each recording, the oldest first."""
        return [note for path in sorted(self.folder.glob("*.json")) if (note := self.find(path.stem))]

    def find(self, name: object) -> Recording | None:
        """What is known of a recording; None where there is none of that ID."""
        if not isinstance(name, str) or not ID.fullmatch(name):
            return None
        try:
            return cast(Recording, read_json(self.folder / f"{name}.json"))
        except DifftoolError:
            return None

    def note(self, name: object) -> Recording:
        """The same. Raises Refused 404."""
        if (note := self.find(name)) is None:
            raise Refused(404, "there is no such recording", "it may have been removed")
        return note

    def path(self, note: Recording | Take) -> Path:
        return self.folder / f"{note['id']}{note['suffix']}"

    def remove(self, name: str) -> None:
        path = self.path(self.note(name))
        (self.folder / f"{name}.json").unlink()
        path.unlink(missing_ok=True)
        for words in self.passages.glob("*.json"):
            if name in read_json(words)["takes"]:
                words.with_suffix(".wav").unlink(missing_ok=True)
                words.unlink()

    @property
    def passages(self) -> Path:
        """The folder of sounds that were made of several takes."""
        return self.folder / "passages"

    async def receive(self, pieces: AsyncIterator[bytes]) -> tuple[str, Path]:
        """(ID, path) of a new file. Raises Refused 409 if there are too many."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if len([*self.folder.glob("*.json")]) >= self.most:
            raise Refused(409, f"there are {self.most} recordings already", "remove some of them")
        name = run_id()
        path = self.folder / f"{name}.part"
        try:
            with path.open("wb") as file:
                async for piece in pieces:
                    file.write(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return name, path

    def keep(self, name: str, part: Path, kind: MediaType | None, note: Mapping[str, object]) -> Recording:
        """Keeps a file that was received, and what is known of it."""
        suffix = kind.suffix if kind else ".bin"
        part.replace(self.folder / f"{name}{suffix}")
        media_type = kind.type if kind else "application/octet-stream"
        whole = {"id": name, "suffix": suffix, "type": media_type, **note}
        write_json(self.folder / f"{name}.json", whole)
        return cast(Recording, whole)

    def shown(self, note: Recording) -> Mapping[str, object]:
        """As the API shows it."""
        hidden = ("suffix", "type", "span")
        return {key: value for key, value in note.items() if key not in hidden} | {"url": f"{self.url}/{note['id']}"}


def sound_kind(path: Path) -> MediaType:
    """The kind of a sound. Raises Refused 415 for anything else."""
    if (kind := kind_of(path)) is None:
        raise Refused(415, "this is no sound that can be read", "send WAV, FLAC, MP3, Ogg, WebM or MP4", Exit.FILE)
    return kind


def sentence_of(text: str | None) -> int:
    """The number of a sentence to be read. Raises Refused 400 for another."""
    if text is None or not text.isdecimal() or not text.isascii() or int(text[:9]) >= len(SENTENCES):
        raise Refused(
            400, f"sentence must be a number from 0 to {len(SENTENCES) - 1}", "see the sentences of the state"
        )
    return int(text[:9])


def heard(report: Callable[[Any], None], path: Path, text: str) -> Heard | None:
    """In a process of its own: the grade of a recording of a text, and what to do about it; None if it is too long."""
    from ..voice.prep.audition import audition

    if length(report, path, MOST_SECONDS) > MOST_SECONDS:  # a small file may hold days of silence
        return None
    grade = audition(path, text)
    advice = [f"{line[0].upper()}{line[1:]}." for line in grade.advice]
    return cast(Heard, {**grade._asdict(), "seconds": round(grade.seconds, 3), "advice": advice})


def length(report: Callable[[Any], None], path: Path, most: float = math.inf) -> float:
    """In a process of its own: the seconds of a sound; of a longer one than `most`, more than that."""
    from ..audio import media

    seconds = 0.0
    with media.opened(path, media.track_of(path)) as source:
        for block in source.blocks:
            seconds += len(block) / source.rate
            if seconds > most:
                break
    return round(seconds, 3)


def manifest_in(report: Callable[[Any], None], path: Path) -> Mapping[str, object] | None:
    """In a process of its own: the manifest in a picture or sound; None where there is none."""
    from ..audio import notes
    from ..pictures.png import read_manifest

    try:
        return read_manifest(path) if path.suffix == ".png" else notes.load(path)[1]
    except DifftoolError:
        return None


def passage(report: Callable[[Any], None], takes: Sequence[tuple[Path, Take]], to: Path) -> None:
    """In a process of its own: writes takes into one sound, and beside it their sentences in the format of Whisper, so
    that no transcriber is needed."""
    from ..voice.prep.audition import write_passage

    spans = write_passage([(path, note["span"] or (0.0, note["seconds"])) for path, note in takes], to)
    segments = []
    for (start, end), (_, note) in zip(spans, takes, strict=True):
        segments.append({"start": start, "end": end, "text": note["text"]})
    names = [note["id"] for _, note in takes]
    write_json(to.with_suffix(".json"), {"language": "en", "segments": segments, "takes": names})
