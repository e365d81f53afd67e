"""NumPy files: which arrays are pictures and labels, and which values mean black and white."""

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
"""Names of arrays. The first one that is present is used; of TESTS, all of them."""


class Array(NamedTuple):
    """An array that has not been loaded yet."""

    shape: tuple[int, ...]
    load: Callable[[], np.ndarray[Any, Any]]


def read_arrays(files: Contents, size: tuple[int, int] | None) -> Raw:
    where = ", ".join(files)
    by_name = arrays(files)
    pick = choose_arrays(by_name, where)
    names = [pick.images, *(images for images, _ in pick.tests)]
    try:
        loaded = [by_name[name].load() for name in names]
        labels = None if pick.labels is None else by_name[pick.labels].load()
        others = [by_name[name].load() for _, name in pick.tests if name is not None]
    except (ValueError, *UNREADABLE) as error:
        raise damaged(where, error) from error
    (pixels, *tests), notes = in_bytes(loaded, f"{pick.images} in {where}")
    if pick.unused:
        notes.append(f"{some(pick.unused, 'array')} in {where} not used")
    train = Raw(pixels, notes=tuple(notes))
    labels_from = f"{pick.labels} in {where}"
    if not tests:
        return together(train, None, (labels, None), labels_from)
    test_labels = np.concatenate(others) if len(others) == len(tests) else None
    return together(train, Raw(np.concatenate(tests)), (labels, test_labels), labels_from)


def count_arrays(files: Contents) -> int:
    by_name = arrays(files)
    images = choose_arrays(by_name, "").images
    return by_name[images].shape[0]


def arrays(files: Contents) -> dict[str, Array]:
    """The arrays of an .npz by name, or of .npy files by their file names. Raises DifftoolError 4 for a file that is
    damaged or unpacks to too much, and where several files could be used."""
    packed = [name for name in files if PurePosixPath(name).suffix.lower() == ".npz"]
    if packed and len(files) > 1:
        raise DifftoolError(Exit.FILE, f"several files of arrays: {', '.join(files)}", "pass one of them")
    by_name: dict[str, Array] = {}
    for file, read in files.items():
        try:
            data = read()
            if packed:
                by_name |= _members(data)
                continue
            name = "images" if len(files) == 1 else PurePosixPath(file).stem
            by_name[name] = _array(io.BytesIO(data), len(data))
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, RuntimeError) as error:
            raise damaged(file, error) from error
    return by_name


def _members(data: bytes) -> dict[str, Array]:
    archive = zipfile.ZipFile(io.BytesIO(data))
    by_name = {}
    for info in archive.infolist():
        fits(info.file_size, info.compress_size)
        if not info.filename.endswith(".npy"):
            continue
        with archive.open(info) as file:
            shape = _array(file, info.file_size).shape
        name = info.filename.removesuffix(".npy")
        by_name[name] = Array(shape, lambda info=info: _load(archive.open(info)))
    return by_name


def _array(file: IO[bytes], size: int) -> Array:
    """An array in a file of `size` bytes; only its header is read now."""
    version = np.lib.format.read_magic(file)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise ValueError("unknown version of the .npy format")
    shape, _, dtype = headers[version](file)
    if dtype.hasobject:
        raise ValueError("it contains Python objects, which are not loaded")
    present = size - file.tell()
    announced = math.prod(shape) * dtype.itemsize
    if present != announced:
        raise ValueError(f"the header declares {announced:,} bytes, but the file has {present:,}")

    def load() -> np.ndarray[Any, Any]:
        file.seek(0)
        return _load(file)

    return Array(shape, load)


def _load(file: IO[bytes]) -> np.ndarray[Any, Any]:
    return np.lib.format.read_array(file, allow_pickle=False)


class Chosen(NamedTuple):
    """The names of the arrays to train on."""

    images: str
    labels: str | None
    tests: list[tuple[str, str | None]]
    unused: list[str]


