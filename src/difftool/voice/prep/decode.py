"""Recordings of any kind, decoded in a stream: mono float32 at RATE in a file beside, whatever their length."""

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
"""Levels on each side of zero under which a sound has too few."""

NARROW = 0.05
"""Seconds on each side of a hole that belong to it."""


class Stored:
    """The samples of a raw float32 file. A slice is read when it is asked for: a mapped file would count as memory."""

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
    """Of each `TICK`, the share of source samples that lie in the flat top of a clipped wave."""
    levels: npt.NDArray[np.float32]
    """Of each second, how many levels of its own loudest sample the source's steps can tell apart."""
    warnings: tuple[str, ...]
    holes: tuple[Span, ...] = ()
    """What was lost or could not be decoded, in seconds; of what cannot be told how long it was, only where"""

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    def holes_in(self, start: float, end: float) -> int:
        """How many holes lie in a stretch, or right beside it."""
        return sum(start < hole.end + NARROW and hole.start - NARROW < end for hole in self.holes)


TICK = 0.02
"""Seconds of a value of `Recording.flat`."""


def decode(path: Path, to: Path) -> Recording:
    """Decodes any sound or video file that ffmpeg reads into `to`, raw float32 mono at RATE, on the time line of the
    file: late sound begins late, and what was lost is silence. How channels are mixed, and what else was noticed, is
    told in the warnings. Raises DifftoolError 4 where the file cannot be read or has no sound.
    """
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
        for mono in _whole_seconds(itertools.chain(silence, (block @ mix.weights for block in blocks)), rate):
            centred = mix.centred(mono)
            flat.append(flat_tops(centred, rate))
            levels.append(steps(mono, rate))
            # of few levels, equal samples are nothing strange
            flat[-1][np.repeat(levels[-1] < COARSE, round(1 / TICK))[: len(flat[-1])]] = 0
            yield centred

    with media.opened(path, track, filled=filled) as source, to.open("wb") as file:
        for piece in media.resampled(mixed(source.blocks), rate, RATE):
            piece.tofile(file)
    if not to.stat().st_size:
        raise DifftoolError(Exit.FILE, f"{path} holds no sound", media.HINT)
    warnings, holes = [*track.warnings, *mix.warnings], list(when.gaps)
    if complaint:
        warnings.append(f"{path} is damaged in places: {complaint}")
        damage = media.damage_of(path, track, filled=filled)
        holes += [Span(at.start + when.late, at.end + when.late) for at in damage]
    if when.late:
        warnings.append(f"the sound begins {when.late:.1f} s after the picture")
    if when.gaps:
        warnings.append(f"{sum(gap.seconds for gap in when.gaps):.1f} s of the sound were lost")
    return Recording(
        Stored(to), rate, channels, np.concatenate(flat), np.concatenate(levels), tuple(warnings), tuple(sorted(holes))
    )


def _silence(seconds: float, rate: int, value: float) -> Iterator[Samples]:
    left = round(seconds * rate)
    while left:
        yield np.full(min(left, media.BLOCK * rate), value, np.float32)
        left -= min(left, media.BLOCK * rate)


def _whole_seconds(blocks: Iterable[Samples], rate: int) -> Iterator[Samples]:
    """The same samples in blocks of whole seconds, for what is measured by the second."""
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
    """Of each TICK, the share of samples in a run of three or more equal ones near the largest of the second."""
    large = np.abs(sound)
    equal = np.abs(np.diff(sound, prepend=np.nan)) <= 1e-4 * large
    run = equal & np.roll(equal, -1)  # a middle of three
    run[-1:] = False
    run |= np.roll(run, 1) | np.roll(run, -1)
    near = large >= 0.8 * np.repeat(_maxima(large, rate), rate)[: len(sound)]
    hits = run & near & (large > 0.02)
    starts = np.arange(-(-len(sound) * round(1 / TICK) // rate)) * rate // round(1 / TICK)
    return (np.add.reduceat(hits.astype(np.float32), starts) / (TICK * rate)).astype(np.float32)


def steps(sound: Samples, rate: int) -> npt.NDArray[np.float32]:
    """Of each second, its largest sample over the step between the values that it takes: at most 128 where it was kept
    in 8 bits. Infinite where there is no such step."""
    found = []
    for start in range(0, len(sound), rate):
        second = sound[start : start + rate]
        values = np.unique(np.append(second[: rate // 8], [second.min(), second.max()]))  # enough to see a coarse step
        apart = np.diff(values)
        least = float(apart.min(initial=np.inf))
        step = float(apart[apart < 1.2 * least].mean()) if np.isfinite(least) else np.inf  # rounded to another lattice
        places = values / step
        found.append(np.abs(values).max() / step if np.abs(places - places.round()).max() < 0.1 else np.inf)
    return np.array(found, np.float32)


def _maxima(large: Samples, rate: int) -> Samples:
    """The largest of each second."""
    padded = np.pad(large, (0, -len(large) % rate))
    return padded.reshape(-1, rate).max(1)
