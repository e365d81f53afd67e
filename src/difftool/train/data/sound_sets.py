"""Sets of recordings: read from a folder or an archive, or built in; decoded once and cached, and some held out."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np
import torch

from ...audio.mels import FORMATS, MelFormat
from ...errors import DifftoolError, Exit, nearest
from ...files import expanded, replace_folder, temporary, write_json
from ...limits import counted
from . import pictures, sound_files
from .cached import bounded, held_in_memory, key_of
from .contents import Source, contents, named_in_errors
from .decode import Contents, some
from .picture_files import PLAIN, annotated
from .raw import Raw, rows_of
from .sound_files import Mels, decode_sounds
from .sounds import Numbers, Recording, Sounds, silent_frames, starts_of
from .splits import places

log = logging.getLogger(__name__)

SCHEMA = "difftool/sounds/1"
"""Version of the cache; it changes when the same files give other spectrograms, labels or captions."""
HELD_OUT = 0.1
"""Share of the recordings held out by default, if there are at least LEAST."""
LEAST = 10
LEAST_SILENCE = 1.0
"""Seconds of silence that are worth a note."""
TONES, TONES_HELD = 6_000, 600
"""Sounds of the built-in set, and how many more are held out."""


def are_sounds(source: str) -> bool:
    """Whether a data set consists of sounds. Raises DifftoolError 4 for a mixture of sounds and pictures."""
    if source in BUILT_IN or source in pictures.BUILT_IN:
        return source in BUILT_IN
    path = expanded(source)
    if source.startswith("hf:") or not path.exists():
        return False
    with named_in_errors(source):
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
    with named_in_errors(source):
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
