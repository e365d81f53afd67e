"""Clips that are there twice: the same text, or the same sound."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .shapes import KeptTake, VoiceTake
from .transcribe import plain

FIRMLY = 5.0
"""dB that the envelopes of two clips differ by on average, at most, where they are the same sound."""
LENGTHS = 0.35
"""Seconds by which their lengths may differ."""
SHIFT = 6
"""Frames of the envelope by which one of them may begin later."""
STEP, STEPS = 4, 3
"""Frames over which a band is seen to rise or fall, and how many such steps make a fingerprint."""
CANDIDATES, CROWD = 4, 64
"""Clips that another is compared with: those that share most fingerprints with it, of which each is that of so many
clips at most."""


def leave_out(takes: Sequence[VoiceTake]) -> int:
    """Of clips with the same text or the same sound, the cleanest stays. Returns how many sounds were compared, which
    is no more than CANDIDATES for each clip."""
    clips = sorted((take for take in takes if not take["reasons"]), key=lambda take: -(take["figures"]["snr"] or 0.0))
    kept: list[VoiceTake] = []
    having: dict[int, list[int]] = defaultdict(list)
    """Which of the kept clips have a fingerprint"""
    texts: set[str] = set()
    compared = 0
    for clip in clips:
        text = plain(clip["text"])
        marks = fingerprints(clip)
        shared = Counter(k for mark in marks if mark in having for k in having[mark])
        near = [kept[k] for k, _ in shared.most_common(CANDIDATES)]
        compared += len(near)
        if text in texts or any(same_sound(clip, other) for other in near):
            clip["reasons"] = ["duplicate"]
            clip["figures"] = clip["figures"] | {"duplicate": 1}
            continue
        for mark in marks:
            if len(having[mark]) < CROWD:
                having[mark].append(len(kept))
        kept.append(clip)
        if text:
            texts.add(text)
    return compared


def fingerprints(clip: KeptTake) -> list[int]:
    """What a sound has in common with its copies, whatever is before it, and however loud or how well kept they are:
    which of its bands, and which of their differences, rise and fall in each second or so."""
    bands = _envelope(clip)
    bands = np.concatenate([bands, np.diff(bands, axis=1)], 1)
    if len(bands) < 2 * STEP * STEPS:
        return []
    smooth = np.lib.stride_tricks.sliding_window_view(bands, STEP, axis=0).mean(-1)
    rises = smooth[STEP:] > smooth[:-STEP]
    last = len(rises) - STEP * (STEPS - 1)
    bits = np.concatenate([rises[STEP * k : STEP * k + last] for k in range(STEPS)], 1)
    return sorted({int(value) for value in bits @ (1 << np.arange(bits.shape[1]))})


def same_sound(one: KeptTake, other: KeptTake) -> bool:
    """Whether two clips are of the same sound."""
    if abs(_seconds(one) - _seconds(other)) > LENGTHS:
        return False
    a, b = _envelope(one), _envelope(other)
    for shift in range(-SHIFT, SHIFT + 1):
        first, second = a[max(0, shift) :], b[max(0, -shift) :]
        length = min(len(first), len(second))
        apart = first[:length] - second[:length]
        if np.abs(apart - np.median(apart)).mean() < FIRMLY:
            return True
    return False


def _envelope(clip: KeptTake) -> npt.NDArray[np.int64]:
    """dB in each band, (frames, bands)."""
    return np.array(clip.get("envelope")).reshape(-1, 4)


def _seconds(clip: KeptTake) -> float:
    return clip["figures"]["seconds"] or 0.0
