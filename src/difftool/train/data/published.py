"""The files in which MNIST and CIFAR were published, and what came after them."""

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
    """IDX as MNIST, Fashion-MNIST and EMNIST come: pictures in a file with "idx3" in its name, labels beside it with
    "idx1"; t10k or test is set aside."""
    names = [name for name in files if is_idx(name)]
    names = [name for name in names if name.removesuffix(".gz") not in names or not name.endswith(".gz")]
    if len(names) > 2:
        raise DifftoolError(Exit.FILE, f"there are {len(names)} files of pictures here: {', '.join(names)}", "name one")
    parts = {"test" if for_test(name) and len(names) > 1 else "train": name for name in names}
    if len(parts) < len(names):
        raise DifftoolError(Exit.FILE, f"which of {' and '.join(names)} is to be learned?", "name one of them")
    (train, labels), test = _idx_pair(parts["train"], files), (None, None)
    if "test" in parts:
        test = _idx_pair(parts["test"], files)
    return together(train, test[0], (labels, test[1]), f"the file of labels of {parts['train']}")


def _idx_pair(name: str, files: Contents) -> tuple[Raw, np.ndarray[Any, Any] | None]:
    pixels = idx_array(name, files)
    if pixels.ndim not in (3, 4) or pixels.dtype != np.uint8:
        raise DifftoolError(Exit.FILE, f"{name} holds no pictures of bytes", "name the file with idx3 in its name")
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    beside = name.replace("images", "labels").replace("idx3", "idx1")
    found = next((other for other in (beside, beside.removesuffix(".gz"), f"{beside}.gz") if other in files), None)
    return Raw(pixels), None if found in (None, name) else idx_array(found, files)


def idx_array(name: str, files: Contents) -> np.ndarray[Any, Any]:
    kinds = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
    data = bytes_of(name, files)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in kinds or len(data) < 4 + 4 * data[3]:
        raise Damaged(Exit.FILE, f"{name} is no IDX file", "copy or download it again")
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    body, kind = data[4 + 4 * data[3] :], np.dtype(kinds[data[2]])
    if len(body) != math.prod(shape) * kind.itemsize:
        what = f"{name} announces {math.prod(shape) * kind.itemsize:,} bytes and holds {len(body):,}"
        raise Damaged(Exit.FILE, what, "copy or download it again")
    return np.frombuffer(body, kind).reshape(shape)


def read_cifar(files: Contents, size: tuple[int, int] | None) -> Raw:
    """The binary versions of CIFAR-10 (a byte of label, then 3,072 of pixels) and CIFAR-100 (coarse and fine label):
    whole, or some of their files. Labels are the fine ones."""
    batches = [name for name in files if PurePosixPath(name).suffix == ".bin"]
    hundred = any(PurePosixPath(name).name in ("train.bin", "test.bin") for name in batches)
    record = 3074 if hundred else 3073
    held = [name for name in batches if for_test(name)]
    parts = [b"".join(bytes_of(name, files) for name in batches if (name in held) == test) for test in (False, True)]
    for data in parts:
        if len(data) % record:
            what = f"{len(data):,} bytes in {', '.join(batches)} are no whole pictures of {record:,}"
            raise DifftoolError(Exit.FILE, what, "copy the binary version of CIFAR-10 or CIFAR-100 again")
    named = "fine_label_names.txt" if hundred else "batches.meta.txt"
    meta = next((name for name in files if PurePosixPath(name).name == named), None)
    names = None if meta is None else bytes_of(meta, files).decode(errors="replace").split()
    (train, labels), (test, others) = (_cifar_part(data, record) for data in (parts if parts[0] else parts[::-1]))
    return together(train, test if len(test.pixels) else None, (labels, others), ", ".join(batches), names)


def _cifar_part(data: bytes, record: int) -> tuple[Raw, np.ndarray[Any, Any]]:
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    pixels = np.ascontiguousarray(rows[:, -3072:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return Raw(pixels), rows[:, record - 3073].astype(np.int64)


def count_cifar(files: Contents) -> int:
    sizes = [len(read()) for read in files.values()]
    return sum(sizes) // 3073 if not any(size % 3073 and size % 3074 for size in sizes) else 0
