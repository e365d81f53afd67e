"""Labels and captions as data sets hold them, in arrays and columns: judged, and told where they are none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from ...errors import DifftoolError, Exit
from .decode import counted

Labels: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"


def values_of(labels: Any, count: int, where: str) -> np.ndarray[Any, Any]:
    """One whole number or word for each of `count` pictures, of an array or the values of a column; one-hot rows become
    numbers. Raises DifftoolError 4, naming `where`, for anything else."""
    if isinstance(labels, list):
        labels = _array(labels, where)
    if labels.size == count and labels.dtype.kind in "uifbUS":
        values = labels.reshape(count)
    elif labels.ndim == 2 and len(labels) == count and _one_hot(labels):
        values = labels.argmax(1)
    else:
        raise _no_labels(labels, count, where)
    if values.dtype.kind == "f":
        if np.isnan(values).any():
            raise _missing(where, np.flatnonzero(np.isnan(values)))
        if len(odd := values[(values != np.round(values)) | np.isinf(values)]):
            what = f"{where}: real numbers such as {odd[0]:g}"
            raise DifftoolError(Exit.FILE, what, "labels are whole numbers or words, one a picture")
    return np.array([_decoded(value, where) for value in values.tolist()]) if values.dtype.kind == "S" else values


def _array(labels: list[Any], where: str) -> np.ndarray[Any, Any]:
    """The values of a column."""
    if missing := [k for k, label in enumerate(labels) if label is None]:
        raise _missing(where, missing)
    labels = [_decoded(label, where) if isinstance(label, bytes) else label for label in labels]
    lengths = {len(label) if isinstance(label, list) else -1 for label in labels}
    odd = next((label for label in labels if not isinstance(label, int | float | str | list)), None)
    if len(lengths) > 1 or odd is not None:
        what = "lists of different lengths" if odd is None else f"values such as {str(odd)[:40]}"
        raise DifftoolError(Exit.FILE, f"{where}: {what}", "labels are whole numbers or words, one a picture")
    try:
        return np.array(labels)
    except ValueError as error:
        what = f"{where}: lists of lists"
        raise DifftoolError(Exit.FILE, what, "labels are whole numbers or words, one a picture") from error


def _one_hot(labels: np.ndarray[Any, Any]) -> bool:
    if labels.dtype.kind not in "uifb" or labels.shape[1] < 2:
        return False
    return bool(np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all())


def _no_labels(labels: np.ndarray[Any, Any], count: int, where: str) -> DifftoolError:
    hint = "labels are whole numbers or words, one a picture"
    if labels.ndim == 0:
        return DifftoolError(Exit.FILE, f"{where}: one label for {count:,} pictures", hint)
    if labels.ndim == 2 and len(labels) == count and labels.dtype.kind in "uifb":
        several = np.isin(labels, (0, 1)).all()
        what = "several classes, or none, for a picture" if several else f"{labels.shape[1]} numbers for each picture"
        return DifftoolError(Exit.FILE, f"{where}: {what}", hint)
    if len(labels) != count:
        return DifftoolError(Exit.FILE, f"{where}: {len(labels):,} labels of {count:,} pictures", hint)
    return DifftoolError(Exit.FILE, f"{where}: {labels.dtype} of shape {list(labels.shape)}", hint)


def _missing(where: str, rows: Sequence[int] | np.ndarray[Any, Any]) -> DifftoolError:
    what = f"{where}: {counted(len(rows), 'picture')} without a label, first number {rows[0]}"
    return DifftoolError(Exit.FILE, what, "give each picture a label, or take the labels away")


def numbered(
    values: np.ndarray[Any, Any], where: str, names: Sequence[str] | None = None
) -> tuple[Labels, list[str], list[str]]:
    """(labels 0 .. K - 1, the K classes, what a person should know) of `values_of`; `names` are the names of the
    numbers, if the source has some. Raises DifftoolError 4 for a number below 0, which stands for no label there."""
    notes: list[str] = []
    if names is not None and values.dtype.kind in "ui" and len(values):
        if values.min() < 0:
            raise _missing(where, np.flatnonzero(values < 0))
        if values.max() < len(names):
            return values.astype(np.int64), list(names), notes
        notes.append(f"{where}: a label {values.max()}, and names for {len(names)}: the names are not used")
    found, numbers = np.unique(values, return_inverse=True)
    if len(values) >= 10 and len(found) > len(values) / 2:
        notes.append(f"{where}: {len(found):,} classes of {len(values):,} pictures, so most have one picture")
    return numbers.astype(np.int64), [_named(value) for value in found], notes


def known(values: np.ndarray[Any, Any], classes: Sequence[str], names: Sequence[str] | None = None) -> Labels:
    """Labels of other pictures by the same classes, -1 where they are of none."""
    if names is not None and list(names) == list(classes) and values.dtype.kind in "ui":
        return np.where((values >= 0) & (values < len(classes)), values, -1).astype(np.int64)
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number.get(_named(value), -1) for value in values], np.int64)


def _named(value: Any) -> str:
    return f"{value:g}" if isinstance(value, np.floating) else str(value)


def captions_of(values: Sequence[Any], where: str) -> tuple[list[str], list[str]]:
    """(captions, what a person should know) of a column of words; of a list of captions the first is taken."""
    several = any(isinstance(value, list) and len(value) > 1 for value in values)
    found = [_caption(value, where) for value in values]
    return found, [f"{where}: several captions for a picture, of which the first is learned"] if several else []


def _caption(value: Any, where: str) -> str:
    if isinstance(value, list):
        value = next((one for one in value if one), None)
    if value is None:
        return ""
    if isinstance(value, bytes):
        return _decoded(value, where)
    if not isinstance(value, str):
        what = f"{where}: {str(value)[:40]} is no caption"
        raise DifftoolError(Exit.FILE, what, "captions are text, or lists of text")
    return value


def _decoded(value: bytes, where: str) -> str:
    try:
        return value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DifftoolError(Exit.FILE, f"{where}: words that are not in UTF-8", "save them as UTF-8") from error


def uncaptioned(captions: Sequence[str]) -> list[str]:
    missing = sum(not caption for caption in captions)
    return [f"{missing:,} of {counted(len(captions), 'picture')} without a caption"] if missing else []
