"""The file formats of MNIST, CIFAR and data sets like them."""

from __future__ import annotations

import math
import re
import struct
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ...errors import DifftoolError, Exit
from .contents import Damaged
from .decode import Contents
from .raw import Raw, bytes_of, together
from .splits import for_test


def is_idx(name: str) -> bool:
    return re.search(r"idx3(-ubyte)?(\.gz)?$", name.lower()) is not None


def read_idx(files: Contents, size: tuple[int, int] | None) -> Raw:
    """IDX, the format of MNIST, Fashion-MNIST and EMNIST: pictures in a file with "idx3" in its name, labels beside it
    in one with "idx1"; t10k or test is held out."""
    names = [name for name in files if is_idx(name)]
    doubles = {name for name in names if name.endswith(".gz") and name.removesuffix(".gz") in names}
    names = [name for name in names if name not in doubles]
    if len(names) > 2:
        raise DifftoolError(Exit.FILE, f"{len(names)} files of pictures: {', '.join(names)}", "pass one of them")
    held = [name for name in names if for_test(name)] if len(names) > 1 else []
    rest = [name for name in names if name not in held]
    if max(len(held), len(rest)) > 1:
        raise DifftoolError(Exit.FILE, f"{' and '.join(names)} are the same part of a data set", "pass one of them")
    train, labels = _idx_pair(rest[0], files)
    test, others = _idx_pair(held[0], files) if held else (None, None)
    return together(train, test, (labels, others), f"the label file of {rest[0]}")


def _idx_pair(name: str, files: Contents) -> tuple[Raw, np.ndarray[Any, Any] | None]:
    pixels = idx_array(name, files)
    if pixels.ndim not in (3, 4) or pixels.dtype != np.uint8:
        raise DifftoolError(Exit.FILE, f"{name} does not contain 8-bit pictures", "pass the file with idx3 in its name")
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    beside = name.replace("images", "labels").replace("idx3", "idx1")
    candidates = (beside, beside.removesuffix(".gz"), f"{beside}.gz")
    labels = next((other for other in candidates if other in files), None)
    if labels in (None, name):
        return Raw(pixels), None
    return Raw(pixels), idx_array(labels, files)


def idx_array(name: str, files: Contents) -> np.ndarray[Any, Any]:
    """The array of an IDX file: two zeros, a byte for the type, one for the dimensions, their sizes, the values."""
    kinds = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    again = "copy or download it again"
    data = bytes_of(name, files)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in kinds:
        raise Damaged(Exit.FILE, f"{name} is not an IDX file", again)
    kind, dimensions = np.dtype(kinds[data[2]]), data[3]
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise Damaged(Exit.FILE, f"{name} is not an IDX file", again)
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    body = data[start:]
    announced = math.prod(shape) * kind.itemsize
    if len(body) != announced:
        message = f"the header of {name} declares {announced:,} bytes, but the file has {len(body):,}"
        raise Damaged(Exit.FILE, message, again)
    return np.frombuffer(body, kind).reshape(shape)


def read_cifar(files: Contents, size: tuple[int, int] | None) -> Raw:
    """The binary versions of CIFAR-10 (one byte of label, 3,072 of pixels) and CIFAR-100 (coarse label, fine label,
    pixels), all files or some of them. Labels are the fine ones."""
    # 1. which of the two it is
    batches = [name for name in files if PurePosixPath(name).suffix == ".bin"]
    hundred = any(PurePosixPath(name).name in ("train.bin", "test.bin") for name in batches)
    record = 3074 if hundred else 3073
    # 2. the bytes of both parts
    held = [name for name in batches if for_test(name)]
    rest = [name for name in batches if name not in held]
    parts = [b"".join(bytes_of(name, files) for name in part) for part in (rest, held)]
    for data in parts:
        if len(data) % record:
            message = (
                f"{len(data):,} bytes in {', '.join(batches)} are not a multiple of {record:,}, the size of a picture"
            )
            raise DifftoolError(Exit.FILE, message, "copy the binary version of CIFAR-10 or CIFAR-100 again")
    if not parts[0]:
        parts.reverse()
    # 3. the names of the classes
    named = "fine_label_names.txt" if hundred else "batches.meta.txt"
    meta = next((name for name in files if PurePosixPath(name).name == named), None)
    names = None if meta is None else bytes_of(meta, files).decode(errors="replace").split()
    (train, labels), (test, others) = (_cifar_part(data, record) for data in parts)
    held_out = test if len(test.pixels) else None
    return together(train, held_out, (labels, others), ", ".join(batches), names)


def _cifar_part(data: bytes, record: int) -> tuple[Raw, np.ndarray[Any, Any]]:
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    planes = rows[:, -3072:].reshape(-1, 3, 32, 32)
    labels = rows[:, record - 3073]  # the last byte before the pixels
    pixels = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return Raw(pixels), labels.astype(np.int64)


def count_cifar(files: Contents) -> int:
    sizes = [len(read()) for read in files.values()]
    if any(size % 3073 and size % 3074 for size in sizes):
        return 0
    return sum(sizes) // 3073
