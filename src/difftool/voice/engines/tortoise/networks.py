"""Loading of Tortoise's networks: official checkpoints are converted once, then memory-mapped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ....core.paths import require
from ....errors import DifftoolError, Exit
from ....files import digest_of, read_json, unpickled
from ....models import MISFITS
from ....nets.layers import prepare
from ....nets.official import Checkpoint, ours, same_shapes, shapes, sources, tensors_in
from ....nets.tortoise.official import CHECKPOINTS
from ....store import DERIVED, room_for
from .learned import RETRAIN, opened
from .weights import metadata_of, sum_name, sum_of, write

log = logging.getLogger(__name__)

SCHEMA = "difftool/tortoise/1"
MOST_SIZE = 10_000
"""Maximum of any size in a config: a larger network would take long to build before it is compared with the file."""
_AGAIN = "remove it to create it again from its checkpoint; if that is gone, run difftool models pull tortoise"
FILES = {name: file for file, checkpoint in CHECKPOINTS.items() for name in checkpoint.parts}
"""The networks by name, and the official checkpoint of each."""


def open_network(
    name: str,
    folder: Path | str,
    *,
    checkpoint: Path | None = None,
    learned: Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
) -> nn.Module:
    """One of FILES, ready to run, from a folder of official .pth files, or from a (fine-tuned) `checkpoint` instead of
    its file there; without a `dtype` in float32 as it is trained. `learned` is a file of `voice train`, with what the
    decoder learned of a voice.

    A checkpoint is converted on first use to ``FILE.difftool.safetensors`` beside it; later only the tensors of the
    network are read from that, and the checkpoint may be removed. ``config.json`` in the folder may give networks other
    sizes than the official ones: {"clvp": {"layers": 2}}.

    Raises DifftoolError 4 for a file that is missing, damaged, of another architecture, or contains code.
    """
    nets, converted = _converted(name, Path(folder), checkpoint)
    row, net = CHECKPOINTS[FILES[name]], nets[name]
    change = None if learned is None else _changes(row, {name: net}, learned, hash_of(name, folder, checkpoint))
    return _read(net, row.parts[name][0], converted, torch.device(device), dtype, change)


def _changes(
    row: Checkpoint, nets: Mapping[str, nn.Module], learned: Path, base: str
) -> Callable[[str, Tensor], Tensor]:
    """Applies a file of `voice train` to a tensor, by its name in the converted file. Raises DifftoolError 4 if it does
    not match the networks."""
    file, own, needed = opened(learned, base), sources(row, nets), shapes(row, nets)
    if wrong := next((name for name, shape in file.targets() if needed.get(name) != shape), None):
        message = f"{learned} does not match this network: {wrong} differs"
        raise DifftoolError(Exit.FILE, message, RETRAIN)

    def change(name: str, tensor: Tensor) -> Tensor:
        layout, names, _ = own[name]
        return file.applied(names[0], tensor, layout.ours)

    return change


def hash_of(name: str, folder: Path | str, checkpoint: Path | None = None) -> str:
    """SHA-256 of the checkpoint of a network. Raises DifftoolError 4 where there is none."""
    source = checkpoint or Path(folder) / FILES[name]
    converted = source.with_name(source.name + DERIVED)
    return metadata_of(converted, _AGAIN)["source_sha256"] if _fresh(converted, source) else digest_of(source)


def empty(file: str, folder: Path) -> dict[str, nn.Module]:
    """The networks of an official file, in the sizes of a folder's config, without weights."""
    try:
        with torch.device("meta"):
            return _build(CHECKPOINTS[file], folder)
    except MISFITS as error:
        message = f"{folder / 'config.json'} is invalid: {error}"
        raise DifftoolError(Exit.FILE, message, "restore the file, or remove it for the official sizes") from error


def _converted(name: str, folder: Path, checkpoint: Path | None) -> tuple[dict[str, nn.Module], Path]:
    """The networks, without weights, in the checkpoint of one of them, and the file that it is converted to."""
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
        require(name in FILES, f"unknown network {name!r} (known: {', '.join(FILES)})")
        require(isinstance(given, Mapping), f"the sizes of {name} are not a JSON object")
        for key, value in given.items():
            counts = value if isinstance(value, list) else [value]
            is_valid = bool(counts) and all(type(count) is int and 0 < count <= MOST_SIZE for count in counts)
            require(is_valid, f"{key} of {name} is not a number from 1 to {MOST_SIZE:,}: {value!r}")
    return {name: net(**sizes.get(name, {})) for name, (_, net) in row.parts.items()}


