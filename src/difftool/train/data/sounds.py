"""Training sounds: log mels of whole recordings, read once and cached, of which windows are learned."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from ...audio.mels import DECIBELS, FORMATS, MelFormat, Sound
from ...errors import DifftoolError, Exit, nearest
from ...files import expanded, replace_folder, temporary, write_json
from ...learning.tasks import Data
from ...limits import counted
from . import pictures, sound_files
from .cached import bounded, held_in_memory, key_of
from .contents import Source, contents
from .decode import Contents, some
from .labels import classes_of
from .picture_files import PLAIN, annotated
from .raw import Raw, rows_of
from .sound_files import Mels, decode_sounds
from .splits import places

log = logging.getLogger(__name__)

Numbers = np.ndarray[Any, np.dtype[np.int64]]

SCHEMA = "difftool/sounds/1"
"""Version of the cache; it changes when the same files give other spectrograms, labels or captions."""
HELD_OUT = 0.1
"""Share of the recordings held out by default, if there are at least LEAST."""
LEAST = 10
LEAST_SILENCE = 1.0
"""Seconds of silence that are worth a note."""
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


class Windows:
    """The windows of sounds as training items (N, 1, mels, frames) in [-1, 1].

    Number k of an epoch is one of the windows side by side in a recording, and starts anywhere in its share of the
    allowed places.
    """

    def __init__(self, sounds: Sounds, device: torch.device, gain: float = 0.0) -> None:
        """`gain`: the largest change of loudness in dB."""
        self.format, self.frames = sounds.format, sounds.frames
        self.gain = 0.0 if sounds.format.relative else gain
        self.mels = torch.from_numpy(np.concatenate([each.mels for each in sounds.recordings])).to(device)
        counts = sounds.counts
        lengths = np.array([each.frames for each in sounds.recordings])
        places = np.array([len(each.starts) for each in sounds.recordings])
        ends = np.cumsum(lengths)
        begins = ends - lengths
        starts = [each.starts + begin for each, begin in zip(sounds.recordings, begins, strict=True)]
        self.starts = torch.from_numpy(np.concatenate(starts)).to(device)
        self.owner = np.repeat(np.arange(len(counts)), counts)
        """(N,), the recording of each item."""
        part = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)

        def of_items(values: Numbers) -> Tensor:
            return torch.from_numpy(values[self.owner]).to(device)

        self.part, self.parts = torch.from_numpy(part).to(device), of_items(counts)
        self.first, self.places = of_items(np.cumsum(places) - places), of_items(places)
        self.ends = torch.from_numpy(np.repeat(ends, places)).to(device)
        """Of the recording that each place lies in"""

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self.owner), 1, self.format.mels, self.frames])

    @property
    def device(self) -> torch.device:
        return self.mels.device

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, numbers: Tensor) -> Tensor:
        return self._at(numbers, torch.full(numbers.shape, 0.5, device=self.device))

    def drawn(self, numbers: Tensor, draws: Tensor) -> Tensor:
        """Items (R, 1, mels, frames) at drawn places, louder or softer by at most `gain`."""
        x = self._at(numbers, draws[:, 0])
        if not self.gain:
            return x
        shift = (2 * draws[:, 1] - 1) * self.format.shift(self.gain)
        louder = (x + shift.reshape(-1, 1, 1, 1)).clamp(-1, 1)
        return torch.where(x > -1, louder, x)  # silence stays silent

    def _at(self, numbers: Tensor, within: Tensor) -> Tensor:
        places = self.places[numbers]
        share = (self.part[numbers] + within.double()) / self.parts[numbers]
        place = torch.minimum((share * places).long(), places - 1)
        return self.everywhere(self.first[numbers] + place)

    def everywhere(self, places: Tensor) -> Tensor:
        """The windows (R, 1, mels, frames) at some of all allowed places, by their numbers in `starts`."""
        columns = self.starts[places][:, None] + torch.arange(self.frames, device=self.device)
        beyond = columns >= self.ends[places][:, None]
        logs = self.mels[columns.clamp(max=len(self.mels) - 1)].float()
        logs[beyond] = self.format.span[0] if not self.format.relative else -torch.inf
        return self.format.scaled(logs.transpose(1, 2))[:, None]


def data_of(sounds: Sounds, device: torch.device, gain: float = 0.0) -> Data:
    """Windows of sounds, and their labels."""
    x = Windows(sounds, device, gain)
    if sounds.labels is None:
        return Data(x, {}, {})
    labels = torch.from_numpy(sounds.labels[x.owner]).to(device)
    return Data(x, {"label": labels}, {"label": torch.tensor(len(sounds.classes), device=device)})


def silent_frames(recording: Recording, frames: int) -> int:
    """The frames of a recording that lie in no window."""
    spans = np.zeros(recording.frames + frames + 1, np.int64)
    np.add.at(spans, recording.starts, 1)
    np.add.at(spans, recording.starts + frames, -1)
    return int((np.cumsum(spans)[: recording.frames] == 0).sum())


# --- reading ---------------------------------------------------------------------------------------------------------


def are_sounds(source: str) -> bool:
    """Whether a data set consists of sounds. Raises DifftoolError 4 for a mixture of sounds and pictures."""
    if source in BUILT_IN or source in pictures.BUILT_IN:
        return source in BUILT_IN
    path = expanded(source)
    if source.startswith("hf:") or not path.exists():
        return False
    with told_of(source):
        return sound_files.are_sounds(contents(path).files)


def load_sounds(source: str, sound_format: str, frames: int, held_out: float | None = None) -> Sounds:
    """A built-in set, or the recordings in a folder or an archive, in windows of so many frames of a sound format.
    `held_out` is the share of recordings held out for evaluation. Files are decoded once and then mapped from the
    user's cache, by the hash of their contents. Raises DifftoolError 4 if they cannot be trained on."""
    own = FORMATS[sound_format]
    if source in BUILT_IN:
        sounds = BUILT_IN[source]()
        _refuse_other(source, sounds, own, frames, held_out)
        return sounds
    path = expanded(source)
    if not path.exists():
        near = nearest(source, BUILT_IN)
        hint = f"did you mean {near}?" if near else f"{sound_files.HINT}, or {', '.join(BUILT_IN)}"
        raise DifftoolError(Exit.FILE, f"no such file or folder: {source}", hint)
    if path.is_file() and sound_files.is_sound(path.name):
        raise DifftoolError(Exit.FILE, f"{source} is a single sound", f"pass its folder: {path.parent}")
    with told_of(source):
        stored = _stored(path, own)
        sounds = _split(stored, own, frames, held_out)
    return sounds._replace(name=path.stem or str(path), path=path)


