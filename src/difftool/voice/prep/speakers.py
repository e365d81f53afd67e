"""Who speaks in a recording: speech told apart by voiceprints, and which of the speakers is the owner of a voice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...audio.files import RATE, read_sound
from ..identity import Voiceprint, averaged, voiceprint
from .clips import Take
from .cut import Unit
from .shapes import VoiceTake

REASON = "other_speaker"
LEAST = 1.6
"""Minimum seconds of speech that tell speakers apart; the voiceprint of less is too uncertain."""
ALIKE, BRIEFLY_ALIKE, BRIEF = 0.82, 0.75, 6.0
"""Likeness below which two groups of units are two speakers; the same where one of them has fewer seconds than BRIEF.
None of 31 speakers, 23 of them people, is divided by these; of their 465 pairs 462 are."""
MOST_UNITS = 4000
"""Units that are grouped; of a longer recording every second, or third, and so on."""
MOST_CLIPS = 24
"""Clips of an existing voice that tell its owner."""
SCALE = 1000
"""Voiceprints are stored in whole numbers."""


def told_apart(units: Sequence[Unit], takes: Sequence[Take], print_of: Callable[[Unit], Voiceprint]) -> list[Unit]:
    """Units with the number of their speaker, by those in clips: speech that fails a gate may only sound like somebody
    else. The same units where there is one speaker."""
    clips = [take for take in takes if not take.reasons]
    clean = [unit for take in clips for unit in take.units if unit.end - unit.start >= LEAST]
    clean = clean[:: len(clean) // MOST_UNITS + 1]
    if len(clean) < 2:
        return list(units)
    speakers = speakers_of(np.stack([print_of(unit) for unit in clean]), [unit.end - unit.start for unit in clean])
    if len(speakers) < 2:
        return list(units)
    return [unit._replace(speaker=int((speakers @ print_of(unit)).argmax())) for unit in units]


def speakers_of(prints: npt.NDArray[np.float32], seconds: Sequence[float]) -> npt.NDArray[np.float32]:
    """The voiceprints of the speakers (K, 256) of speech with these voiceprints (U, 256) and lengths."""
    from scipy.cluster.hierarchy import fcluster, linkage

    groups = fcluster(linkage(prints, "average", "cosine"), 1 - ALIKE, "distance")
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    lengths = np.asarray(seconds)
    while True:
        means = np.stack([averaged(prints[group], lengths[group]) for group in members])
        is_brief = np.array([lengths[group].sum() < BRIEF for group in members])
        bounds = np.where(is_brief[:, None] | is_brief, BRIEFLY_ALIKE, ALIKE)
        closeness = np.triu(means @ means.T - bounds + 2, 1)  # above 2 for two groups of one speaker
        a, b = np.unravel_index(closeness.argmax(), closeness.shape)
        if closeness[a, b] < 2:
            return means
        members[a] = np.concatenate([members[a], members.pop(b)])


def leave_out(takes: Sequence[VoiceTake], known: Voiceprint | None) -> None:
    """Rejects the takes of all speakers of a recording but the owner of the voice: the one most like `known`, or where
    that is None, the one with most speech in all recordings."""
    clips: dict[tuple[str, int], list[VoiceTake]] = defaultdict(list)
    for take in takes:
        if "voiceprint" in take and not take["reasons"]:
            clips[take["source"], take.get("speaker", 0)].append(take)
    speakers = {key: _mean(group) for key, group in clips.items()}
    if not speakers:
        return
    owner = _owner(speakers, clips) if known is None else known
    ordered = sorted(speakers, key=lambda key: float(speakers[key] @ owner))
    own = dict(ordered)  # of each recording the last one, which is the most alike
    for take in takes:
        speaker = take.get("speaker")
        if speaker is not None and speaker != own.get(take["source"], speaker):
            take["reasons"] = [REASON, *take["reasons"]]
            take["figures"] = take["figures"] | {REASON: 1}


def _owner(speakers: dict[tuple[str, int], Voiceprint], clips: dict[tuple[str, int], list[VoiceTake]]) -> Voiceprint:
    """The voiceprint of the speaker with most speech."""

    def support(key: tuple[str, int]) -> float:
        alike = [other for other in speakers if other == key or speakers[other] @ speakers[key] >= BRIEFLY_ALIKE]
        return sum(take["end"] - take["start"] for other in alike for take in clips[other])

    return speakers[max(speakers, key=support)]


def rate(takes: Sequence[VoiceTake]) -> None:
    """Adds to each take how alike it is to the owner of the voice, who speaks in those without a reason."""
    clips = [take for take in takes if "voiceprint" in take and not take["reasons"]]
    if clips:
        owner = _mean(clips)
        for take in takes:
            if "voiceprint" in take:
                likeness = round(float(restored(take) @ owner), 3)
                take["figures"] = take["figures"] | {"likeness": likeness}


def _mean(takes: Sequence[VoiceTake]) -> Voiceprint:
    return averaged([restored(take) for take in takes], [take["end"] - take["start"] for take in takes])


def stored(print_: Voiceprint) -> list[int]:
    """A voiceprint in JSON."""
    return np.round(print_ * SCALE).astype(int).tolist()


def restored(take: VoiceTake) -> Voiceprint:
    """The voiceprint of a take."""
    values = np.array(take.get("voiceprint", ()), np.float32)
    return averaged(values[None])


def of_clips(paths: Sequence[Path]) -> Voiceprint | None:
    """The voiceprint of clips; None where there are none."""
    some = paths[:: len(paths) // MOST_CLIPS + 1]
    return averaged([voiceprint(read_sound(path, RATE)) for path in some]) if some else None
