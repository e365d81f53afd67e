"""What the names of files say: which are for judging, and which class a picture is of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import NamedTuple

from ..errors import DifftoolError, Exit
from .decode import some

TRAIN, HELD = ("train", "training"), ("test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation")
FOLDER = re.compile(
    rf"(?:(?P<train>{'|'.join(TRAIN)})|(?:{'|'.join(HELD)}))(?:[-_ ]?(?:set|data|images|split|20\d\d))?"
)
"""Names of folders that are parts of a data set, in lower case: train, test, val2017, training_set; not contest."""
WORD = re.compile(rf"(?<![a-z])(?:(?P<train>{'|'.join(TRAIN)})|(?:{'|'.join(HELD)}|t10k))(?=images|labels|[^a-z]|$)")
"""The same as a word in the name of a file that holds many pictures."""


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
    depth, first = _depth(paths.values()), min(paths.values())
    paths = {name: path[depth:] for name, path in paths.items()}  # without the folders that all are in
    parts = {name: next((k for k, part in enumerate(path) if _is_held(part)), None) for name, path in paths.items()}
    held = {name for name, k in parts.items() if k is not None}
    notes = [f"there is only the part {part} here, and it is learned" for part in first[:depth] if _is_held(part)]
    left_out: set[str] = set()
    if held and len(held) == len(paths):
        words = sorted({path[k] for name, path in paths.items() if (k := parts[name]) is not None})
        what = f"it has the parts {' and '.join(words)}, and none to train on"
        raise DifftoolError(Exit.FILE, what, "name the folder of the part that is to be learned")
    if held:
        train = {
            name: next((k for k, part in enumerate(path) if _is_train(part)), None) for name, path in paths.items()
        }
        whole = {name for name in paths if name not in held and train[name] is not None}
        if whole:
            left_out = set(paths) - held - whole
            notes += [f"{some(sorted(left_out), 'picture')} left out: in no part of the set"] if left_out else []
        else:
            words = sorted({path[k] for name, path in paths.items() if (k := parts[name]) is not None})
            notes.append(f"{' and '.join(words)} is taken for the part to judge by, not for a class")
        at = {name: parts[name] if name in held else train[name] for name in paths if name not in left_out}
        paths = {
            name: path[:k] + path[k + 1 :] if (k := at[name]) is not None else path
            for name, path in paths.items()
            if name in at
        }
        depth = _depth([path for name, path in paths.items() if name not in held])
        paths = {name: path[depth:] for name, path in paths.items()}
    elif any(_is_train(path[0]) for path in paths.values() if path):
        notes.append("the folder train is taken for a class: there is no part to judge by beside it")
    classes, loose, more = _classes({name: path for name, path in paths.items() if name not in held})
    if classes:
        classes |= {name: path[0] if path else "" for name, path in paths.items() if name in held}
    return Places(held, classes, left_out | loose, (*notes, *more))


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


def _depth(paths: Collection[tuple[str, ...]]) -> int:
    first, last = min(paths, default=()), max(paths, default=())
    return next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def _is_held(part: str) -> bool:
    found = FOLDER.fullmatch(part.lower())
    return found is not None and found["train"] is None


def _is_train(part: str) -> bool:
    found = FOLDER.fullmatch(part.lower())
    return found is not None and found["train"] is not None
