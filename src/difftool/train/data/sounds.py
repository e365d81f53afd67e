"""Training sounds: log mels of whole recordings, of which windows are learned."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...audio.mels import DECIBELS, MelFormat, Sound
from ...limits import counted
from .labels import classes_of
from .sound_files import Mels

Numbers = np.ndarray[Any, np.dtype[np.int64]]

QUIET = 45.0
"""dB below the loudest frame of a recording from which a frame is silent."""
SOUNDING = 0.25
"""Least share of frames with sound in a window, if its recording has such windows."""


class Recording(NamedTuple):
    """A recording as log mels."""

    name: str
    mels: Mels
    """(frames, bands)"""
    starts: Numbers
    """Frames at which a window may start"""

    @property
    def frames(self) -> int:
        return len(self.mels)


class Sounds(NamedTuple):
    """A data set of recordings."""

    name: str
    format: MelFormat
    frames: int
    """Width of a window"""
    recordings: list[Recording]
    labels: Numbers | None = None
    classes: list[str] = []  # noqa: RUF012
    captions: list[str] | None = None
    held_out: Sounds | None = None
    """Recordings that are never trained on, for evaluation."""
    skipped: tuple[str, ...] = ()
    """Files that could not be read or are silent, as "path: reason"."""
    notes: tuple[str, ...] = ()
    """Notes for the user."""
    path: Path | None = None
    """The file or folder they were read from, if any."""

    @property
    def sound(self) -> Sound:
        """What a model of them generates."""
        return Sound(self.format, self.frames)

    @property
    def counts(self) -> Numbers:
        """The number of windows in each recording, side by side: the items of an epoch."""
        return np.array([max(-(-each.frames // self.frames), 1) for each in self.recordings], np.int64)

    @property
    def items(self) -> int:
        return int(self.counts.sum())

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, mels, frames) of a window"""
        return 1, self.format.mels, self.frames

    @property
    def seconds(self) -> float:
        frames = sum(each.frames for each in self.recordings)
        return frames * self.format.hop / self.format.rate

    @property
    def summary(self) -> str:
        """The data set in one line."""
        window = f"{self.frames} frames ({self.sound.seconds:.2f} s, {self.format.name})"
        parts = [f"{counted(len(self.recordings), 'recording')}, {self.seconds / 60:,.1f} min, in windows of {window}"]
        if self.classes:
            parts.append(classes_of(self.classes))
        if self.held_out is not None:
            parts.append(f"{counted(len(self.held_out.recordings), 'recording')} more held out")
        return f"{self.name}: {', '.join(parts)}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the training data."""
        digest = hashlib.sha256(f"{self.format.name} {self.frames}".encode())
        for each in self.recordings:
            digest.update(np.ascontiguousarray(each.mels).data.cast("B"))
            digest.update(each.starts.tobytes())
        digest.update(b"" if self.labels is None else self.labels.tobytes())
        digest.update(b"" if self.captions is None else "\n".join(self.captions).encode())
        return digest.hexdigest()


def starts_of(mels: Mels, own: MelFormat, frames: int) -> Numbers:
    """The frames at which a window of so many frames may start: not where less than SOUNDING of it is sound, unless the
    recording has nothing longer."""
    levels = mels.max(1).astype(np.float32)
    floor = levels.max() - QUIET * DECIBELS * own.power
    before = np.concatenate([[0], np.cumsum(levels > floor)])
    first = np.arange(max(len(mels) - frames, 0) + 1)
    sounding = before[np.minimum(first + frames, len(mels))] - before[first]
    least = min(SOUNDING * frames, sounding.max())
    return np.flatnonzero(sounding >= least)


def silent_frames(recording: Recording, frames: int) -> int:
    """The frames of a recording that lie in no window."""
    spans = np.zeros(recording.frames + frames + 1, np.int64)
    np.add.at(spans, recording.starts, 1)
    np.add.at(spans, recording.starts + frames, -1)
    return int((np.cumsum(spans)[: recording.frames] == 0).sum())
