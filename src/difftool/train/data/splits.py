"""What file names mean: which pictures are held out, and which class a picture belongs to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ...errors import DifftoolError, Exit
from .decode import some

TRAIN, HELD = ("train", "training"), ("test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation")
FOLDER = re.compile(
    rf"(?:(?P<train>{'|'.join(TRAIN)})|(?:{'|'.join(HELD)}))(?:[-_ ]?(?:set|data|images|imgs|split|20\d\d))?"
)
"""Folders that are parts of a data set, in lower case: train, test, val2017, training_set; not contest."""
WORD = re.compile(rf"(?<![a-z])(?:(?P<train>{'|'.join(TRAIN)})|(?:{'|'.join(HELD)}|t10k))(?=images|labels|[^a-z]|$)")
"""The same as a word in the name of a file of many pictures."""
WITHIN = re.compile(rf"(?<![A-Za-z])(?i:(?P<train>{'|'.join(TRAIN)})|(?:{'|'.join(HELD)}))(?![a-z])")
"""The same as a word in the name of a folder, which counts only beside its counterpart: testA and trainA."""


class Places(NamedTuple):
    """The parts and classes that folders stand for."""

    held: set[str]
    """Names of the held-out pictures."""
    classes: dict[str, str]
    """The class of each picture by its name; empty without classes."""
    left_out: set[str]
    """Names of pictures outside the parts or classes."""
    notes: tuple[str, ...]
    """Notes for the user."""


def for_test(name: str) -> bool:
    """Whether a file of many pictures is the test part: by its own name, or else by its folders."""
    path = PurePosixPath(name.lower())
    if match := WORD.search(path.name):
        return match["train"] is None
    for part in reversed(path.parts[:-1]):
        if match := FOLDER.fullmatch(part.removeprefix("partial-")):
            return match["train"] is None
    return False


def places(names: Collection[str], noun: str = "picture") -> Places:
    """What the folders of pictures or sounds stand for. Folders called train, test or val are parts of the set; if the
    items, or most of them, lie in two or more other folders, those are classes. Raises DifftoolError 4 for several test
    parts without a training part."""
    # 1. the folders that are parts
    paths: dict[str, tuple[str, ...]] = {name: PurePosixPath(name).parts[:-1] for name in names}
    shared = _shared(paths.values())
    paths = {name: path[len(shared) :] for name, path in paths.items()}
    parts = _parts(paths.values())
    held = _depths(paths, parts, held=True)
    notes = [f"{part} is the only part, and is used for training" for part in shared if _is_held(part)]
    words = " and ".join(sorted({paths[name][depth] for name, depth in held.items()}))
    if held and len(held) == len(paths):
        message = f"it has the parts {words}, but no training part"
        raise DifftoolError(Exit.FILE, message, "pass the folder of the part to train on")
    # 2. the folders of parts taken out of the paths
    left_out: set[str] = set()
    if held:
        rest = {name: path for name, path in paths.items() if name not in held}
        trained = _depths(rest, parts, held=False)
        if trained:
            left_out = {name for name in rest if name not in trained}
            if left_out:
                notes.append(f"{some(sorted(left_out), noun)} left out: not in any part of the data set")
        else:
            notes.append(f"{words} is used as the held-out part, not as a class")
        for name, depth in (held | trained).items():
            above, below = paths[name][:depth], paths[name][depth + 1 :]
            part = parts[paths[name][: depth + 1]]
            paths[name] = (*above, part.more, *below) if part.more else (*above, *below)
    elif any(_is_train(path[0]) for path in paths.values() if path):
        notes.append("the folder train is used as a class, because there is no test part beside it")
    # 3. the folders that are classes
    train = {name: path for name, path in paths.items() if name not in held and name not in left_out}
    shared = _shared(train.values())
    below_shared = {name: path[len(shared) :] for name, path in train.items()}
    classes, loose, more = _classes(below_shared, noun)
    if classes:
        known = {*classes.values()}
        classes |= {name: next((part for part in paths[name] if part in known), "") for name in held}
    return Places({*held}, classes, left_out | loose, (*notes, *more))


class _Part(NamedTuple):
    """A folder that is a part of a data set."""

    held: bool
    more: str
    """The rest of its name."""


def _parts(paths: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], _Part]:
    """The folders that are parts, by their paths: by the whole name, or by a word in it if a folder beside it names the
    other part in the same way."""
    folders = {path[: k + 1] for path in paths for k in range(len(path))}
    parts: dict[tuple[str, ...], _Part] = {}
    pairs: dict[tuple[Any, str], dict[tuple[str, ...], _Part]] = {}
    for folder in folders:
        name = folder[-1]
        if match := FOLDER.fullmatch(name.lower()):
            part = parts[folder] = _Part(match["train"] is None, "")
        elif match := WITHIN.search(name):
            rest = name[: match.start()] + name[match.end() :]
            part = _Part(match["train"] is None, rest.strip("-_ 0123456789"))
        else:
            continue
        pair = pairs.setdefault((folder[:-1], part.more.lower()), {})
        pair[folder] = part
    for pair in pairs.values():
        if len({part.held for part in pair.values()}) == 2:
            parts |= pair
    return parts


def _depths(paths: dict[str, tuple[str, ...]], parts: dict[tuple[str, ...], _Part], *, held: bool) -> dict[str, int]:
    """For pictures inside a part of that kind: which of their folders is the first such part."""
    depths: dict[str, int] = {}
    for name, path in paths.items():
        for k in range(len(path)):
            part = parts.get(path[: k + 1])
            if part is not None and part.held == held:
                depths[name] = k
                break
    return depths


def _classes(paths: dict[str, tuple[str, ...]], noun: str) -> tuple[dict[str, str], set[str], list[str]]:
    """(classes by name, pictures left out, notes) of the part to train on."""
    loose = {name for name, path in paths.items() if not path}
    counts = Counter(path[0] for path in paths.values() if path)
    if len(counts) < 2:
        return {}, set(), []
    if 2 * len(loose) >= len(paths):
        note = f"{len(loose):,} {noun}s are outside the {len(counts)} folders, so the folders are not used as classes"
        return {}, set(), [f"{note}; move the {noun}s into folders to use labels"]
    notes = [f"{some(sorted(loose), noun)} left out: outside the class folders"] if loose else []
    return {name: path[0] for name, path in paths.items() if path}, loose, notes


def _shared(paths: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """The nested folders that all pictures lie in, except for a few beside a folder that is not a test part."""
    shared: tuple[str, ...] = ()
    while True:
        depth = len(shared)
        below = Counter(path[: depth + 1] for path in paths if len(path) > depth)
        most = 2 * below.total() > len(paths)
        if len(below) != 1 or not most:
            return shared
        ((folder, count),) = below.items()
        if count < len(paths) and _is_held(folder[-1]):
            return shared
        shared = folder


def _is_held(part: str) -> bool:
    found = FOLDER.fullmatch(part.lower())
    return found is not None and found["train"] is None


def _is_train(part: str) -> bool:
    found = FOLDER.fullmatch(part.lower())
    return found is not None and found["train"] is not None
