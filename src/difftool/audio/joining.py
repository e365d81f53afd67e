"""Joining of parts into one sound, with equal loudness and pauses; at most two parts are in memory."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from .files import RATE, Samples
from .loudness import CEILING

if TYPE_CHECKING:
    from pydub import AudioSegment

FADE = 30
"""Milliseconds of the cross-fade between a part and the silence beside it."""
MILLISECOND = RATE // 1000
"""Samples of a millisecond."""
BYTES = 2 * MILLISECOND
"""Bytes of a millisecond."""
LARGEST = 12.0
"""Maximum change of a part's level in dB."""


def to_bytes(sound: Samples) -> bytes:
    """16-bit samples of a sound within [-1, 1]."""
    return np.round(sound * 32767).clip(-32768, 32767).astype("<i2").tobytes()


def from_bytes(data: bytes) -> Samples:
    """The sound in 16-bit samples."""
    return (np.frombuffer(data, "<i2") / 32767).astype(np.float32)


def gain(loud: float | None, peak: float, wanted: float | None) -> float:
    """The gain in dB that brings a part of loudness `loud` and amplitude `peak` as close to `wanted` as allowed."""
    if loud is None or wanted is None:
        return 0.0
    room = CEILING - 20 * np.log10(max(peak, 1e-6))
    return float(np.clip(wanted - loud, -LARGEST, max(0.0, min(LARGEST, room))))


def join(parts: Iterable[tuple[bytes, float, float]]) -> Iterator[bytes]:
    """One sound from (16-bit samples at RATE, gain in dB, seconds of silence after it) of each part, in pieces."""
    ends = b""  # the end of the sound so far, into which the next part may be faded
    for data, louder, pause in parts:
        for piece in (_raw(_segment(data).apply_gain(louder)), bytes(2 * round(pause * RATE))):
            fade = min(FADE, len(ends) // BYTES, len(piece) // BYTES)
            joined = _raw(_segment(ends).append(_segment(piece), crossfade=fade))
            kept = min(FADE * BYTES, len(joined))
            yield joined[: len(joined) - kept]
            ends = joined[len(joined) - kept :]
    yield ends


def starts(parts: Iterable[tuple[int, float]]) -> list[int]:
    """The sample at which each part begins in the sound that `join` makes, and at the end the length of that sound,
    from (samples, seconds of silence after it) of each part."""
    positions, total = [], 0
    ends = 0  # samples into which the next part may be faded
    for length, pause in parts:
        for k, piece in enumerate((length, round(pause * RATE))):
            fade = min(FADE, ends // MILLISECOND, piece // MILLISECOND)
            before = total - ends
            if fade:  # pydub cuts at whole milliseconds
                ends, piece = _in_milliseconds(ends), _in_milliseconds(piece)
            begins = before + ends - fade * MILLISECOND
            if not k:
                positions.append(begins)
            total = begins + piece
            ends = min(FADE * MILLISECOND, total - before)
    return [*positions, total]


def _in_milliseconds(samples: int) -> int:
    return round(1000 * (samples / RATE)) * MILLISECOND


def _raw(segment: AudioSegment) -> bytes:
    return cast(bytes, segment.raw_data)


def _segment(data: bytes) -> AudioSegment:
    with warnings.catch_warnings(action="ignore"):  # it warns of a missing ffmpeg, which is not needed here
        from pydub import AudioSegment

    return AudioSegment(data, sample_width=2, frame_rate=RATE, channels=1)
