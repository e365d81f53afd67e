"""Duplicate clips: the same text, or the same sound."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .shapes import KeptTake, VoiceTake
from .transcribe import plain

FIRMLY = 5.0
"""dB by which the envelopes of two copies of a sound differ on average, at most."""
LENGTHS = 0.35
"""Seconds by which their lengths may differ."""
SHIFT = 6
"""Frames of the envelope by which one of them may begin later."""
STEP, STEPS = 4, 3
"""Frames over which the rise or fall of a band is measured, and steps of a fingerprint."""
CANDIDATES, CROWD = 4, 64
"""Number of clips that a clip is compared with, those that share most fingerprints; and most clips per fingerprint."""


def leave_out(takes: Sequence[VoiceTake]) -> int:
    """Rejects all but the cleanest of clips with the same text or the same sound. Returns how many sounds were
    compared, at most CANDIDATES for each clip."""
    passed = [take for take in takes if not take["reasons"]]
    clips = sorted(passed, key=lambda take: -(take["figures"]["snr"] or 0.0))
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
    """Hashes that a sound shares with its copies, independent of offset, loudness and quality: which of its bands, and
    of their differences, rise and fall within about a second."""
    bands = _envelope(clip)
    bands = np.concatenate([bands, np.diff(bands, axis=1)], 1)
    if len(bands) < 2 * STEP * STEPS:
        return []
    smooth = np.lib.stride_tricks.sliding_window_view(bands, STEP, axis=0).mean(-1)
    rises = smooth[STEP:] > smooth[:-STEP]
    last = len(rises) - STEP * (STEPS - 1)
    steps = [rises[STEP * k : STEP * k + last] for k in range(STEPS)]
    bits = np.concatenate(steps, 1)
    values = bits @ (1 << np.arange(bits.shape[1]))
    return sorted({int(value) for value in values})


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
