"""Reference clips for Tortoise: six seconds each, dense, clean, equally loud, and from different places."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchaudio.functional import resample

from ...audio.files import RATE, Samples, read_sound
from ...audio.loudness import normalised
from ...nets.tortoise.mel import CODE_HZ
from .shapes import VoiceTake

LENGTH = 132_300
"""Samples at CODE_HZ, 6 s: the length that Tortoise's decoder uses."""
FIRST = 102_400 / RATE
"""Seconds from the start that its diffusion uses."""
COUNT = 4
APART = 30.0
"""Preferred seconds between two references from the same recording."""
TICK = 0.05
"""Seconds between starts that are tried."""
QUIET = -30.0
"""dB below the loud parts of a clip at which it counts as silent."""
SECONDS = LENGTH / CODE_HZ
TYPICAL = 10.0
"""Weight of the likeness to the voice: 0.02 of it are worth as much as 0.2 of density."""


class Reference(NamedTuple):
    """A stretch of a clip."""

    clip: int
    """Index of the clip"""
    start: float
    """Seconds from the start of the clip"""
    score: float


def choose_references(clips: Sequence[VoiceTake], paths: Sequence[Path]) -> list[Reference]:
    """The best COUNT stretches of clips, best first."""
    candidates = [_best(k, clip, path) for k, (clip, path) in enumerate(zip(clips, paths, strict=True))]
    chosen: list[Reference] = []

    def is_near(reference: Reference, distance: float) -> bool:
        """Whether a chosen reference is from the same place."""
        clip = clips[reference.clip]
        others = [clips[other.clip] for other in chosen]
        same = [other for other in others if other["source"] == clip["source"]]
        return any(abs(clip["start"] - other["start"]) < distance for other in same)

    for distance in (APART, 0.0):
        for reference in sorted(candidates, key=_rank):
            is_new = reference not in chosen and not is_near(reference, distance)
            if is_new and len(chosen) < COUNT:
                chosen.append(reference)
    return sorted(chosen, key=_rank)


def _rank(reference: Reference) -> tuple[float, int]:
    return -reference.score, reference.clip


def _best(number: int, clip: VoiceTake, path: Path) -> Reference:
    sound = read_sound(path, RATE)
    figures = clip["figures"]
    tick = round(TICK * RATE)
    ticks = sound[: len(sound) // tick * tick].astype(np.float64)
    power = (ticks**2).reshape(-1, tick).mean(1)
    is_loud = power > np.percentile(power, 95) * 10 ** (QUIET / 10)
    counts = np.concatenate([[0], np.cumsum(is_loud)])
    first, whole = round(FIRST / TICK), round(SECONDS / TICK)
    starts = np.arange(max(1, len(power) - whole + 1))

    def share(length: int) -> np.ndarray:
        """Share of loud ticks in a stretch from each start."""
        ends = np.minimum(starts + length, len(power))
        return (counts[ends] - counts[starts]) / length

    density = 0.7 * share(first) + 0.3 * share(whole)
    start = int(density.argmax())
    # 20 dB of noise are worth as much as a tenth of density, and so is a far lower voice
    snr, decay = figures["snr"] or 0.0, figures["decay"] or 0
    clean = min(snr, 50) / 200 + min(decay, 300) / 3000
    amplitude = max(float(np.sqrt(power.mean())), 1e-6)
    loud = -abs(min(0.0, 20 * np.log10(amplitude) + 24)) / 100
    is_full = (figures["seconds"] or 0.0) >= SECONDS
    alike = TYPICAL * (figures.get("likeness") or 0.0)
    score = float(density[start]) + clean + loud + is_full + alike
    return Reference(number, round(start * TICK, 3), round(score, 4))


def cut(path: Path, start: float) -> Samples:
    """LENGTH samples at CODE_HZ of a clip, padded with silence."""
    first = round(start * RATE)
    sound = read_sound(path, RATE)[first : first + round(SECONDS * RATE)]
    resampled = resample(torch.from_numpy(normalised(sound)), RATE, CODE_HZ).numpy()[:LENGTH]
    return np.pad(resampled, (0, LENGTH - len(resampled)))
