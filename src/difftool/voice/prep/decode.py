"""Recordings of any format and length, decoded as a stream to a file of mono float32 at RATE."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...audio import media
from ...audio.files import RATE, Samples
from ...audio.media import Span
from ...errors import DifftoolError, Exit

COARSE = 160
"""Quantisation levels on each side of zero below which a sound is too coarse."""

NARROW = 0.05
"""Seconds on each side of a hole that belong to it."""


class Stored:
    """The samples of a raw float32 file. A slice is read on access: a mapped file would count as memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return self.path.stat().st_size // 4

    def __getitem__(self, part: slice) -> Samples:
        start, stop, _ = part.indices(len(self))
        return np.fromfile(self.path, np.float32, max(0, stop - start), offset=4 * start)


class Recording(NamedTuple):
    """A decoded recording."""

    samples: Stored
    """(S,) mono at RATE"""
    rate: int
    """Samples a second of the source."""
    channels: int
    flat: npt.NDArray[np.float32]
    """For each `TICK`, the share of source samples in the flat top of a clipped wave."""
    levels: npt.NDArray[np.float32]
    """For each second, the quantisation levels of the source up to its loudest sample."""
    warnings: tuple[str, ...]
    holes: tuple[Span, ...] = ()
    """Stretches that were lost or could not be decoded, in seconds; where the length is unknown, only the place"""

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    def holes_in(self, start: float, end: float) -> int:
        """The number of holes in a stretch or right beside it."""
        return sum(start < hole.end + NARROW and hole.start - NARROW < end for hole in self.holes)


TICK = 0.02
"""Seconds of a value of `Recording.flat`."""


def decode(path: Path, to: Path) -> Recording:
    """Decodes any sound or video file that ffmpeg reads into `to`, raw float32 mono at RATE, on the timeline of the
    file: late sound begins late, and lost sound is silence. The warnings say how channels are mixed, and list other
    problems. Raises DifftoolError 4 where the file cannot be read or has no sound.
    """
    # 1. the track, its timeline, and the mix of its channels
    track = media.track_of(path)
    when = media.timeline_of(path, track)
    with media.opened(path, track) as source:
        rate, channels = source.rate, source.channels
        mix = media.mix_of(path, source.blocks, track.lfe)
        complaint = source.complaint()
    filled = track.timed and bool(when.gaps or complaint)
    flat, levels = [], []

    def mixed(blocks: Iterator[Samples]) -> Iterator[Samples]:
        silence = _silence(when.late, rate, mix.offset)
        sound = itertools.chain(silence, (block @ mix.weights for block in blocks))
        for mono in _whole_seconds(sound, rate):
            centred = mix.centred(mono)
            tops, levels_here = flat_tops(centred, rate), steps(mono, rate)
            # with few levels, equal samples are no sign of clipping
            is_coarse = np.repeat(levels_here < COARSE, round(1 / TICK))
            tops[is_coarse[: len(tops)]] = 0
            flat.append(tops)
            levels.append(levels_here)
            yield centred

    # 2. the samples, mixed and measured on the way
    with media.opened(path, track, filled=filled) as source, to.open("wb") as file:
        for piece in media.resampled(mixed(source.blocks), rate, RATE):
            piece.tofile(file)
    if not to.stat().st_size:
        raise DifftoolError(Exit.FILE, f"{path} contains no sound", media.HINT)
    # 3. what was lost, and what a user should know
    warnings, holes = [*track.warnings, *mix.warnings], list(when.gaps)
    if complaint:
        warnings.append(f"{path} is damaged in places: {complaint}")
        damage = media.damage_of(path, track, filled=filled)
        holes += [Span(at.start + when.late, at.end + when.late) for at in damage]
    if when.late:
        warnings.append(f"the audio starts {when.late:.1f} s after the video")
    if when.gaps:
        lost = sum(gap.seconds for gap in when.gaps)
        warnings.append(f"{lost:.1f} s of the audio are missing")
    return Recording(
        Stored(to),
        rate,
        channels,
        flat=np.concatenate(flat),
        levels=np.concatenate(levels),
        warnings=tuple(warnings),
        holes=tuple(sorted(holes)),
    )


def _silence(seconds: float, rate: int, value: float) -> Iterator[Samples]:
    left = round(seconds * rate)
    while left:
        length = min(left, media.BLOCK * rate)
        yield np.full(length, value, np.float32)
        left -= length


def _whole_seconds(blocks: Iterable[Samples], rate: int) -> Iterator[Samples]:
    """The same samples in blocks of whole seconds."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block]) if len(held) else block
        whole = len(held) // rate * rate
        if whole:
            yield held[:whole]
            held = held[whole:]
    if len(held):
        yield held


def flat_tops(sound: Samples, rate: int) -> npt.NDArray[np.float32]:
    """For each TICK, the share of samples in runs of three or more equal ones near the largest of the second."""
    large = np.abs(sound)
    equal = np.abs(np.diff(sound, prepend=np.nan)) <= 1e-4 * large
    run = equal & np.roll(equal, -1)  # a middle of three
    run[-1:] = False
    run |= np.roll(run, 1) | np.roll(run, -1)
    near = large >= 0.8 * np.repeat(_maxima(large, rate), rate)[: len(sound)]
    hits = run & near & (large > 0.02)
    per_second = round(1 / TICK)
    count = -(-len(sound) * per_second // rate)
    starts = np.arange(count) * rate // per_second
    sums = np.add.reduceat(hits.astype(np.float32), starts)
    return (sums / (TICK * rate)).astype(np.float32)


def steps(sound: Samples, rate: int) -> npt.NDArray[np.float32]:
    """For each second, its largest sample over its quantisation step: at most 128 for 8 bits. Infinite where there is
    no such step."""
    levels = []
    for start in range(0, len(sound), rate):
        second = sound[start : start + rate]
        sample = second[: rate // 8]  # enough to see a coarse step
        values = np.unique(np.append(sample, [second.min(), second.max()]))
        differences = np.diff(values)
        least = float(differences.min(initial=np.inf))
        step = np.inf
        if np.isfinite(least):
            step = float(differences[differences < 1.2 * least].mean())  # their mean, where values were rounded again
        places = values / step
        is_regular = np.abs(places - places.round()).max() < 0.1
        levels.append(np.abs(values).max() / step if is_regular else np.inf)
    return np.array(levels, np.float32)


def _maxima(large: Samples, rate: int) -> Samples:
    """The largest of each second."""
    padded = np.pad(large, (0, -len(large) % rate))
    return padded.reshape(-1, rate).max(1)
