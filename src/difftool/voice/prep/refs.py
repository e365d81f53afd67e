"""Reference clips for Tortoise: six seconds each, dense, clean, alike in loudness, and from different places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchaudio.functional import resample

from ...audio.files import RATE, Samples, read
from ...audio.loudness import normalised
from ...nets.tortoise.mel import CODE_HZ
from .shapes import VoiceTake

LENGTH = 132_300
"""Samples at CODE_HZ, 6 s: of so many Tortoise's decoder hears all."""
FIRST = 102_400 / RATE
"""Seconds that its diffusion hears, from the start."""
COUNT = 4
APART = 30.0
"""Seconds between two from the same recording, where there is a choice."""
TICK = 0.05
"""Seconds from one start that is tried to the next."""
QUIET = -30.0
"""dB below the loud parts of a clip at which it is silent."""
SECONDS = LENGTH / CODE_HZ


class Reference(NamedTuple):
    """A stretch of a clip."""

    clip: int
    """Which, of those it was chosen from"""
    start: float
    """Seconds from the start of the clip"""
    score: float


def choose(clips: Sequence[VoiceTake], paths: Sequence[Path]) -> list[Reference]:
    """The best COUNT stretches of clips, best first. A clip tells its source, start and figures."""
    found = sorted((_best(k, clip, path) for k, (clip, path) in enumerate(zip(clips, paths, strict=True))), key=_rank)
    chosen: list[Reference] = []
    for apart in (APART, 0.0):
        for one in found:
            near = any(
                clips[one.clip]["source"] == clips[other.clip]["source"]
                and abs(clips[one.clip]["start"] - clips[other.clip]["start"]) < apart
                for other in chosen
            )
            if len(chosen) < COUNT and one not in chosen and not near:
                chosen.append(one)
    return sorted(chosen, key=_rank)


def _rank(one: Reference) -> tuple[float, int]:
    return -one.score, one.clip


def _best(number: int, clip: VoiceTake, path: Path) -> Reference:
    sound = read(path, RATE)
    figures = clip["figures"]
    tick = round(TICK * RATE)
    power = (sound[: len(sound) // tick * tick].astype(np.float64) ** 2).reshape(-1, tick).mean(1)
    dense = np.concatenate([[0], np.cumsum(power > np.percentile(power, 95) * 10 ** (QUIET / 10))])
    first, whole = round(FIRST / TICK), round(SECONDS / TICK)
    starts = np.arange(max(1, len(power) - whole + 1))

    def share(length: int) -> np.ndarray:
        return (dense[np.minimum(starts + length, len(power))] - dense[starts]) / length

    density = 0.7 * share(first) + 0.3 * share(whole)
    start = int(density.argmax())
    # 20 dB of noise more or less are worth as much as a tenth of density, and so is a far lower voice
    clean = min(figures["snr"] or 0.0, 50) / 200 + min(figures["decay"] or 0, 300) / 3000
    loud = -abs(min(0.0, 20 * np.log10(max(float(np.sqrt(power.mean())), 1e-6)) + 24)) / 100
    whole_one = (figures["seconds"] or 0.0) >= SECONDS
    return Reference(number, round(start * TICK, 3), round(float(density[start]) + clean + loud + whole_one, 4))


def cut(path: Path, start: float) -> Samples:
    """LENGTH samples at CODE_HZ of a clip; silence where it ends before."""
    first = round(start * RATE)
    sound = read(path, RATE)[first : first + round(SECONDS * RATE)]
    made = resample(torch.from_numpy(normalised(sound)), RATE, CODE_HZ).numpy()[:LENGTH]
    return np.pad(made, (0, LENGTH - len(made)))
