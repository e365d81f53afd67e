"""What stood in a source, whatever its kind: pictures with labels and captions, and those set aside for judging."""

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
    """What stood in a source."""

    pixels: Pixels
    """(N, H, W, C)"""
    labels: Labels | None = None
    classes: list[str] = []  # noqa: RUF012
    captions: list[str] | None = None
    skipped: tuple[str, ...] = ()
    """What could not be read, as "path: reason"."""
    test: Raw | None = None
    """Pictures that the source itself sets aside for judging."""
    notes: tuple[str, ...] = ()
    """What a person should know of it: what has no place in it, and what was taken for what."""


def together(
    train: Raw, test: Raw | None, labels: tuple[Any, Any], where: str, names: Sequence[str] | None = None
) -> Raw:
    """The two parts of a data set with the `labels` of each, of which test pictures have those of the
    train part: others, and a test part without labels, have no place in it."""
    notes = list(train.notes)
    if test is not None and test.captions is None and train.captions is not None:
        test = test._replace(captions=[""] * len(test.pixels))
    if labels[0] is None:
        return train._replace(test=test)
    values = values_of(labels[0], len(train.pixels), where)
    numbers, classes, more = numbered(values, where, names)
    train = train._replace(labels=numbers, classes=classes)
    if test is not None:
        try:
            others = known(values_of(labels[1], len(test.pixels), where), classes, names)
        except (DifftoolError, AttributeError):
            others = np.full(len(test.pixels), -1)
        rows = np.flatnonzero(others >= 0)
        if len(rows) < len(others):
            without = counted(len(others) - len(rows), "picture")
            more.append(f"{without} of the test part left out: without a label that the others have")
        test = rows_of(test._replace(labels=others, classes=classes), rows) if len(rows) else None
    return train._replace(test=test, notes=(*notes, *more))


def rows_of(raw: Raw, rows: np.ndarray[Any, Any]) -> Raw:
    """Some of its pictures."""
    return raw._replace(
        pixels=raw.pixels[rows],
        labels=None if raw.labels is None else raw.labels[rows],
        captions=None if raw.captions is None else [raw.captions[k] for k in rows],
    )


def bytes_of(name: str, files: Contents) -> bytes:
    """The bytes of a file, unpacked where it ends in .gz. Raises DifftoolError 4 where it is damaged."""
    try:
        data = files[name]()
        return unpacked(data) if name.endswith(".gz") else data
    except UNREADABLE as error:
        raise damaged(name, error) from error
