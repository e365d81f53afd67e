"""Pictures in numpy's files: which of the arrays are pictures and labels, and what their numbers mean."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np

from ...errors import DifftoolError, Exit
from ...pictures.images import span_of, to_bytes
from .contents import UNREADABLE, damaged, fits
from .decode import DARK, Contents, Pixels, some
from .raw import Raw, together

IMAGES = ("x_train", "images", "train_images", "x", "data", "arr_0")
LABELS = ("y_train", "labels", "train_labels", "y", "label", "arr_1", "targets", "target")
TESTS = (("x_test", "y_test"), ("x_val", "y_val"), ("test_images", "test_labels"), ("val_images", "val_labels"))
"""Names of arrays, the first that is there counting; of the parts for judging all."""


class Array(NamedTuple):
    """An array that was not read yet."""

    shape: tuple[int, ...]
    load: Callable[[], np.ndarray[Any, Any]]


def read_arrays(files: Contents, size: tuple[int, int] | None) -> Raw:
    where = ", ".join(files)
    found = arrays(files)
    pick = choose(found, where)
    try:
        loaded = [found[key].load() for key in (pick.images, *(key for key, _ in pick.tests))]
        labels = None if pick.labels is None else found[pick.labels].load()
        others = [found[key].load() for _, key in pick.tests if key is not None]
    except (ValueError, *UNREADABLE) as error:
        raise damaged(where, error) from error
    (pixels, *tests), notes = in_bytes(loaded, f"{pick.images} in {where}")
    notes += [f"{some(pick.unused, 'array')} in {where} not used"] if pick.unused else []
    test = Raw(np.concatenate(tests)) if tests else None
    told = np.concatenate(others) if tests and len(others) == len(tests) else None
    return together(Raw(pixels, notes=tuple(notes)), test, (labels, told), f"{pick.labels} in {where}")


def count_arrays(files: Contents) -> int:
    found = arrays(files)
    return found[choose(found, "").images].shape[0]


def arrays(files: Contents) -> dict[str, Array]:
    """The arrays of an .npz by name, or of .npy files by the names of the files. Raises DifftoolError 4 for a file that
    is damaged, or would take more than its share, and where it is not clear which to take."""
    packed = [name for name in files if PurePosixPath(name).suffix.lower() == ".npz"]
    if packed and len(files) > 1:
        raise DifftoolError(Exit.FILE, f"which of {', '.join(files)} is to be learned?", "name one of them")
    found: dict[str, Array] = {}
    for name, read in files.items():
        try:
            data = read()
            if packed:
                found |= _members(data)
            else:
                found["images" if len(files) == 1 else PurePosixPath(name).stem] = _array(io.BytesIO(data), len(data))
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, RuntimeError) as error:
            raise damaged(name, error) from error
    return found


def _members(data: bytes) -> dict[str, Array]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    found = {}
    for info in archive.infolist():
        fits(info.file_size, info.compress_size)
        if info.filename.endswith(".npy"):
            with archive.open(info) as file:
                shape = _array(file, info.file_size).shape
            found[info.filename.removesuffix(".npy")] = Array(shape, lambda info=info: _load(archive.open(info)))
    return found


def _array(file: IO[bytes], size: int) -> Array:
    """An array of a file of `size` bytes, of which only the head is read now."""
    version = np.lib.format.read_magic(file)
    heads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in heads:
        raise ValueError("it has an unknown version of the format")
    shape, _, dtype = heads[version](file)
    if dtype.hasobject:
        raise ValueError("it holds objects of Python, which are not loaded")
    here, announced = size - file.tell(), math.prod(shape) * dtype.itemsize
    if here != announced:
        raise ValueError(f"it announces {announced:,} bytes and holds {here:,}")

    def load() -> np.ndarray[Any, Any]:
        file.seek(0)
        return _load(file)

    return Array(shape, load)


def _load(file: IO[bytes]) -> np.ndarray[Any, Any]:
    return np.lib.format.read_array(file, allow_pickle=False)


class Chosen(NamedTuple):
    """The names of the arrays that are learned from."""

    images: str
    labels: str | None
    tests: list[tuple[str, str | None]]
    unused: list[str]


def choose(found: Mapping[str, Array], where: str) -> Chosen:
    """Which arrays are pictures and labels. Raises DifftoolError 4 where none are pictures."""
    lower = {key.lower(): key for key in found}
    many = [key for key, array in found.items() if len(array.shape) >= 3]
    images = next((lower[key] for key in IMAGES if lower.get(key) in many), None) or next(iter(many), None)
    if images is None:
        shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in found.items()) or "nothing"
        what = f"{where} holds no pictures (N, H, W) or (N, H, W, C), but {shapes}"
        raise DifftoolError(Exit.FILE, what, "save an array of that shape, as images in an .npz")
    labels = next((lower[key] for key in LABELS if key in lower and lower[key] != images), None)
    tests = [(lower[x], lower.get(y)) for x, y in TESTS if lower.get(x) in many and lower[x] != images]
    used = {images, labels, *(key for pair in tests for key in pair)}
    return Chosen(images, labels, tests, [key for key in found if key not in used])


def in_bytes(loaded: list[np.ndarray[Any, Any]], where: str) -> tuple[list[Pixels], list[str]]:
    """(pictures of numbers as uint8 (N, H, W, C), what a person should know): all of a kind of numbers by the same
    measure, as `span_of` finds it; bytes as they are, but for those that are 0 and 1. Raises DifftoolError 4 for other
    numbers or shapes."""
    shaped = [_shaped(array, where) for array in loaded]
    spans, notes = {}, []
    for kind in dict.fromkeys(map(_kind, shaped)):
        spans[kind], more = _span([array for array in shaped if _kind(array) == kind], kind, where)
        notes += more
    return [_bytes(array, spans[_kind(array)]) for array in shaped], notes


def _kind(array: np.ndarray[Any, Any]) -> str:
    """f for floats, b for booleans, i for whole numbers."""
    return array.dtype.kind if array.dtype.kind in "fb" else "i"


def _span(alike: list[np.ndarray[Any, Any]], kind: str, where: str) -> tuple[tuple[float, float], list[str]]:
    """(the values that mean black and white in arrays of a kind, what a person should know)."""
    hint = "save pixels as uint8, or as numbers from 0 to 1"
    filled = [array for array in alike if array.size]
    if kind == "f" and not all(np.isfinite(array).all() for array in filled):
        raise DifftoolError(Exit.FILE, f"{where} holds numbers that are not finite", hint)
    low = min((float(array.min()) for array in filled), default=0)
    highs = [float(array.max()) for array in filled]
    high = max(highs, default=0)
    try:
        span = (0, 1) if kind == "b" else span_of(low, high, kind == "i")
    except ValueError as error:
        raise DifftoolError(Exit.FILE, f"{where} runs from {low:g} to {high:g}", hint) from error
    notes = []
    if span == (0, 1) and kind == "i":
        notes.append(f"{where}: values 0 and 1, taken for black and white")
    dark = [own for own in highs if (own - span[0]) * 255 / (span[1] - span[0]) <= DARK]
    if dark and len(dark) == len(highs):
        notes.append(f"the pictures are nearly black: {where} runs from {low:g} to {high:g}")
    elif dark:
        notes.append(f"one part of the pictures runs to {dark[0]:g}, another to {high:g}: the one is nearly black")
    return span, notes


def _bytes(array: np.ndarray[Any, Any], span: tuple[float, float]) -> Pixels:
    if array.dtype == np.uint8 and span == (0, 255):
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(to_bytes(array.astype(np.float32), span))


def _shaped(array: np.ndarray[Any, Any], where: str) -> np.ndarray[Any, Any]:
    """(N, H, W, C)"""
    if array.dtype.kind not in "uifb":
        raise DifftoolError(Exit.FILE, f"{where} holds no numbers but {array.dtype}", "save pixels as uint8")
    shape = list(array.shape)
    if array.ndim == 3 and shape[2] <= 4 < min(shape[:2]):
        what = f"{where} has the shape {shape}, which is one picture"
        raise DifftoolError(Exit.FILE, what, "save several as (N, H, W, C)")
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4:
        raise DifftoolError(Exit.FILE, f"{where} has the shape {shape}", "save it as (N, H, W, C)")
    return array.transpose(0, 2, 3, 1) if array.shape[1] <= 4 < array.shape[3] else array
