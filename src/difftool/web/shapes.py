"""Shapes of what passes between the page, the server and the processes of jobs, in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

Settings = Mapping[str, object]
"""Settings of a job, by the names of options."""


class Progress(TypedDict):
    """How far a job is."""

    done: int
    total: int
    label: str
    seconds_left: float


class News(TypedDict):
    """What the process of a job reports."""

    progress: Progress
    preview: bytes | None
    """A PNG of what is being drawn."""


class Failure(TypedDict):
    """An error, as the command line prints it."""

    code: int
    message: str
    hint: str


class Output(TypedDict):
    """A file of a job."""

    name: str
    url: str
    kind: str
    """sound or picture"""
    seed: NotRequired[int | None]
    seconds: NotRequired[float]
    width: NotRequired[int]
    height: NotRequired[int]
    label: NotRequired[str | None]


class MadeVoice(TypedDict):
    """A voice that a job has made."""

    name: str
    grade: str
    reasons: list[str]


class Again(TypedDict):
    """What a job repeats."""

    of: str
    """The ID of the first job."""
    identical: bool | None
    """Whether the results are identical; None until they are known."""


class CommandResult(TypedDict):
    """The JSON object that a command prints."""

    data: Mapping[str, object] | None
    warnings: list[str]
    error: Failure | None


class Outcome(TypedDict):
    """How the command of a job ended."""

    code: int
    result: CommandResult | None
    outputs: NotRequired[list[Output]]


class ShownJob(TypedDict):
    """A job as the API shows it."""

    id: str
    kind: str
    settings: Settings
    created: str
    state: str
    started: str | None
    ended: str | None
    position: int | None
    progress: Progress | None
    preview: str | None
    outputs: Sequence[Output]
    warnings: Sequence[str]
    error: Failure | None
    rerun: Again | None
    voice: MadeVoice | None
    command: str


class Recording(TypedDict):
    """What is known of a take, or of an uploaded file."""

    id: str
    suffix: str
    type: str
    seconds: float | None


class Heard(TypedDict):
    """The grade of a take."""

    seconds: float
    grade: str
    advice: list[str]
    reasons: list[str]
    figures: Mapping[str, float | None]
    span: tuple[float, float] | None


class Take(Heard):
    """A take of a sentence."""

    id: str
    suffix: str
    type: str
    sentence: int
    text: str


class OfferedVoice(TypedDict):
    """A voice in the list of the page."""

    name: str
    source: str
    grade: str | None
    consent: str | None
    trained: bool