def _refuse_other(source: str, sounds: Sounds, own: MelFormat, frames: int, held_out: float | None) -> None:
    """Raises DifftoolError 2 for settings that a built-in set does not have."""
    fixed = {"--sound-format": (sounds.format.name, own.name), "--frames": (sounds.frames, frames)}
    for option, (is_so, wanted) in fixed.items():
        if is_so != wanted:
            raise DifftoolError(Exit.USAGE, f"{source} has the fixed {option} {is_so}", f"leave out {option}")
    if held_out is not None:
        raise DifftoolError(Exit.USAGE, f"{source} has a fixed held-out part", "leave out --held-out")


@contextmanager
def told_of(source: str) -> Iterator[None]:
    """Inside, errors name the data set."""
    try:
        yield
    except DifftoolError as error:
        message = f"cannot train on {source}: {error.message}"
        raise DifftoolError(error.code, message, error.hint) from error


class About(TypedDict):
    """about.json of a data set in the cache."""

    names: list[str]
    frames: list[int]
    """Length of each recording"""
    labels: list[int] | None
    classes: list[str]
    captions: list[str] | None
    held: list[bool]
    """Which recordings are the test part"""
    skipped: list[str]
    notes: list[str]


class Stored(NamedTuple):
    """A data set as it is cached, whatever its windows."""

    mels: Mels
    """(frames, bands) of all recordings"""
    about: About


def _stored(path: Path, own: MelFormat) -> Stored:
    """The recordings in a folder or an archive, cached by the contents of the files that are used."""
    source = contents(path)
    used = {name: read for name, read in source.files.items() if sound_files.is_used(name)}
    if not sound_files.are_sounds(source.files):
        raise DifftoolError(Exit.FILE, "it contains no sounds", sound_files.HINT)
    used = held_in_memory(used, source.size)
    key = key_of([SCHEMA, own.name, *source.left_out, *source.aside], source.files, used)
    folder = pictures.cache() / key
    if not (folder / "about.json").exists():
        stored = _read(used, own, source)
        try:
            _keep(folder, stored)
        except OSError as error:
            log.warning(f"cannot cache the spectrograms in {folder.parent}: {error.strerror}; keeping them in memory")
            return stored
    with suppress(OSError):  # of another user's cache
        os.utime(folder)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return Stored(np.load(folder / "mels.npy", mmap_mode="c"), about)