def _fresh(converted: Path, source: Path) -> bool:
    """Whether there is a converted file that matches the checkpoint, if that still exists."""
    if not converted.exists():
        return False
    metadata = metadata_of(converted, _AGAIN)
    if not metadata.get("schema", "").startswith("difftool/tortoise/"):
        raise DifftoolError(Exit.FILE, f"{converted} was not made by difftool", "move it away")
    known = metadata["schema"] == SCHEMA
    return known and (not source.exists() or metadata.get("source_state") == _state(source))


def _state(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _convert(row: Checkpoint, nets: Mapping[str, nn.Module], source: Path, converted: Path) -> None:
    log.info("converting %s (only once)", source)
    official = _load(source, row)
    hint = f"use the {FILES[next(iter(nets))]} of Tortoise, or a checkpoint fine-tuned from it"
    stored = {name: tuple(tensor.shape) for name, tensor in official.items()}
    same_shapes(shapes(row, nets), stored, source, hint)
    metadata = {
        "schema": SCHEMA,
        "source": source.name,
        "source_sha256": digest_of(source),
        "source_state": _state(source),
    }
    tensors = {name: tensor.contiguous() for name, tensor in ours(row, nets, official).items()}
    invalid = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if invalid:
        raise DifftoolError(Exit.FILE, f"{source} is invalid: {invalid} contains values that are not finite", hint)
    room_for(sum(tensor.nbytes for tensor in tensors.values()), converted.parent)
    try:
        write(converted, tensors, metadata)
    except OSError as error:
        message = f"cannot write {converted}: {error.strerror}"
        raise DifftoolError(Exit.FILE, message, "copy the checkpoints to a writable folder") from error


def _load(source: Path, row: Checkpoint) -> dict[str, Tensor]:
    """The tensors of a checkpoint, read without running any code in it."""
    name = next(file for file, known in CHECKPOINTS.items() if known is row)
    hint = "check that the file is complete, or use another"
    if source.name == name:
        hint = "run difftool models pull tortoise"
    state = unpickled(source, "checkpoint", hint, mmap=True)
    return tensors_in(state, row, source, hint)


def _read(
    net: nn.Module,
    prefix: str,
    path: Path,
    device: torch.device,
    dtype: torch.dtype | None,
    change: Callable[[str, Tensor], Tensor] | None,
) -> nn.Module:
    """Loads the weights of a network on the meta device layer by layer, so that memory never holds two copies of it:
    tensors that are packed, cast or moved are unmapped before the next layer, and the others stay mapped."""
    from safetensors import SafetensorError, safe_open

    sums = metadata_of(path, _AGAIN)
    for name, module in net.named_modules(prefix=prefix.rstrip(".")):
        keys = [key for key, _ in module.named_parameters(recurse=False)]
        if not keys:
            continue
        try:
            with safe_open(path, "pt") as file:
                for key in keys:
                    own = f"{name}.{key}".lstrip(".")
                    tensor = file.get_tensor(own)
                    if tensor.shape != (expected := getattr(module, key).shape) or tensor.dtype != torch.float32:
                        raise SafetensorError(f"{own} has the shape {list(tensor.shape)}, not {list(expected)}")
                    if sums.get(sum_name(own)) != sum_of(tensor):
                        raise SafetensorError(f"{own} does not match its checksum")
                    tensor = tensor if change is None else change(own, tensor)
                    # a bias that stayed in the file would keep the weight beside it mapped
                    moved = tensor.to(device, copy=tensor.ndim == 1)
                    setattr(module, key, nn.Parameter(moved, requires_grad=False))
                    del tensor, moved
        except SafetensorError as error:
            raise DifftoolError(Exit.FILE, f"{path} does not match this network: {error}", _AGAIN) from error
        if dtype is not None:
            prepare(module, dtype)
    return net.eval()
