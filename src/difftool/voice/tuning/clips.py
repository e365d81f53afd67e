"""The clips of a voice as they are learned from: with their texts, and some of them set aside."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from ...audio.files import RATE, read_sound
from ...core.noise import keys, uniform
from ...errors import DifftoolError, Exit
from ...files import digest_of, read_json
from ...limits import counted
from ..export import texts_of
from ..library import LEARNED, Voice
from . import Clip, Clips

HELD_OUT, LEAST_HELD, MOST_HELD = 0.05, 4, 0.2
"""Share of the clips that is set aside, at least how many, and the share up to which whole recordings are."""
FEWEST = 12
"""Fewest clips to learn from."""
SHORTEST = 0.6
"""Seconds of a clip: a shorter one ends before the voice can be heard."""
NO_TEXT = "it has no text"
SEED = 0
"""Decides what is set aside: the same for runs of all seeds, so that their losses compare."""


def clips_of(voice: Voice, unusable: Callable[[Clip], str | None]) -> tuple[list[Clip], dict[str, str]]:
    """The clips of a voice that voice prep made, and those that cannot be learned from: the reason by name. Raises
    DifftoolError 4 where they have no texts, or are too few."""
    sources = _sources(voice)
    clips: list[Clip] = []
    texts, first = texts_of(voice), dict[str, str]()
    left_out = {path.stem: NO_TEXT for path in voice.folder.glob("clips/*.wav") if path.stem not in texts}
    for name, (_, text) in texts.items():
        path = voice.folder / "clips" / f"{name}.wav"
        if not path.is_file():
            left_out[name] = "the file is missing"
            continue
        try:
            seconds = len(read_sound(path, RATE)) / RATE
        except DifftoolError as error:
            left_out[name] = error.message
            continue
        clip = Clip(name, path, text.strip(), seconds, sources.get(name, ""))
        # a copy that is held out would be known by heart
        if (twin := first.setdefault(digest_of(path), name)) != name:
            left_out[name] = f"it repeats {twin}"
        elif reason := _too_little(clip) or unusable(clip):
            left_out[name] = reason
        else:
            clips.append(clip)
    if len(clips) < FEWEST:
        message = f"the voice {voice.name!r} has only {counted(len(clips), 'clip')} to learn from"
        if left_out:
            reason, count = Counter(left_out.values()).most_common(1)[0]
            message += f"; {counted(count, 'more clip')} left out: {reason}"
        hint = f"add recordings with difftool voice prep; it takes at least {FEWEST} clips, better 100"
        raise DifftoolError(Exit.FILE, message, hint)
    return clips, left_out


def _too_little(clip: Clip) -> str | None:
    """Why a clip says too little for any engine."""
    if not clip.text:
        return NO_TEXT
    return f"it is shorter than {SHORTEST:g} s" if clip.seconds < SHORTEST else None


def _sources(voice: Voice) -> Mapping[str, str]:
    """The recording of each clip; none where report.json is missing or damaged."""
    try:
        takes = read_json(voice.folder / "report.json")["takes"]
        return {take["id"]: str(take["source"]) for take in cast(Sequence[Mapping[str, str]], takes) if "id" in take}
    except (DifftoolError, KeyError, TypeError, AttributeError):
        return {}


def split(clips: Sequence[Clip]) -> Clips:
    """Sets clips aside: whole recordings, where some are small enough, else single clips."""
    least = max(LEAST_HELD, math.ceil(HELD_OUT * len(clips)))
    most = max(least, int(MOST_HELD * len(clips)))
    sizes = Counter(clip.source for clip in clips)
    held: set[str] = set()
    for source in _shuffled(sorted(sizes)):
        chosen = {clip.name for clip in clips if clip.source == source}
        if len(held) < least and len(held) + len(chosen) <= most:
            held |= chosen
    for name in _shuffled([clip.name for clip in clips if clip.name not in held]):
        if len(held) < least:
            held.add(name)
    train = [clip for clip in clips if clip.name not in held]
    return Clips(train, [clip for clip in clips if clip.name in held])


def _shuffled(names: list[str]) -> list[str]:
    order = uniform(keys([SEED]), 0, 0, max(len(names), 1))[0].argsort().tolist()
    return [names[k] for k in order[: len(names)]]


def hashes(voice: Voice) -> dict[str, str]:
    """The hash of each clip of a voice and its text, by name; none where they have no texts."""
    try:
        texts = texts_of(voice)
    except DifftoolError:
        return {}
    paths = {name: voice.folder / "clips" / f"{name}.wav" for name in texts}
    pairs = {name: f"{digest_of(path)}|{texts[name][1].strip()}" for name, path in paths.items() if path.is_file()}
    return {name: hashlib.sha256(pair.encode()).hexdigest() for name, pair in pairs.items()}


def changes_since(voice: Voice, weights: Path) -> str:
    """What became of the clips of a voice since these weights were learned from them, in words; empty where nothing is
    known of it, or nothing changed."""
    try:
        before = read_json(weights.with_name(LEARNED))
    except DifftoolError:
        return ""
    now = hashes(voice)
    counts = {
        "added": len(now.keys() - before.keys()),
        "edited": sum(now[name] != before[name] for name in now.keys() & before.keys()),
        "removed": len(before.keys() - now.keys()),
    }
    return ", ".join(f"{counted(count, 'clip')} {verb}" for verb, count in counts.items() if count)


def fingerprint(clips: Clips) -> str:
    """Hash of all clips and their texts, and of what is set aside."""
    every = hashlib.sha256()
    for part in clips:
        for clip in part:
            every.update(f"{digest_of(clip.path)}|{clip.text}\n".encode())
        every.update(b"\n")
    return every.hexdigest()
