"""Where training pictures come from: folders, archives and the files in which data sets are published."""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..errors import DifftoolError, Exit
from .decode import SUFFIXES, Contents, Pixels, decode, fit, pixels_of, reason_of

UNREADABLE = (OSError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a file raises, also one in a zip that is damaged, locked or packed in an unknown way."""
KNOWN = "a folder or a zip of pictures, IDX as MNIST comes, CIFAR's binaries, .npz, .npy or .parquet"


class Raw(NamedTuple):
    """What stood in a source."""

    pixels: Pixels
    """(N, H, W, C)"""
    labels: np.ndarray[Any, np.dtype[np.int64]] | None = None
    classes: list[str] = []  # noqa: RUF012
    captions: list[str] | None = None
    skipped: tuple[str, ...] = ()
    """What could not be read, as "path: reason"."""
    test: Raw | None = None
    """Pictures that the source itself sets aside for judging."""


def contents(path: Path) -> Contents:
    """The files of a folder, a zip, a tar or of a file alone, by name in rising order. Raises DifftoolError 4 for an
    archive that is damaged."""
    if path.is_dir():
        files = {str(file.relative_to(path)): file for file in sorted(path.rglob("*")) if file.is_file()}
        return {name: file.read_bytes for name, file in files.items() if not _hidden(name)}
    try:
        if zipfile.is_zipfile(path) and path.suffix != ".npz":
            archive = zipfile.ZipFile(path)
            names = sorted(name for name in archive.namelist() if not name.endswith("/") and not _hidden(name))
            return {name: lambda name=name: archive.read(name) for name in names}
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                members = sorted((m for m in tar.getmembers() if m.isfile()), key=lambda member: member.name)
                held = {m.name: file.read() for m in members if (file := tar.extractfile(m)) and not _hidden(m.name)}
            return {name: lambda data=data: data for name, data in held.items()}
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError) as error:
        raise _damaged(path.name, error) from error
    return {path.name: path.read_bytes}


def read(files: Contents, size: tuple[int, int] | None = None) -> Raw:
    """The pictures in the files of a source, whatever their kind; `size` is (width, height), for pictures in files of
    their own. Raises DifftoolError 4 where nothing can be learned from them."""
    for kind in (_cifar, _idx, _arrays):
        if (found := kind(files)) is not None:
            break
    else:
        found = _parquet(files, size) or _pictures(files, size)
    if not len(found.pixels):
        raise DifftoolError(Exit.FILE, "there are no pictures in it", f"name {KNOWN}")
    height, width, channels = found.pixels.shape[1:]
    if not 1 <= channels <= 4 or not height or not width:
        what = f"its pictures have {channels} channels of {width}x{height}"
        raise DifftoolError(Exit.FILE, what, "pictures have 1 to 4 channels")
    if size not in (None, (width, height)):
        resized = [pixels_of(fit(Image.fromarray(p.squeeze(-1) if channels == 1 else p), size)) for p in found.pixels]
        found = found._replace(pixels=np.stack(resized))
    return found


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _damaged(name: str, error: Exception) -> DifftoolError:
    return DifftoolError(Exit.FILE, f"{name} is damaged: {reason_of(error)}", "copy or download it again")


def _opened(name: str, files: Contents) -> bytes:
    """The bytes of a file, unpacked where it ends in .gz."""
    data = files[name]()
    if not name.endswith(".gz"):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise _damaged(name, error) from error


# --- MNIST's IDX -----------------------------------------------------------------------------------------------------


def _idx(files: Contents) -> Raw | None:
    """IDX as MNIST, Fashion-MNIST and EMNIST come: pictures in a file with "idx3" in its name, labels beside it with
    "idx1"; t10k or test is set aside."""
    names = [name for name in files if "idx3" in PurePosixPath(name).name.lower()]
    if not names:
        return None
    if len(names) > 2:
        raise DifftoolError(Exit.FILE, f"there are {len(names)} files of pictures here: {', '.join(names)}", "name one")
    parts = {"test" if _for_test(name) and len(names) > 1 else "train": _idx_pair(name, files) for name in names}
    if len(parts) < len(names):
        raise DifftoolError(Exit.FILE, f"which of {' and '.join(names)} is to be learned?", "name one of them")
    return parts["train"]._replace(test=parts.get("test"))


def _for_test(name: str) -> bool:
    return any(word in PurePosixPath(name).name.lower() for word in ("t10k", "test", "valid"))


def _idx_pair(name: str, files: Contents) -> Raw:
    pixels = _idx_array(name, files)
    if pixels.ndim not in (3, 4) or pixels.dtype != np.uint8:
        raise DifftoolError(Exit.FILE, f"{name} holds no pictures of bytes", "name the file with idx3 in its name")
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    beside = name.replace("images", "labels").replace("idx3", "idx1")
    found = next((other for other in (beside, beside.removesuffix(".gz"), f"{beside}.gz") if other in files), None)
    if found is None or found == name:
        return Raw(pixels)
    labels = _idx_array(found, files).astype(np.int64)
    return Raw(pixels, *_labelled(labels, len(pixels), found))


def _idx_array(name: str, files: Contents) -> np.ndarray[Any, Any]:
    kinds = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    data = _opened(name, files)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in kinds or len(data) < 4 + 4 * data[3]:
        raise DifftoolError(Exit.FILE, f"{name} is no IDX file", "copy or download it again")
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    body, kind = data[4 + 4 * data[3] :], np.dtype(kinds[data[2]])
    if len(body) != math.prod(shape) * kind.itemsize:
        what = f"{name} announces {math.prod(shape) * kind.itemsize:,} bytes and holds {len(body):,}"
        raise DifftoolError(Exit.FILE, what, "copy or download it again")
    return np.frombuffer(body, kind).reshape(shape)


# --- CIFAR's binaries ------------------------------------------------------------------------------------------------


def _cifar(files: Contents) -> Raw | None:
    """The binary versions of CIFAR-10 (a byte of label, then 3,072 of pixels) and CIFAR-100 (coarse and fine label):
    whole, or some of their files. Labels are the fine ones."""
    batches = [name for name in files if PurePosixPath(name).suffix == ".bin"]
    if not batches:
        return None
    hundred = any(PurePosixPath(name).name in ("train.bin", "test.bin") for name in batches)
    record = 3074 if hundred else 3073
    parts = {test: b"".join(files[name]() for name in batches if _for_test(name) == test) for test in (False, True)}
    for data in parts.values():
        if len(data) % record:
            what = f"{len(data):,} bytes in {', '.join(batches)} are no whole pictures of {record:,}"
            raise DifftoolError(Exit.FILE, what, "copy the binary version of CIFAR-10 or CIFAR-100 again")
    named = "fine_label_names.txt" if hundred else "batches.meta.txt"
    meta = next((name for name in files if PurePosixPath(name).name == named), None)
    names = None if meta is None else files[meta]().decode(errors="replace").split()
    found = [
        _cifar_part(parts[test], record, names, ", ".join(batches)) if parts[test] else None for test in (False, True)
    ]
    train, test = found
    return (train or test)._replace(test=test if train else None)  # type: ignore[union-attr]


def _cifar_part(data: bytes, record: int, names: list[str] | None, where: str) -> Raw:
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    pixels = np.ascontiguousarray(rows[:, -3072:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Raw(pixels, *_labelled(rows[:, record - 3073].astype(np.int64), len(rows), where, names))


# --- numpy's arrays --------------------------------------------------------------------------------------------------

IMAGES = ("x_train", "images", "train_images", "x", "data", "arr_0")
LABELS = ("y_train", "labels", "train_labels", "y", "label", "arr_1")
TESTS = (("x_test", "y_test"), ("test_images", "test_labels"))
"""Names in an .npz, the first that is there counting."""


def _arrays(files: Contents) -> Raw | None:
    names = [name for name in files if PurePosixPath(name).suffix in (".npz", ".npy")]
    if len(names) != 1 or len(files) > 1:
        return None
    (name,) = names
    try:
        loaded: Any = np.load(io.BytesIO(files[name]()), allow_pickle=False)
        arrays = {"images": loaded} if name.endswith(".npy") else {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise _damaged(name, error) from error
    lower = {key.lower(): key for key in arrays}
    images = next((lower[key] for key in IMAGES if key in lower and arrays[lower[key]].ndim >= 3), None)
    if images is None:
        images = next((key for key, array in arrays.items() if array.ndim >= 3), None)
    if images is None:
        shapes = ", ".join(f"{key} {list(array.shape)}" for key, array in arrays.items()) or "nothing"
        what = f"{name} holds no pictures (N, H, W) or (N, H, W, C), but {shapes}"
        raise DifftoolError(Exit.FILE, what, "save an array of that shape, as images in an .npz")
    pixels = _bytes(arrays[images], f"{images} in {name}")
    labels = next((arrays[lower[key]] for key in LABELS if key in lower and lower[key] != images), None)
    test = None
    for x, y in TESTS:
        if x in lower and arrays[lower[x]].ndim >= 3 and lower[x] != images:
            held = _bytes(arrays[lower[x]], f"{x} in {name}")
            test = Raw(held, *_labelled(arrays[lower[y]], len(held), name)) if y in lower else Raw(held)
    found = Raw(pixels) if labels is None else Raw(pixels, *_labelled(labels, len(pixels), name))
    return found._replace(test=test)


def _bytes(array: np.ndarray[Any, Any], where: str) -> Pixels:
    """Pictures of numbers as uint8 (N, H, W, C): bytes as they are; other integers up to 255, or 16 bits; floats in
    [0, 1], [-1, 1] or [0, 255]."""
    if array.dtype.kind not in "uifb":
        raise DifftoolError(Exit.FILE, f"{where} holds no numbers but {array.dtype}", "save pixels as uint8")
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4:
        raise DifftoolError(Exit.FILE, f"{where} has the shape {list(array.shape)}", "save it as (N, H, W, C)")
    if array.shape[1] <= 4 < array.shape[3]:
        array = array.transpose(0, 2, 3, 1)  # (N, C, H, W)
    if array.dtype == np.uint8 or not array.size:
        return np.ascontiguousarray(array, dtype=np.uint8)
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise DifftoolError(Exit.FILE, f"{where} holds numbers that are not finite", "save pixels as uint8")
    low, high = float(values.min()), float(values.max())
    floats = array.dtype.kind == "f"
    for lo, hi, fits in (
        (0, 1, floats or array.dtype.kind == "b"),
        (-1, 1, floats),
        (0, 255, True),
        (0, 65535, not floats),
    ):
        if fits and lo <= low and high <= hi:
            return np.ascontiguousarray(((values - lo) * (255 / (hi - lo))).round().astype(np.uint8))
    what = f"{where} runs from {low:g} to {high:g}"
    raise DifftoolError(Exit.FILE, what, "save pixels as uint8, or as numbers from 0 to 1")


def _labelled(
    labels: np.ndarray[Any, Any], count: int, where: str, names: Sequence[str] | None = None
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[str]]:
    """(labels 0 .. K - 1, names of the K classes) of any integers or words. Raises DifftoolError 4 where they are not
    one a picture."""
    labels = labels.reshape(len(labels), -1)
    if labels.shape[1] > 1:  # one-hot
        labels = labels.argmax(1)[:, None]
    if len(labels) != count or labels.dtype.kind not in "uifbUS":
        what = f"{where} holds {len(labels):,} labels of {count:,} pictures"
        raise DifftoolError(Exit.FILE, what, "give each picture one whole number or word")
    values, numbers = np.unique(labels[:, 0], return_inverse=True)
    if names is not None and values.dtype.kind in "ui" and values[-1] < len(names):
        return labels[:, 0].astype(np.int64), list(names)
    return numbers.astype(np.int64), [f"{value:g}" if value.dtype.kind == "f" else str(value) for value in values]


# --- parquet, as data sets lie on the hub ----------------------------------------------------------------------------

COLUMNS = (("image", "img", "picture"), ("label", "labels", "fine_label", "class"), ("text", "caption", "prompt"))
"""Names of columns, the first that is there counting: the picture, its label, its caption."""


def _parquet(files: Contents, size: tuple[int, int] | None) -> Raw | None:
    names = [name for name in files if name.endswith(".parquet")]
    if not names:
        return None
    tests = [name for name in names if _for_test(name)]
    kept = [name for name in names if name not in tests] or names
    found = _tables(kept, files, size)
    return found._replace(test=_tables(tests, files, size) if tests and kept != names else None)


def _tables(names: Sequence[str], files: Contents, size: tuple[int, int] | None) -> Raw:
    import pyarrow
    import pyarrow.parquet

    try:
        tables = [pyarrow.parquet.read_table(pyarrow.BufferReader(files[name]())) for name in names]
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise _damaged(", ".join(names), error) from error
    here = tables[0].column_names
    image, label, text = (next((name for name in wanted if name in here), None) for wanted in COLUMNS)
    if image is None:
        what = f"{names[0]} has no column of pictures, but {', '.join(here)}"
        raise DifftoolError(Exit.FILE, what, f"call it {COLUMNS[0][0]}")
    rows = [row for table in tables for row in table.select([image]).column(0).to_pylist()]
    data = [row.get("bytes") if isinstance(row, dict) else row for row in rows]
    entries = {f"row {k}": (lambda one=one: one or b"") for k, one in enumerate(data)}
    arrays, kept, skipped = decode(entries, size)
    found = Raw(arrays, skipped=skipped)
    chosen = [int(name.split()[1]) for name in kept]
    if label is not None:
        values = np.array([value for table in tables for value in table.column(label).to_pylist()])[chosen]
        labels, classes = _labelled(values, len(chosen), names[0], _features(tables[0], label))
        found = found._replace(labels=labels, classes=classes)
    if text is not None:
        texts = [value for table in tables for value in table.column(text).to_pylist()]
        found = found._replace(captions=[str(texts[k] or "") for k in chosen])
    return found


def _features(table: Any, column: str) -> list[str] | None:
    """The names of the classes as the hub writes them into a parquet file."""
    try:
        features = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return None


def hub(name: str) -> Path:
    """Where a data set of the hub lies on this machine. Raises DifftoolError 4 where it does not: nothing is
    downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
    except HFValidationError as error:
        raise DifftoolError(Exit.USAGE, f"hf:{name} is no name on the hub", "write hf:owner/name") from error
    except (LocalEntryNotFoundError, FileNotFoundError, OSError) as error:
        hint = f"fetch it once with: hf download --repo-type dataset {name}"
        raise DifftoolError(Exit.FILE, f"the data set {name} is not on this machine", hint) from error


# --- pictures in files of their own ----------------------------------------------------------------------------------


def _pictures(files: Contents, size: tuple[int, int] | None) -> Raw:
    """All pictures, cut to the middle and scaled to one size. If they lie in two or more sub-folders and nowhere else,
    the sub-folders' names are their labels. A text file of the same name is the caption. Files that are no intact
    pictures are left out and named."""
    entries = {name: opened for name, opened in files.items() if PurePosixPath(name).suffix.lower() in SUFFIXES}
    if not entries:
        raise DifftoolError(Exit.FILE, "there are no pictures in it", f"name {KNOWN}")
    pixels, kept, skipped = decode(entries, size)
    paths = [PurePosixPath(name) for name in kept]
    while paths and all(len(path.parts) > 2 for path in paths) and len({path.parts[0] for path in paths}) == 1:
        paths = [PurePosixPath(*path.parts[1:]) for path in paths]  # a zip of a folder of folders
    classes = sorted({path.parts[0] for path in paths}) if all(len(path.parts) > 1 for path in paths) else []
    labels = np.array([classes.index(path.parts[0]) for path in paths], np.int64) if len(classes) > 1 else None
    texts = [str(PurePosixPath(name).with_suffix(".txt")) for name in kept]
    captions = None
    if any(name in files for name in texts):
        read = [files[name]().decode(errors="replace") if name in files else "" for name in texts]
        captions = [" ".join(text.split()) for text in read]
    return Raw(pixels, labels, [] if labels is None else classes, captions, skipped)
