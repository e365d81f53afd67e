"""Sound files: decoded to log mels of whole recordings, with a reason for each that could not be read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from ...audio.files import KINDS, Samples
from ...audio.media import SILENT, mix_of, opened, resampled, track_of
from ...audio.mels import DECIBELS, MelFormat
from ...errors import DifftoolError, Exit
from .contents import UNREADABLE
from .decode import SUFFIXES, Contents, in_turn, reason_of, some
from .picture_files import METADATA

Mels = np.ndarray[Any, np.dtype[np.float16]]

FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".wmv", ".flv")
"""Suffixes of `KINDS` that mostly hold films, which also lie among pictures."""
COVER = re.compile(r"(cover|folder|front|back|album ?art|artwork|booklet|cd|disc)\W?.*", re.IGNORECASE)
"""Names of pictures that belong to recordings."""
BLOCK, MARGIN = 4096, 4
"""Frames of a spectrogram that are computed at a time, and on each side the frames whose windows reach into them."""
AUDIBLE = 0.5
"""Natural logarithms above the floor of a format from which a band has sound."""
REACH = 60.0
"""dB below the loudest band down to which a band counts as part of a recording."""
HOURS, LEAST_BYTES = 2, 250
"""Hours that any file may last, and the bytes of a second of a longer one: no codec of speech needs fewer."""
HINT = "pass a folder or zip of recordings, such as .wav, .flac, .mp3 or .ogg"


class DecodedSounds(NamedTuple):
    """Decoded sound files."""

    names: list[str]
    mels: list[Mels]
    """Log mels (frames, bands) of each"""
    skipped: tuple[str, ...]
    """Files left out, as "name: reason"."""
    notes: tuple[str, ...]


def is_sound(name: str) -> bool:
    """Whether a file of this name is a recording."""
    return PurePosixPath(name).suffix.lower() in KINDS


def are_sounds(names: Collection[str]) -> bool:
    """Whether files are a data set of sounds: recordings, or films and nothing else. Raises DifftoolError 4 for
    recordings among pictures; their covers do not count."""
    sounds = [name for name in names if is_sound(name) and PurePosixPath(name).suffix.lower() not in FILMS]
    pictures = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if sounds and (others := [name for name in pictures if not COVER.fullmatch(PurePosixPath(name).stem)]):
        message = f"it contains both {some(sounds, 'sound')} and {some(others, 'picture')}"
        raise DifftoolError(Exit.FILE, message, "put them in folders of their own, and train on one of these")
    return bool(sounds) or (not pictures and any(map(is_sound, names)))


def is_used(name: str) -> bool:
    """Whether a file may hold sounds, or labels or captions for them."""
    return is_sound(name) or name.lower().endswith(".txt") or PurePosixPath(name).name.lower() in METADATA


def decode_sounds(entries: Contents, own: MelFormat) -> DecodedSounds:
    """The recordings of `entries` in a format. Raises DifftoolError 4 if none can be read."""

    def decoded(name: str) -> tuple[Mels, float] | str:
        try:
            sound, rate = _decoded(entries[name](), PurePosixPath(name).suffix, own.rate)
            mels = _mels(sound, own)
            if mels.max() < np.log(own.floor) + AUDIBLE:
                return "only silence"
            return mels, min(_highest(mels, own), rate / 2)
        except MemoryError:
            raise
        except DifftoolError as error:
            return error.message
        except UNREADABLE as error:
            return reason_of(error)

    with ThreadPoolExecutor() as pool:
        found = dict(zip(entries, in_turn(pool, decoded, entries), strict=True))
    kept = {name: result[0] for name, result in found.items() if not isinstance(result, str)}
    highest = {name: result[1] for name, result in found.items() if not isinstance(result, str)}
    skipped = tuple(f"{name}: {reason}" for name, reason in found.items() if isinstance(reason, str))
    if not kept:
        message = "it contains no sounds"
        if skipped:
            message = f"none of its {len(skipped)} sounds can be used ({skipped[0]})"
        raise DifftoolError(Exit.FILE, message, HINT)
    return DecodedSounds([*kept], [*kept.values()], skipped, tuple(_narrow(highest, own)))


def _decoded(data: bytes, suffix: str, rate: int) -> tuple[Samples, int]:
    """(the sound in a file, mixed to mono, at `rate`; its own rate)."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"it{suffix}"
        path.write_bytes(data)
        try:
            track = track_of(path)
            with opened(path, track) as source:
                own, mix = source.rate, mix_of(path, _plausible(source.blocks, source.rate, len(data)), track.lfe)
            with opened(path, track) as source:
                parts = [*resampled(map(mix, source.blocks), own, rate)]
        except DifftoolError as error:
            message = error.message.replace(str(path), "the file")
            raise DifftoolError(error.code, message, error.hint) from error
    sound = np.concatenate([np.zeros(0, np.float32), *parts]).clip(-1, 1)
    if np.abs(sound).max(initial=0) < SILENT:
        raise DifftoolError(Exit.FILE, "only silence" if len(sound) else "no sound", HINT)
    return sound, own


def _plausible(blocks: Iterator[Samples], rate: int, size: int) -> Iterator[Samples]:
    """The blocks of a file of `size` bytes. Raises DifftoolError 4 if it is too small for so long a sound."""
    seconds = 0.0
    for block in blocks:
        seconds += len(block) / rate
        if seconds > HOURS * 3600 and seconds * LEAST_BYTES > size:
            message = f"{size:,} bytes would become more than {HOURS} hours of sound"
            raise DifftoolError(Exit.FILE, message, HINT)
        yield block


def _mels(sound: Samples, own: MelFormat) -> Mels:
    """Log mels (frames, bands) of a recording, a block at a time."""
    samples = torch.from_numpy(sound)
    frames = 1 + len(sound) // own.hop
    parts = []
    for first in range(0, frames, BLOCK):
        begin = max(first - MARGIN, 0)
        end = (first + BLOCK + MARGIN) * own.hop
        logs = own.logarithms(samples[begin * own.hop : end])
        parts.append(logs[:, first - begin :][:, :BLOCK].T.half().numpy())
    return np.concatenate(parts)[:frames]


def _narrow(highest: dict[str, float], own: MelFormat) -> list[str]:
    """A note on recordings whose band ends below half of that of the format; `highest`: where it ends, in Hz."""
    half = own.rate / 4
    narrow = [name for name, hertz in highest.items() if hertz < half]
    if not narrow:
        return []
    lower = "; a format of a lower rate may suit them" if own.rate > 16_000 else ""
    return [f"{some(narrow, 'sound')} without anything above {half:,.0f} Hz, half the band of {own.name}{lower}"]


def _highest(mels: Mels, own: MelFormat) -> float:
    """Hz of the highest band that a recording reaches where it has sound."""
    floor = np.log(own.floor) + AUDIBLE
    sounding = mels[mels.max(1) >= floor].astype(np.float32)
    levels = np.percentile(sounding, 90, axis=0)
    least = max(levels.max() - REACH * DECIBELS * own.power, min(floor, levels.max()))
    return own.centres()[int(np.flatnonzero(levels >= least)[-1])]
