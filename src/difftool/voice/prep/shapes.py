"""The shapes of what is kept of recordings, and of what is written into the folder of a voice."""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired, TypedDict

from ..library import Consent

Figures = dict[str, float | None]
SpokenWord = tuple[float, float, str, float | None]
"""(start, end, word, probability), in seconds from the start of its clip; in JSON a list."""


class SourceNote(TypedDict):
    """What is known of a recording, as it is kept."""

    seconds: float
    rate: int
    channels: int
    language: str | None
    warnings: list[str]


class VoiceSource(SourceNote):
    """The same in voice.json."""

    path: str
    sha256: str
    key: str | None
    """Of who says what is said in it"""


class Sounds(TypedDict, total=False):
    """The sounds of a take beside what is kept of it, by name, and how they look."""

    wave: list[int]
    sound: str
    """For the report"""
    clip: str
    """As it is kept"""
    envelope: list[int]


class Spoken(TypedDict):
    """What every list of takes tells of one."""

    start: float
    end: float
    text: str
    figures: Figures


class KeptTake(Spoken, Sounds):
    """A take as it is kept."""

    reasons: list[str]
    """Why it is left out; none for a clip"""
    words: list[SpokenWord]


class VoiceTake(KeptTake):
    """A take of one of the recordings of a voice."""

    source: str
    folder: Path
    """Where its sounds are"""
    language: str | None
    id: NotRequired[str]
    """Of a clip"""


class ListedTake(Spoken):
    """A take as report.json and rejected.jsonl tell of it."""

    source: str
    reasons: list[str]
    id: NotRequired[str]
    reason: NotRequired[str]
    """The first"""


class Used(TypedDict):
    """Where a reference comes from."""

    clip: str
    start: float
    score: float


class GradeNote(TypedDict):
    """A `grade.Grade` as it is written."""

    letter: str
    figures: dict[str, float]
    letters: dict[str, str]
    actions: list[str]


class Summary(TypedDict):
    """report.json."""

    voice: str
    grade: GradeNote
    clips: int
    kept_seconds: float
    total_seconds: float
    reasons: dict[str, float]
    """Seconds that each reason cost"""
    references: list[Used]
    failed: dict[str, str]
    """Recordings that could not be read, and why"""
    takes: list[ListedTake]


class PrepNote(TypedDict):
    """What prep must know of its own work."""

    key: str
    failed: dict[str, str]
    files: dict[str, str]
    """SHA-256 of each file by its name"""


class VoiceNote(TypedDict):
    """voice.json as prep writes it."""

    schema: str
    name: str
    language: str | None
    created: str
    consent: Consent
    grade: str
    sources: list[VoiceSource]
    settings: dict[str, object]
    versions: dict[str, str]
    prep: PrepNote
