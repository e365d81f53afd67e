"""Tortoise's networks from files: official checkpoints, converted once, then read by mapping them into memory."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....core.paths import require
from ....errors import DifftoolError, Exit
from ....files import digest_of, read_json, replacing, unpickled
from ....models import MISFITS, same_shapes
from ....nets.tortoise.layers import prepare
from ....nets.tortoise.official import CHECKPOINTS, Checkpoint, ours, shapes
from ....store import DERIVED, room_for

log = logging.getLogger(__name__)

SCHEMA = "difftool/tortoise/1"
MOST_SIZE = 10_000
"""Of anything in a config: more would take long to build before it is compared with the file."""
_AGAIN = "remove it: it is made again from its checkpoint; if that is gone, run difftool models pull tortoise"
FILES = {name: file for file, checkpoint in CHECKPOINTS.items() for name in checkpoint.parts}
"""The networks, by name, and the official checkpoint that each is in."""


def open_network(
    name: str,
    folder: Path | str,
    *,
    checkpoint: Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """One of FILES, ready to run, from a folder of official .pth files, or from a `checkpoint` (one that was
    fine-tuned) in the place of its file there.

    The first time a checkpoint is converted, and kept beside it as ``FILE.difftool.safetensors``; from then on only
    what the network needs of that is read, and the checkpoint itself may go. ``config.json`` in the folder may give
    networks other sizes than the official ones: {"clvp": {"layers": 2}}.

    Raises DifftoolError 4 for a file that is missing, damaged, of another architecture, or asks to run code.
    """
    nets, converted = _converted(name, Path(folder), checkpoint)
    return _read(nets[name], CHECKPOINTS[FILES[name]].parts[name][0], converted, torch.device(device), dtype)


def hash_of(name: str, folder: Path | str, checkpoint: Path | None = None) -> str:
    """SHA-256 of the checkpoint that a network is in. Raises DifftoolError 4 where there is none."""
    source = checkpoint or Path(folder) / FILES[name]
    converted = source.with_name(source.name + DERIVED)
    return _metadata(converted)["source_sha256"] if _fresh(converted, source) else digest_of(source)


def is_there(name: str, folder: Path, checkpoint: Path | None = None) -> bool:
    """Whether the checkpoint of a network is in a folder, or what was made of it."""
    source = checkpoint or folder / FILES[name]
    return source.exists() or source.with_name(source.name + DERIVED).exists()


def empty(file: str, folder: Path) -> dict[str, nn.Module]:
    """The networks of an official file, in the sizes that a folder asks for, without weights."""
    try:
        with torch.device("meta"):
            return _build(CHECKPOINTS[file], folder)
    except MISFITS as error:
        message = f"{folder / 'config.json'} does not fit: {error}"
        raise DifftoolError(Exit.FILE, message, "restore the file, or remove it for the official sizes") from error


def _converted(name: str, folder: Path, checkpoint: Path | None) -> tuple[dict[str, nn.Module], Path]:
    """The networks, empty, that share the checkpoint of one of them, and the file that it is converted to."""
    source = checkpoint or folder / FILES[name]
    row, nets = CHECKPOINTS[FILES[name]], empty(FILES[name], folder)
    converted = source.with_name(source.name + DERIVED)
    if not _fresh(converted, source):
        _convert(row, nets, source, converted)
    return nets, converted


def _build(row: Checkpoint, folder: Path) -> dict[str, nn.Module]:
    config = folder / "config.json"
    sizes = read_json(config) if config.exists() else {}
    for name, given in sizes.items():
        require(name in FILES, f"there is no network {name!r} (known: {', '.join(FILES)})")
        require(isinstance(given, Mapping), f"the sizes of {name} are no table")
        for key, value in given.items():
            counts = value if isinstance(value, list) else [value]
            fine = bool(counts) and all(type(count) is int and 0 < count <= MOST_SIZE for count in counts)
            require(fine, f"{key} of {name} is no number from 1 to {MOST_SIZE:,}: {value!r}")
    return {name: net(**sizes.get(name, {})) for name, (_, net) in row.parts.items()}


def _fresh(converted: Path, source: Path) -> bool:
    """Whether a converted file is there that came from the checkpoint as it is now, if it is still there."""
    if not converted.exists():
        return False
    metadata = _metadata(converted)
    if not metadata.get("schema", "").startswith("difftool/tortoise/"):
        raise DifftoolError(Exit.FILE, f"{converted} was not made by difftool", "move it away")
    known = metadata["schema"] == SCHEMA
    return known and (not source.exists() or metadata.get("source_state") == _state(source))


def _state(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DifftoolError(Exit.FILE, f"{path} is no intact safetensors file: {error}", _AGAIN) from error


def _convert(row: Checkpoint, nets: Mapping[str, nn.Module], source: Path, converted: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    log.info("converting %s, once", source)
    official = _load(source, row)
    hint = f"take the {FILES[next(iter(nets))]} of Tortoise, or one that was fine-tuned from it"
    same_shapes(shapes(row, nets), {name: tuple(tensor.shape) for name, tensor in official.items()}, source, hint)
    metadata = {
        "schema": SCHEMA,
        "source": source.name,
        "source_sha256": digest_of(source),
        "source_state": _state(source),
    }
    tensors = {name: tensor.contiguous() for name, tensor in ours(row, nets, official).items()}
    if strange := next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None):
        raise DifftoolError(Exit.FILE, f"{source} is of no use: {strange} holds what is no number", hint)
    metadata |= {f"sum of {name}": _sum(tensor) for name, tensor in tensors.items()}
    room_for(sum(tensor.nbytes for tensor in tensors.values()), converted.parent)
    try:
        with replacing(converted) as written:
            save_file(tensors, written, metadata)
    except (SafetensorError, OSError) as error:  # the first is how safetensors tells of a disk that takes no more
        message = f"cannot write {converted}: {getattr(error, 'strerror', None) or error}"
        raise DifftoolError(Exit.FILE, message, "copy the checkpoints to a folder that can be written to") from error


def _load(source: Path, row: Checkpoint) -> dict[str, Tensor]:
    """The tensors of a checkpoint, without running any code that it brings along."""
    name = next(file for file, known in CHECKPOINTS.items() if known is row)
    hint = (
        "run difftool models pull tortoise" if source.name == name else "see that the file is complete, or name another"
    )
    found = unpickled(source, "checkpoint", hint, mmap=True)
    if row.inside and isinstance(found, dict):
        found = found.get(row.inside, found)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise DifftoolError(Exit.FILE, f"{source} holds no table of tensors", hint)
    tensors = {name: tensor for name, tensor in found.items() if not re.fullmatch(row.legacy, name)}
    if strange := next((name for name, tensor in tensors.items() if not _plain(tensor)), None):
        raise DifftoolError(Exit.FILE, f"{source} holds {strange}, which is no tensor of weights", hint)
    return tensors


def _plain(tensor: Any) -> bool:
    """Whether an entry of a checkpoint is a tensor that weights can be."""
    if not isinstance(tensor, Tensor) or tensor.is_nested or tensor.layout != torch.strided:
        return False
    return tensor.is_floating_point() and not tensor.is_quantized and tensor.device.type == "cpu"


def _sum(tensor: Tensor) -> str:
    """A checksum that takes no time beside the reading: any bit that flips changes it."""
    return str(int(tensor.view(-1).view(torch.int32).sum(dtype=torch.int32)))


def _read(net: nn.Module, prefix: str, path: Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Fills a network that is on the meta device, one layer after the other, so that no two copies of it are in memory:
    what is packed, cast or moved is unmapped before the next layer comes, and the rest stays mapped."""
    from safetensors import SafetensorError, safe_open

    sums = _metadata(path)
    for name, module in net.named_modules(prefix=prefix.rstrip(".")):
        keys = [key for key, _ in module.named_parameters(recurse=False)]
        if not keys:
            continue
        try:
            with safe_open(path, "pt") as file:
                for key in keys:
                    own = f"{name}.{key}".lstrip(".")
                    tensor = file.get_tensor(own)
                    if tensor.shape != (wanted := getattr(module, key).shape) or tensor.dtype != torch.float32:
                        raise SafetensorError(f"{own} has the shape {list(tensor.shape)}, not {list(wanted)}")
                    if sums.get(f"sum of {own}") != _sum(tensor):
                        raise SafetensorError(f"{own} does not match its checksum")
                    # a bias that stayed in the file would keep the weight beside it mapped
                    moved = tensor.to(device, copy=tensor.ndim == 1)
                    setattr(module, key, nn.Parameter(moved, requires_grad=False))
                    del tensor, moved
        except SafetensorError as error:
            raise DifftoolError(Exit.FILE, f"{path} does not hold this network: {error}", _AGAIN) from error
        prepare(module, dtype)
    return net.eval()
