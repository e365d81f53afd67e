"""Files of weights that are mapped instead of read, with a checksum for each tensor."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ....errors import DifftoolError, Exit, raise_what_ended
from ....files import replacing


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes float32 tensors atomically. Raises OSError where they cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    sums = {sum_name(name): sum_of(tensor) for name, tensor in tensors.items()}
    try:
        with replacing(path) as written:
            save_file(dict(tensors), written, {**metadata, **sums})
    except SafetensorError as error:  # for a full disk
        raise_what_ended(str(error))
        raise OSError(errno.EIO, str(error), str(path)) from error


def metadata_of(path: Path, hint: str) -> dict[str, str]:
    """The metadata of a file. Raises DifftoolError 4, with this hint, for a damaged one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DifftoolError(Exit.FILE, f"{path} is not a valid safetensors file: {error}", hint) from error


def sum_name(name: str) -> str:
    """The key of a tensor's checksum in the metadata."""
    return f"sum of {name}"


def sum_of(tensor: Tensor) -> str:
    """A fast checksum: any flipped bit changes it."""
    return str(int(tensor.view(-1).view(torch.int32).sum(dtype=torch.int32)))
