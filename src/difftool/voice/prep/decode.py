"""Recordings of any kind, decoded in a stream: mono float32 at RATE in a file beside, whatever their length."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torchaudio.functional import resample

from ...errors import DifftoolError, Exit, raise_what_ended
from ..sound import FILE, RATE, Samples, command_of

BLOCK = 30
"""Seconds that are in memory at a time."""
COARSE = 160
"""Levels on each side of zero under which a sound has too few."""
DEAD = -50.0
"""dB below the loudest channel at which another is taken for dead."""
OPPOSED = -0.9
"""Correlation at which two channels are one upside down, and would cancel each other."""
CONTEXT = 64
"""Samples of the lower rate on each side that the resampler's filter may reach; it has 6 zero crossings."""
LIMIT = 1e4
"""Times full scale that no sample of a sound goes beyond."""


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

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE


TICK = 0.02
"""Seconds of a value of `Recording.flat`."""


def decode(path: Path, to: Path) -> Recording:
    """Decodes any sound or video file that ffmpeg reads into `to`, raw float32 mono at RATE.

    Channels are averaged, but for dead ones, and of two that are each other upside down the first is taken; both are
    told in the warnings. Raises DifftoolError 4 where the file cannot be read or has no sound.
    """
    with _opened(path) as (_, rate, channels, blocks):
        if channels == 1:
            weights, warnings = np.ones(1, np.float32), []
        else:
            weights, warnings = _mix(blocks)
    flat, levels = [], []

    def mixed(blocks: Iterator[Samples]) -> Iterator[Samples]:
        for block in blocks:
            mono = block @ weights
            if not np.abs(mono).max(initial=0) < LIMIT:  # which NaN is not
                raise DifftoolError(Exit.FILE, f"{path} holds numbers that are no sound", "take another recording")
            flat.append(flat_tops(mono, rate))
            levels.append(steps(mono, rate))
            # of few levels, equal samples are nothing strange
            flat[-1][np.repeat(levels[-1] < COARSE, round(1 / TICK))[: len(flat[-1])]] = 0
            yield mono

    with _opened(path) as (told, _, _, blocks), to.open("wb") as file:
        for piece in resampled(mixed(blocks), rate, RATE):
            piece.tofile(file)
        if said := told():
            warnings.append(f"{path} is damaged in places: {said}")
    if not to.stat().st_size:
        raise DifftoolError(Exit.FILE, f"{path} holds no sound", "take another recording")
    return Recording(Stored(to), rate, channels, np.concatenate(flat), np.concatenate(levels), tuple(warnings))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, int, int, Iterator[Samples]]]:
    """Yields (what ffmpeg complained of at the end, samples a second, channels, blocks of (S, channels)) of a file."""
    import ffmpeg as build

    if not path.is_file():
        raise DifftoolError(Exit.FILE, f"there is no recording {path}", "see that the path is right")
    # the header of an .au file is the shortest that tells rate and channels
    out = build.input(FILE).output("pipe:", format="au", acodec="pcm_f32be", vn=None, map="0:a:0")
    command = [*command_of(out, path), "-nostdin", "-loglevel", "error"]
    with tempfile.TemporaryFile() as complaints:
        run = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        assert run.stdout is not None

        def told() -> str:
            run.wait()
            complaints.seek(0)
            lines = complaints.read().decode(errors="replace").strip().splitlines()
            return lines[-1].strip() if lines else ""

        try:
            head = run.stdout.read(24)
            if len(head) < 24:
                why = told() or "no sound in it"
                raise_what_ended(why)
                raise DifftoolError(Exit.FILE, f"{path} is no sound that can be read: {why}", "take another recording")
            start, _, _, rate, channels = struct.unpack(">5I", head[4:])
            run.stdout.read(start - 24)
            yield told, rate, channels, _blocks(run.stdout, rate, channels)
        finally:
            run.stdout.close()
            run.kill()
            run.wait()


def _blocks(stream: IO[bytes], rate: int, channels: int) -> Iterator[Samples]:
    size = 4 * channels * rate * BLOCK
    while data := stream.read(size):
        yield (
            np.frombuffer(data[: len(data) // (4 * channels) * 4 * channels], ">f4")
            .astype(np.float32)
            .reshape(-1, channels)
        )


def _mix(blocks: Iterator[Samples]) -> tuple[Samples, list[str]]:
    """What each channel counts for, and what is wrong with them."""
    energy, cross = 0.0, 0.0
    for block in blocks:
        wide = block.astype(np.float64)
        energy = energy + np.einsum("sc,sc->c", wide, wide)
        cross = cross + wide[:, 0] @ wide[:, 1]
    energy = np.atleast_1d(energy)
    loudest = max(float(energy.max(initial=0)), 1e-30)
    dead = energy < loudest * 10 ** (DEAD / 10)
    weights = np.where(dead, 0, 1 / max(1, (~dead).sum())).astype(np.float32)
    warnings = [f"channel {k + 1} of {len(energy)} is dead, and is left out" for k in np.flatnonzero(dead)]
    if len(energy) == 2 and not dead.any() and cross < OPPOSED * np.sqrt(energy.prod()):
        weights = np.array([1, 0], np.float32)
        warnings.append("channel 2 is channel 1 upside down: they would cancel each other, so only one is taken")
    return weights, warnings


def resampled(blocks: Iterator[Samples], own: int, rate: int) -> Iterator[Samples]:
    """The same sound at another rate, block by block as if it were one: torchaudio's windowed sinc."""
    if own == rate:
        yield from blocks
        return
    common = np.gcd(own, rate)
    down, up = int(own // common), int(rate // common)  # `down` samples become `up`
    margin = -(-CONTEXT * max(1, own // rate + 1) // down) * down
    held = np.zeros(margin, np.float32)  # as silence before the beginning
    for block in blocks:
        held = np.concatenate([held, block])
        fresh = (len(held) - 2 * margin) // down * down
        if fresh > 0:
            yield _middle(held[: fresh + 2 * margin], own, rate, margin * up // down)
            held = held[fresh:]
    left = len(held) - margin
    if left > 0:
        padded = np.concatenate([held, np.zeros(margin + -left % down, np.float32)])
        yield _middle(padded, own, rate, margin * up // down)[: -(-left * up // down)]


def _middle(sound: Samples, own: int, rate: int, edge: int) -> Samples:
    found = resample(torch.from_numpy(sound), own, rate).numpy()
    return found[edge : len(found) - edge]


def flat_tops(sound: Samples, rate: int) -> npt.NDArray[np.float32]:
    """Of each TICK, the share of samples in a run of three or more equal ones near the largest of the second."""
    size = max(1, round(TICK * rate))
    large = np.abs(sound)
    equal = np.abs(np.diff(sound, prepend=np.nan)) <= 1e-4 * large
    run = equal & np.roll(equal, -1)  # a middle of three
    run[-1:] = False
    run |= np.roll(run, 1) | np.roll(run, -1)
    near = large >= 0.8 * np.repeat(_maxima(large, rate), rate)[: len(sound)]
    hits = run & near & (large > 0.02)
    return _per(hits.astype(np.float32), size)


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


def _per(values: Samples, size: int) -> npt.NDArray[np.float32]:
    """The mean of each `size` values."""
    padded = np.pad(values, (0, -len(values) % size))
    return padded.reshape(-1, size).mean(1).astype(np.float32)