def _read(files: Contents, own: MelFormat, source: Source) -> Stored:
    names = [name for name in files if sound_files.is_sound(name)]
    place = places(names, "sound")
    decoded = decode_sounds({name: files[name] for name in names if name not in place.left_out}, own)
    numbers = Raw(cast(Any, np.arange(len(decoded.names))), notes=decoded.notes)
    raw = annotated(numbers, decoded.names, names, files, place, "sound")
    test = rows_of(raw, np.zeros(0, int)) if raw.test is None else raw.test
    order = np.concatenate([raw.pixels, test.pixels]).astype(int)
    notes = [*raw.notes]
    if source.aside:
        notes.append(f"hidden folders left out: {', '.join(source.aside)}")
    if others := [name for name in source.files if name not in files and not PLAIN.match(PurePosixPath(name).name)]:
        notes.append(f"{some(others, 'file')} not used")
    mels = [decoded.mels[k] for k in order]

    def joined(a: Any, b: Any) -> list[Any] | None:
        return None if a is None else [*a, *(b if b is not None else [])]

    labels = joined(raw.labels, test.labels)
    about: About = {
        "names": [decoded.names[k] for k in order],
        "frames": [len(each) for each in mels],
        "labels": None if labels is None else [int(label) for label in labels],
        "classes": raw.classes,
        "captions": joined(raw.captions, test.captions),
        "held": [k >= len(raw.pixels) for k in range(len(order))],
        "skipped": [*decoded.skipped, *source.left_out],
        "notes": notes,
    }
    return Stored(np.concatenate(mels), about)


def _keep(folder: Path, stored: Stored) -> None:
    fresh = temporary(folder)
    fresh.mkdir(parents=True)
    try:
        np.save(fresh / "mels.npy", stored.mels)
        write_json(fresh / "about.json", stored.about)
        replace_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    bounded(folder)


def _split(stored: Stored, own: MelFormat, frames: int, held_out: float | None) -> Sounds:
    """Held-out recordings apart: the source's test part, or a fixed share of the recordings that occur only once.
    Raises DifftoolError 2 if the requested share is less than one recording."""
    about = stored.about
    ends = np.cumsum(about["frames"])
    recordings = []
    for name, end, length in zip(about["names"], ends, about["frames"], strict=True):
        mels = stored.mels[end - length : end]
        recordings.append(Recording(name, mels, starts_of(mels, own, frames)))
    notes = [*about["notes"]]
    silent = sum(silent_frames(each, frames) for each in recordings) * own.hop / own.rate
    whole = float(ends[-1]) * own.hop / own.rate
    if silent >= LEAST_SILENCE:
        notes.append(f"{silent:,.1f} of {whole:,.1f} s left out: silence")
    held = np.array(about["held"], bool)
    if held.any() and held_out:
        notes.append("the data has a test part; no other recordings are held out")
    if not held.any():
        held, more = _chosen(recordings, held_out)
        notes += more

    def part(rows: Numbers) -> Sounds:
        labels = None if about["labels"] is None else np.array(about["labels"], np.int64)[rows]
        captions = None if about["captions"] is None else [about["captions"][k] for k in rows]
        return Sounds("", own, frames, [recordings[k] for k in rows], labels, about["classes"], captions)

    held_part = part(np.flatnonzero(held)) if held.any() else None
    train = part(np.flatnonzero(~held))
    return train._replace(held_out=held_part, skipped=tuple(about["skipped"]), notes=tuple(notes))


def _chosen(recordings: list[Recording], held_out: float | None) -> tuple[np.ndarray[Any, Any], list[str]]:
    """(which recordings are held out, notes)"""
    count = len(recordings)
    held = np.zeros(count, bool)
    share = HELD_OUT if held_out is None else held_out
    if not share or (count < LEAST and held_out is None):
        return held, []
    wanted = int(share * count + 1e-9)
    if not wanted:
        message = f"held-out {share:g} of {counted(count, 'recording')} is less than one"
        least = f"use at least --held-out {math.ceil(100 / count) / 100:g}"
        raise DifftoolError(Exit.USAGE, message, least if count > 1 else "leave out --held-out, or use more recordings")
    hashes = [hashlib.blake2b(np.ascontiguousarray(each.mels).tobytes()).digest() for each in recordings]
    copies = Counter(hashes)
    order = np.random.RandomState(0).permutation(count)
    single = [k for k in order if copies[hashes[k]] == 1]
    held[single[:wanted]] = True
    notes = [f"{counted(count - len(copies), 'recording')} the same as another"] if len(copies) < count else []
    if held.all():
        raise DifftoolError(Exit.FILE, "no recording is left to train on", "use a smaller --held-out")
    return held, notes


# --- the built-in set ------------------------------------------------------------------------------------------------

TONES, TONES_HELD = 6_000, 600


def tones() -> Sounds:
    """Sounds of `tones.draw_set` in the format mel24."""
    from .tones import CLASSES, FRAMES, draw_set

    own, parts = FORMATS["mel24"], []
    for count, held in ((TONES, False), (TONES_HELD, True)):
        sounds, labels = draw_set(count, held=held)
        recordings = []
        for first in range(0, count, 100):
            logs = own.logarithms(torch.from_numpy(sounds[first : first + 100]))
            mels = logs.transpose(1, 2).half().numpy()
            recordings += [Recording("", each, np.zeros(1, np.int64)) for each in mels]
        parts.append(Sounds("tones", own, FRAMES, recordings, labels, CLASSES))
    return parts[0]._replace(held_out=parts[1])


BUILT_IN = {"tones": tones}
"""Sets of sounds that need no file."""
