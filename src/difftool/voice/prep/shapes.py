"""Types of the results kept of recordings, and of the files in the folder of a voice."""

from __future__ import annotations

from pathlib import Path
from typing import NotRequired, TypedDict

from ..library import Consent

Figures = dict[str, float | None]
SpokenWord = tuple[float, float, str, float | None]
"""(start, end, word, probability), in seconds from the start of its clip; in JSON a list."""


class SourceNote(TypedDict):
    """Properties of a recording, as stored."""

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
    """Key of its transcriber"""


class Sounds(TypedDict, total=False):
    """Files with the sounds of a take, and their shape."""

    wave: list[int]
    sound: str
    """For the report"""
    clip: str
    """As it is stored"""
    envelope: list[int]


class Spoken(TypedDict):
    """Fields of a take in every list."""

    start: float
    end: float
    text: str
    figures: Figures


class KeptTake(Spoken, Sounds):
    """A take as it is stored."""

    reasons: list[str]
    """Reasons for which it is rejected; none for a clip"""
    words: list[SpokenWord]
    speaker: NotRequired[int]
    """Index among the speakers of the recording"""
    voiceprint: NotRequired[list[int]]
    """Of a take with speech, in thousandths"""


class VoiceTake(KeptTake):
    """A take of one of the recordings of a voice."""

    source: str
    folder: Path
    """The folder of its sounds"""
    language: str | None
    id: NotRequired[str]
    """The number of a clip"""


class ListedTake(Spoken):
    """A take in report.json and rejected.jsonl."""

    source: str
    reasons: list[str]
    id: NotRequired[str]
    reason: NotRequired[str]
    """The first of them"""


class Used(TypedDict):
    """The origin of a reference."""

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
    """Seconds lost to each reason"""
    references: list[Used]
    failed: dict[str, str]
    """Recordings that could not be read, and why"""
    takes: list[ListedTake]


class PrepNote(TypedDict):
    """State of prep in voice.json."""

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
