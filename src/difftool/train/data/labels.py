"""Labels and captions of data sets, from arrays and columns, with an error where they are neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from ...errors import DifftoolError, Exit
from ...limits import counted

Labels: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

ONE_EACH = "use integers or words as labels, one each"
"""The hint for labels that are something else."""


def values_of(labels: Any, count: int, where: str, noun: str = "picture") -> np.ndarray[Any, Any]:
    """An integer or a word for each of `count` items, from an array or the values of a column; one-hot rows become
    integers. Raises DifftoolError 4, naming `where`, for anything else."""
    if isinstance(labels, list):
        labels = _array(labels, where, noun)
    if labels.size == count and labels.dtype.kind in "uifbUS":
        values = labels.reshape(count)
    elif labels.ndim == 2 and len(labels) == count and _one_hot(labels):
        values = labels.argmax(1)
    else:
        raise _no_labels(labels, count, where, noun)
    if values.dtype.kind == "f":
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            raise _missing(where, missing, noun)
        whole = (values == np.round(values)) & ~np.isinf(values)
        if not whole.all():
            message = f"{where}: non-integer labels such as {values[~whole][0]:g}"
            raise DifftoolError(Exit.FILE, message, ONE_EACH)
    if values.dtype.kind == "S":
        return np.array([_decoded(value, where) for value in values.tolist()])
    return values


def _array(labels: list[Any], where: str, noun: str) -> np.ndarray[Any, Any]:
    """The values of a column."""
    if missing := [k for k, label in enumerate(labels) if label is None]:
        raise _missing(where, missing, noun)
    labels = [_decoded(label, where) if isinstance(label, bytes) else label for label in labels]
    lengths = {len(label) if isinstance(label, list) else -1 for label in labels}
    others = [label for label in labels if not isinstance(label, int | float | str | list)]
    if others:
        raise DifftoolError(Exit.FILE, f"{where}: unsupported labels such as {str(others[0])[:40]}", ONE_EACH)
    if len(lengths) > 1:
        raise DifftoolError(Exit.FILE, f"{where}: lists of labels of different lengths", ONE_EACH)
    try:
        return np.array(labels)
    except ValueError as error:
        raise DifftoolError(Exit.FILE, f"{where}: nested lists of labels", ONE_EACH) from error


def _one_hot(labels: np.ndarray[Any, Any]) -> bool:
    if labels.dtype.kind not in "uifb" or labels.shape[1] < 2:
        return False
    binary = np.isin(labels, (0, 1)).all()
    return bool(binary and (labels.sum(1) == 1).all())


def _no_labels(labels: np.ndarray[Any, Any], count: int, where: str, noun: str) -> DifftoolError:
    reason = f"{labels.dtype} of shape {list(labels.shape)}"
    if labels.ndim == 0:
        reason = f"one label for {count:,} {noun}s"
    elif len(labels) != count:
        reason = f"{len(labels):,} labels for {count:,} {noun}s"
    elif labels.ndim == 2 and labels.dtype.kind in "uifb":
        binary = np.isin(labels, (0, 1)).all()
        reason = f"several classes or none per {noun}" if binary else f"{labels.shape[1]} numbers per {noun}"
    return DifftoolError(Exit.FILE, f"{where}: {reason}", ONE_EACH)


def _missing(where: str, rows: Sequence[int] | np.ndarray[Any, Any], noun: str) -> DifftoolError:
    message = f"{where}: {counted(len(rows), noun)} without a label, the first is number {rows[0]}"
    return DifftoolError(Exit.FILE, message, f"give each {noun} a label, or remove the labels")


def numbered(
    values: np.ndarray[Any, Any], where: str, names: Sequence[str] | None = None, noun: str = "picture"
) -> tuple[Labels, list[str], list[str]]:
    """(labels 0 .. K - 1, the K classes, notes) from `values_of`; `names` are the classes by number, if the source has
    them. Raises DifftoolError 4 for a number below 0, which then stands for a missing label."""
    notes: list[str] = []
    if names is not None and values.dtype.kind in "ui" and len(values):
        if values.min() < 0:
            raise _missing(where, np.flatnonzero(values < 0), noun)
        if values.max() < len(names):
            return values.astype(np.int64), list(names), notes
        notes.append(f"{where}: the highest label is {values.max()}, but there are {len(names)} names; names not used")
    distinct, numbers = np.unique(values, return_inverse=True)
    classes, count = len(distinct), len(values)
    if count >= 10 and classes > count / 2:
        notes.append(f"{where}: {classes:,} classes for {count:,} {noun}s; most have a single {noun}")
    return numbers.astype(np.int64), [_named(value) for value in distinct], notes


def known(values: np.ndarray[Any, Any], classes: Sequence[str], names: Sequence[str] | None = None) -> Labels:
    """Labels of other items in the same classes, -1 for none of them."""
    named = names is not None and list(names) == list(classes)
    if named and values.dtype.kind in "ui":
        inside = (values >= 0) & (values < len(classes))
        return np.where(inside, values, -1).astype(np.int64)
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number.get(_named(value), -1) for value in values], np.int64)


def classes_of(names: Sequence[str]) -> str:
    """The number of classes, and the names of the first."""
    more = ["..."] if len(names) > 10 else []
    return f"{len(names)} classes ({', '.join([*names[:10], *more])})"


def _named(value: Any) -> str:
    return f"{value:g}" if isinstance(value, np.floating) else str(value)


def captions_of(values: Sequence[Any], where: str, noun: str = "picture") -> tuple[list[str], list[str]]:
    """(captions, notes) from a column of text; of a list of captions the first is used."""
    captions = [_caption(value, where) for value in values]
    lists = [value for value in values if isinstance(value, list)]
    notes = []
    if any(len(value) > 1 for value in lists):
        notes.append(f"{where}: several captions per {noun}; only the first is used")
    return captions, notes


def _caption(value: Any, where: str) -> str:
    if isinstance(value, list):
        value = next((caption for caption in value if caption), None)
    if value is None:
        return ""
    if isinstance(value, bytes):
        return _decoded(value, where)
    if not isinstance(value, str):
        message = f"{where}: {str(value)[:40]} is not a caption"
        raise DifftoolError(Exit.FILE, message, "use text, or lists of text, as captions")
    _decoded(value.encode(errors="surrogatepass"), where)  # JSON may have half a character
    return value


def _decoded(value: bytes, where: str) -> str:
    try:
        return value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DifftoolError(Exit.FILE, f"{where} contains text that is not UTF-8", "save it as UTF-8") from error


def uncaptioned(captions: Sequence[str], noun: str = "picture") -> list[str]:
    """A note on items without a caption, if there are any."""
    missing = sum(not caption for caption in captions)
    if not missing:
        return []
    return [f"{missing:,} of {counted(len(captions), noun)} without a caption"]
