"""What the names of files say: which are for judging, and which class a picture is of."""

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
"""Names of folders that are parts of a data set, in lower case: train, test, val2017, training_set; not contest."""
WORD = re.compile(rf"(?<![a-z])(?:(?P<train>{'|'.join(TRAIN)})|(?:{'|'.join(HELD)}|t10k))(?=images|labels|[^a-z]|$)")
"""The same as a word in the name of a file that holds many pictures."""
WITHIN = re.compile(rf"(?<![A-Za-z])(?i:(?P<train>{'|'.join(TRAIN)})|(?:{'|'.join(HELD)}))(?![a-z])")
"""The same as a word in the name of a folder, which says so only beside its counterpart: testA and trainA."""


class Places(NamedTuple):
    """Where pictures lie."""

    held: set[str]
    """Names of those for judging."""
    classes: dict[str, str]
    """By name the class of each; empty where there are no classes."""
    left_out: set[str]
    """Names of those that have no place among the others."""
    notes: tuple[str, ...]
    """What a person should know of it."""


def for_test(name: str) -> bool:
    """Whether a file of many pictures is the test part: by its own name, or else by the folders it lies in."""
    path = PurePosixPath(name.lower())
    if found := WORD.search(path.name):
        return found["train"] is None
    folders = [FOLDER.fullmatch(part.removeprefix("partial-")) for part in path.parts[:-1]]
    found = next((one for one in reversed(folders) if one), None)
    return found is not None and found["train"] is None


def places(names: Collection[str]) -> Places:
    """Of pictures by the folders they lie in. Folders called train, test or val are parts of the set; if the rest of
    the folders, or most pictures, lie in two or more folders, those are classes. Raises DifftoolError 4 where only
    several parts for judging are there."""
    paths: dict[str, tuple[str, ...]] = {name: PurePosixPath(name).parts[:-1] for name in names}
    shared = _shared(paths.values())
    paths = {name: path[len(shared) :] for name, path in paths.items()}
    parts = _parts(paths.values())
    held = {name: k for name, path in paths.items() if (k := _first(path, parts, held=True)) is not None}
    notes = [f"there is only the part {part} here, and it is learned" for part in shared if _is_held(part)]
    words = " and ".join(sorted({paths[name][k] for name, k in held.items()}))
    if held and len(held) == len(paths):
        what = f"it has the parts {words}, and none to train on"
        raise DifftoolError(Exit.FILE, what, "name the folder of the part that is to be learned")
    left_out: set[str] = set()
    if held:
        rest = {name: _first(path, parts, held=False) for name, path in paths.items() if name not in held}
        if any(k is not None for k in rest.values()):
            left_out = {name for name, k in rest.items() if k is None}
            notes += [f"{some(sorted(left_out), 'picture')} left out: in no part of the set"] if left_out else []
        else:
            notes.append(f"{words} is taken for the part to judge by, not for a class")
        for name, k in (held | rest).items():
            if k is not None:
                path = paths[name]
                paths[name] = (*path[:k], *filter(None, [parts[path[: k + 1]].more]), *path[k + 1 :])
    elif any(_is_train(path[0]) for path in paths.values() if path):
        notes.append("the folder train is taken for a class: there is no part to judge by beside it")
    train = {name: path for name, path in paths.items() if name not in held and name not in left_out}
    shared = _shared(train.values())
    classes, loose, more = _classes({name: path[len(shared) :] for name, path in train.items()})
    if classes:
        found = {*classes.values()}
        classes |= {name: next((part for part in paths[name] if part in found), "") for name in held}
    return Places({*held}, classes, left_out | loose, (*notes, *more))


class _Part(NamedTuple):
    """A folder that is a part of a data set."""

    held: bool
    more: str
    """What its name says besides."""


def _parts(paths: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], _Part]:
    """The folders that are parts, by where they lie: by their whole name, or by a word in it where another folder
    beside them says the same of the other part."""
    folders = {path[: k + 1] for path in paths for k in range(len(path))}
    parts: dict[tuple[str, ...], _Part] = {}
    pairs: dict[tuple[Any, str], dict[tuple[str, ...], _Part]] = {}
    for folder in folders:
        name = folder[-1]
        if found := FOLDER.fullmatch(name.lower()):
            part = parts[folder] = _Part(found["train"] is None, "")
        elif found := WITHIN.search(name):
            more = (name[: found.start()] + name[found.end() :]).strip("-_ 0123456789")
            part = _Part(found["train"] is None, more)
        else:
            continue
        pairs.setdefault((folder[:-1], part.more.lower()), {})[folder] = part
    for pair in pairs.values():
        if len({part.held for part in pair.values()}) == 2:
            parts |= pair
    return parts


def _first(path: tuple[str, ...], parts: dict[tuple[str, ...], _Part], *, held: bool) -> int | None:
    """Which of the folders of a picture is the first part of that kind."""
    return next((k for k in range(len(path)) if (part := parts.get(path[: k + 1])) and part.held == held), None)


def _classes(paths: dict[str, tuple[str, ...]]) -> tuple[dict[str, str], set[str], list[str]]:
    """(classes by name, pictures left out, notes) of the part to train on."""
    loose = {name for name, path in paths.items() if not path}
    counts = Counter(path[0] for path in paths.values() if path)
    if len(counts) < 2:
        return {}, set(), []
    if 2 * len(loose) >= len(paths):
        what = f"{len(loose):,} pictures lie beside {len(counts)} folders, which are no classes then"
        return {}, set(), [f"{what}: move them into folders for labels"]
    notes = [f"{some(sorted(loose), 'picture')} left out: beside the folders of the classes"] if loose else []
    return {name: path[0] for name, path in paths.items() if path}, loose, notes


def _shared(paths: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders, one in the other, that all pictures lie in, but for a few that lie beside one which is not held."""
    shared: tuple[str, ...] = ()
    while True:
        below = Counter(path[: len(shared) + 1] for path in paths if len(path) > len(shared))
        if len(below) != 1 or 2 * below.total() <= len(paths):
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
