"""The contents of a data set, whatever its kind: pictures with labels and captions, and a test part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...errors import DifftoolError
from ...limits import counted
from .contents import UNREADABLE, damaged, unpacked
from .decode import Contents, Pixels
from .labels import Labels, known, numbered, values_of


class Raw(NamedTuple):
    """The contents of a data set."""

    pixels: Pixels
    """(N, H, W, C); of sounds (N,), their numbers"""
    labels: Labels | None = None
    classes: list[str] = []  # noqa: RUF012
    captions: list[str] | None = None
    skipped: tuple[str, ...] = ()
    """Files that could not be read, as "path: reason"."""
    test: Raw | None = None
    """The test part of the data set, if it has one."""
    notes: tuple[str, ...] = ()
    """Notes for the user: what is not used, and how the rest was read."""


def together(
    train: Raw,
    test: Raw | None,
    labels: tuple[Any, Any],
    where: str,
    names: Sequence[str] | None = None,
    noun: str = "picture",
) -> Raw:
    """The two parts of a data set with the `labels` of each. Test pictures with a label that the train part does not
    have are left out, as is a test part without labels."""
    notes = list(train.notes)
    if test is not None and test.captions is None and train.captions is not None:
        test = test._replace(captions=[""] * len(test.pixels))
    if labels[0] is None:
        return train._replace(test=test)
    values = values_of(labels[0], len(train.pixels), where, noun)
    numbers, classes, more = numbered(values, where, names, noun)
    train = train._replace(labels=numbers, classes=classes)
    if test is not None:
        try:
            others = known(values_of(labels[1], len(test.pixels), where, noun), classes, names)
        except (DifftoolError, AttributeError):
            others = np.full(len(test.pixels), -1)
        rows = np.flatnonzero(others >= 0)
        if len(rows) < len(others):
            without = counted(len(others) - len(rows), noun)
            more.append(f"{without} of the test part left out: the training part does not have their labels")
        test = rows_of(test._replace(labels=others, classes=classes), rows) if len(rows) else None
    return train._replace(test=test, notes=(*notes, *more))


def rows_of(raw: Raw, rows: np.ndarray[Any, Any]) -> Raw:
    """Some of its pictures, by index."""
    labels = None if raw.labels is None else raw.labels[rows]
    captions = None if raw.captions is None else [raw.captions[k] for k in rows]
    return raw._replace(pixels=raw.pixels[rows], labels=labels, captions=captions)


def bytes_of(name: str, files: Contents) -> bytes:
    """The bytes of a file, unpacked if it ends in .gz. Raises DifftoolError 4 if it is damaged."""
    try:
        data = files[name]()
        return unpacked(data) if name.endswith(".gz") else data
    except UNREADABLE as error:
        raise damaged(name, error) from error