def choose_arrays(found: Mapping[str, Array], where: str) -> Chosen:
    """Which arrays are pictures and labels. Raises DifftoolError 4 if no array is."""
    names = {name.lower(): name for name in found}
    pictures = [name for name, array in found.items() if len(array.shape) >= 3]
    usual = (names[key] for key in IMAGES if names.get(key) in pictures)
    images = next(usual, None) or next(iter(pictures), None)
    if images is None:
        shapes = [f"{name} {list(array.shape)}" for name, array in found.items()]
        message = f"{where} has no array of pictures (N, H, W) or (N, H, W, C): {', '.join(shapes) or 'it is empty'}"
        raise DifftoolError(Exit.FILE, message, "save an array of that shape, such as images in an .npz")
    others = {key: name for key, name in names.items() if name != images}
    labels = next((others[key] for key in LABELS if key in others), None)
    tests = [(others[x], names.get(y)) for x, y in TESTS if others.get(x) in pictures]
    used = {images, labels, *(name for pair in tests for name in pair)}
    return Chosen(images, labels, tests, [name for name in found if name not in used])


def in_bytes(loaded: list[np.ndarray[Any, Any]], where: str) -> tuple[list[Pixels], list[str]]:
    """(pictures as uint8 (N, H, W, C), notes). Arrays of one kind of numbers share the span that `span_of` finds;
    bytes stay as they are unless all are 0 or 1. Raises DifftoolError 4 for other numbers or shapes."""
    shaped = [_shaped(array, where) for array in loaded]
    spans, notes = {}, []
    for kind in dict.fromkeys(map(_kind, shaped)):
        alike = [array for array in shaped if _kind(array) == kind]
        spans[kind], more = _span(alike, kind, where)
        notes += more
    return [_bytes(array, spans[_kind(array)]) for array in shaped], notes


def _kind(array: np.ndarray[Any, Any]) -> str:
    """f for floats, b for booleans, i for integers."""
    return array.dtype.kind if array.dtype.kind in "fb" else "i"


def _span(alike: list[np.ndarray[Any, Any]], kind: str, where: str) -> tuple[tuple[float, float], list[str]]:
    """(the values of black and white in arrays of one kind, notes)."""
    hint = "save pixels as uint8, or as numbers from 0 to 1"
    filled = [array for array in alike if array.size]
    if kind == "f":
        finite = all(np.isfinite(array).all() for array in filled)
        if not finite:
            raise DifftoolError(Exit.FILE, f"{where} contains values that are not finite", hint)
    low = min((float(array.min()) for array in filled), default=0)
    highs = [float(array.max()) for array in filled]
    high = max(highs, default=0)
    values = f"values from {low:g} to {high:g}"
    try:
        span = (0, 1) if kind == "b" else span_of(low, high, kind == "i")
    except ValueError as error:
        raise DifftoolError(Exit.FILE, f"{where} has {values}", hint) from error
    notes = []
    if span == (0, 1) and kind == "i":
        notes.append(f"{where}: values 0 and 1, read as black and white")
    black, white = span
    dark = [own for own in highs if (own - black) * 255 / (white - black) <= DARK]
    if dark and len(dark) == len(highs):
        notes.append(f"the pictures are nearly black: {where} has {values}")
    elif dark:
        notes.append(
            f"one array of pictures is nearly black: its highest value is {dark[0]:g}, that of the others {high:g}"
        )
    return span, notes


def _bytes(array: np.ndarray[Any, Any], span: tuple[float, float]) -> Pixels:
    if array.dtype == np.uint8 and span == (0, 255):
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(to_bytes(array.astype(np.float32), span))


def _shaped(array: np.ndarray[Any, Any], where: str) -> np.ndarray[Any, Any]:
    """(N, H, W, C)"""
    if array.dtype.kind not in "uifb":
        raise DifftoolError(
            Exit.FILE, f"{where} has values of type {array.dtype}, which is not supported", "save pixels as uint8"
        )
    shape = list(array.shape)
    if array.ndim == 3:
        height, width, channels = shape  # if it is one picture
        if channels <= 4 < min(height, width):
            message = f"{where} has the shape {shape}, which is a single picture"
            raise DifftoolError(Exit.FILE, message, "save several as (N, H, W, C)")
        return array[..., None]
    if array.ndim != 4:
        raise DifftoolError(Exit.FILE, f"{where} has the shape {shape}", "save it as (N, H, W, C)")
    channels_first = array.shape[1] <= 4 < array.shape[3]
    return array.transpose(0, 2, 3, 1) if channels_first else array
