"""The teacher's utterances as arrays to train on, FOLDER/packed: sounds.i16, rows.npz, and mels8.f16 to mels12.f16."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from plan import check_time
from torchaudio.functional import resample

from difftool.errors import DifftoolError, Exit
from difftool.nets.mini.mel import mel
from difftool.nets.spectrum import HOP, MELS, RATE

FRAME, HALF = 600, 300
"""Samples of a frame of the teacher's durations, and of a value of its pitch."""
FACTORS = (8, 9, 10, 11, 12)
"""Resampled to 10 / this of the length, so that pitch and formants move together: five speakers of each."""
HELD_OUT = 64
"""The last utterances, which the losses are reported for."""
LOUDEST = 32768
UNVOICED = 40
"""Hz: lower pitches are the teacher's for unvoiced sound."""


class Rows(NamedTuple):
    """N utterances."""

    sounds: npt.NDArray[np.int16]
    """All of them, one after another, at RATE"""
    starts: npt.NDArray[np.int64]
    """(N + 1,) where each begins, in values of the pitch"""
    pitch: npt.NDArray[np.float16]
    """Hz of all, 0 where unvoiced"""
    tokens: list[npt.NDArray[np.uint8]]
    """(P,) numbers of the phonemes of each"""
    durations: list[npt.NDArray[np.int16]]
    """(P + 2,) frames of silence before, of each phoneme, and of silence after"""
    speakers: npt.NDArray[np.int64]
    """(N,), rising"""

    @property
    def samples(self) -> npt.NDArray[np.int64]:
        """(N,) samples of each."""
        return np.diff(self.starts) * HALF


def pack(folder: Path, end: float) -> None:
    """The stage: joins the utterances."""
    out = packed(folder)
    out.mkdir(exist_ok=True)
    columns: dict[str, list[np.ndarray]] = {"tokens": [], "durations": [], "pitch": []}
    speakers = []
    with (out / "sounds.tmp").open("wb") as sounds:
        for path in sorted((folder / "utterances").glob("*.npz")):
            check_time(end)
            with np.load(path) as row:
                if len(row["sound"]) != HALF * len(row["pitch"]):
                    hint = "delete it, and FOLDER/done/speak, and repeat"
                    raise DifftoolError(Exit.FILE, f"{path} has a sound and a pitch of different lengths", hint)
                sounds.write(row["sound"].tobytes())
                for name, parts in columns.items():
                    parts.append(row[name])
                speakers.append(int(row["speaker"]))
    if not speakers:
        raise DifftoolError(Exit.FILE, f"{folder / 'utterances'} has no utterances", "run the stage speak first")
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    counts = {"tokens_per_row": columns["tokens"], "frames_per_row": columns["pitch"]}
    lengths = {name: np.array([*map(len, parts)]) for name, parts in counts.items()}
    np.savez(out / "rows.tmp.npz", **joined, **lengths, speakers=np.array(speakers))
    (out / "rows.tmp.npz").replace(out / "rows.npz")
    (out / "sounds.tmp").replace(out / "sounds.i16")
    hours = len(joined["pitch"]) * HALF / RATE / 3600
    print(f"{len(speakers):,} utterances, {hours:.2f} h", flush=True)


def mels(folder: Path, end: float) -> None:
    """The stage: the log mel spectrograms, (frames, MELS) in halves, of all utterances at every factor."""
    rows = rows_of(packed(folder))
    for factor in FACTORS:
        path = mels_path(packed(folder), factor)
        if path.exists():
            continue
        part = path.with_suffix(".tmp")
        with part.open("wb") as file:
            for first, last in pairwise(rows.starts * HALF):
                check_time(end)
                logs = mel(resampled(rows.sounds[first:last], factor))
                logs = logs[:, : frames_of(last - first, factor)]
                file.write(logs.T.numpy().astype(np.float16).tobytes())
        part.replace(path)
        print(path, flush=True)


def packed(folder: Path) -> Path:
    """Where the arrays are."""
    return folder / "packed"


def mels_path(packed: Path, factor: int) -> Path:
    """The file of the spectrograms at a factor."""
    return packed / f"mels{factor}.f16"


def rows_of(packed: Path) -> Rows:
    """Opens the packed utterances. Raises DifftoolError 4 if there are none."""
    if not (packed / "rows.npz").exists():
        raise DifftoolError(Exit.FILE, f"{packed} has no packed utterances", "run the stages speak and pack first")
    sounds = np.memmap(packed / "sounds.i16", np.int16, "r")
    with np.load(packed / "rows.npz") as rows:
        starts = np.concatenate([[0], np.cumsum(rows["frames_per_row"])])
        counts = rows["tokens_per_row"]
        tokens = np.split(rows["tokens"], counts.cumsum()[:-1])
        durations = np.split(rows["durations"], (counts + 2).cumsum()[:-1])
        return Rows(sounds, starts, rows["pitch"], tokens, durations, rows["speakers"])


def resampled(sound: npt.NDArray[np.int16], factor: int) -> torch.Tensor:
    """A sound (S,) at a factor, (about 10 S / factor,) in [-1, 1]."""
    return resample(torch.from_numpy(sound.astype(np.float32) / LOUDEST), factor, 10)


def frames_of(samples: int | npt.NDArray[np.int64], factor: int) -> int | npt.NDArray[np.int64]:
    """Whole frames of the spectrogram of so many samples at a factor."""
    return samples * 10 // factor // HOP


def mels_of(packed: Path, factor: int) -> npt.NDArray[np.float16]:
    """(frames, MELS), the spectrograms of all utterances at a factor. Raises DifftoolError 4 if there are
    none."""
    path = mels_path(packed, factor)
    if not path.exists():
        raise DifftoolError(Exit.FILE, f"{path} is missing", "run the stage mels first")
    return np.memmap(path, np.float16, "r").reshape(-1, MELS)


def hertz_of(pitch: npt.NDArray[np.float16], frames: int, factor: int) -> npt.NDArray[np.float32]:
    """(frames,) Hz of frames of HOP samples at a factor, 0 where unvoiced, from the values of an utterance."""
    centres = np.arange(frames) * HOP * factor / 10 / HALF
    nearest = np.round(centres - 0.5).clip(0).astype(int)
    inside = nearest < len(pitch)
    hertz = np.where(inside, pitch[nearest * inside].astype(np.float32), 0) * factor / 10
    return np.where(hertz > UNVOICED, hertz, 0).astype(np.float32)


def picked(draw: float, count: int) -> int:
    """Which of `count` things a number in (0, 1] stands for."""
    return min(int(draw * count), count - 1)
