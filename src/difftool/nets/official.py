"""How official checkpoints name and lay out our tensors, and the loading of networks from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import DifftoolError, Exit
from ..files import unpickled
from .layers import prepare

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


class Layout(NamedTuple):
    """How a checkpoint stores one of our tensors: functions from the official name to the names of its parts there,
    from our shape to their shapes, and from those parts to our tensor."""

    names: Callable[[str], tuple[str, ...]]
    shapes: Callable[[Shape], tuple[Shape, ...]]
    ours: Callable[..., Tensor]


SAME = Layout(lambda name: (name,), lambda s: (s,), lambda w: w)


def _three_names(name: str) -> tuple[str, ...]:
    return tuple(name.replace("to_qkv", f"to_{part}") for part in "qkv")


def _three_shapes(shape: Shape) -> tuple[Shape, ...]:
    rows, *columns = shape
    return ((rows // 3, *columns),) * 3


JOINED = Layout(_three_names, _three_shapes, lambda *parts: torch.cat(parts))
"""Separate queries, keys and values."""


class Checkpoint(NamedTuple):
    """An official file, which may hold more than one of our networks."""

    parts: Mapping[str, tuple[str, Callable[..., nn.Module]]]
    """Our networks in it: by name, the prefix of their tensors there and the class."""
    names: tuple[tuple[str, str], ...] = ()
    """Substitutions, one after the other, that turn our names into the official ones."""
    layouts: tuple[tuple[str, Layout], ...] = ()
    """Patterns of our prefixed names; the first match applies, and without one the layout is the same."""
    unused: Callable[[Shapes], Shapes] = lambda shapes: {}
    """Unused tensors that the file must have, from the official shapes of the used ones."""
    constants: Callable[[], Mapping[str, Tensor]] = dict
    """Tensors that the file must have and that follow from a formula, by their official names."""
    legacy: str = "(?!)"
    """A pattern of tensors that the file may have and that are dropped."""
    inside: str = ""
    """The key of the tensors in a file that contains more, or several keys, of which the first one there counts."""


def sources(
    checkpoint: Checkpoint, nets: Mapping[str, nn.Module]
) -> dict[str, tuple[Layout, tuple[str, ...], tuple[Shape, ...]]]:
    """For each tensor of our networks, by prefixed name: its layout, and the names and shapes of the official tensors
    that it comes from. `nets` are named as in `checkpoint.parts`."""
    found = {}
    for name, net in nets.items():
        for own, tensor in net.state_dict(prefix=checkpoint.parts[name][0]).items():
            theirs = own
            for pattern, replacement in checkpoint.names:
                theirs = re.sub(pattern, replacement, theirs)
            layout = next((row for pattern, row in checkpoint.layouts if re.fullmatch(pattern, own)), SAME)
            found[own] = layout, layout.names(theirs), layout.shapes(tuple(tensor.shape))
    return found


def shapes(checkpoint: Checkpoint, nets: Mapping[str, nn.Module]) -> Shapes:
    """The names and shapes of all tensors in an official file."""
    needed: Shapes = {}
    for _, names, theirs in sources(checkpoint, nets).values():
        needed |= zip(names, theirs, strict=True)
    constants = {name: tuple(tensor.shape) for name, tensor in checkpoint.constants().items()}
    return needed | constants | checkpoint.unused(needed)


def ours(checkpoint: Checkpoint, nets: Mapping[str, nn.Module], official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors, by prefixed name, from those of an official file that has the right `shapes`."""
    made = {}
    for own, (layout, names, _) in sources(checkpoint, nets).items():
        parts = [official[name].float() for name in names]
        made[own] = layout.ours(*parts)
    return made


def same_shapes(
    needed: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]], origin: Path, hint: str
) -> None:
    """Raises DifftoolError 4, with the first difference, unless the tensors `given` in a file have the names and shapes
    of those `needed`."""
    differences = [f"it lacks {name}" for name in needed if name not in given]
    differences += [f"it has {name}, which the network does not" for name in given if name not in needed]
    for name, shape in needed.items():
        if name in given and given[name] != shape:
            differences.append(f"{name} has the shape {list(given[name])}, not {list(shape)}")
    if differences:
        more = f" (and {len(differences) - 1} more)" if differences[1:] else ""
        raise DifftoolError(Exit.FILE, f"{origin} has a different architecture: {differences[0]}{more}", hint)


class Stored(NamedTuple):
    """A tensor of a file, which is read when it is needed."""

    shape: Shape
    read: Callable[[], Tensor]


def stored_in(path: Path, checkpoint: Checkpoint, hint: str) -> dict[str, Stored]:
    """The tensors of an official file of PyTorch or safetensors, without the legacy ones. Raises DifftoolError 4 if it
    is missing or damaged, holds anything else, or would run code."""
    if path.suffix == ".safetensors":
        return _mapped(path, checkpoint, hint)
    tensors = tensors_in(unpickled(path, "checkpoint", hint, mmap=True), checkpoint, path, hint)
    return {name: Stored(tuple(tensor.shape), tensor.float) for name, tensor in tensors.items()}


def _mapped(path: Path, checkpoint: Checkpoint, hint: str) -> dict[str, Stored]:
    from safetensors import SafetensorError, safe_open

    def reader(name: str) -> Callable[[], Tensor]:
        def read() -> Tensor:
            with safe_open(path, "pt") as file:  # anew, so that memory holds no more of it than is used
                return file.get_tensor(name)

        return read

    try:
        with path.open("rb"), safe_open(path, "pt") as file:  # the errors of the former are clearer
            names = [name for name in file.keys() if not re.fullmatch(checkpoint.legacy, name)]  # noqa: SIM118
            return {name: Stored(tuple(file.get_slice(name).get_shape()), reader(name)) for name in names}
    except OSError as error:
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {error.strerror}", hint) from error
    except SafetensorError as error:
        raise DifftoolError(Exit.FILE, f"{path} is not a valid safetensors file: {error}", hint) from error


def tensors_in(state: object, checkpoint: Checkpoint, source: Path, hint: str) -> dict[str, Tensor]:
    """The tensors in the unpickled contents of an official file, without the legacy ones. Raises DifftoolError 4 if
    there is anything else."""
    if isinstance(state, dict):
        state = next((state[key] for key in checkpoint.inside.split() if key in state), state)
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise DifftoolError(Exit.FILE, f"{source} does not contain a table of tensors", hint)
    tensors = {name: tensor for name, tensor in state.items() if not re.fullmatch(checkpoint.legacy, name)}
    invalid = next((name for name, tensor in tensors.items() if not _is_weight(tensor)), None)
    if invalid:
        raise DifftoolError(Exit.FILE, f"{source} contains {invalid}, which is not a tensor of weights", hint)
    return tensors


def _is_weight(tensor: Any) -> bool:
    """Whether an entry of a checkpoint is a dense tensor of numbers."""
    if not isinstance(tensor, Tensor) or tensor.is_nested or tensor.layout != torch.strided:
        return False
    return tensor.is_floating_point() and not tensor.is_quantized and tensor.device.type == "cpu"


def loaded(
    name: str,
    checkpoint: Checkpoint,
    stored: Mapping[str, Stored],
    path: Path,
    hint: str,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> nn.Module:
    """A network of a checkpoint, by name, ready to run, from the tensors of an official file at `path`, layer by layer.
    Raises DifftoolError 4 unless these are, name by name, those of the checkpoint."""
    with torch.device("meta"):
        nets = {part: make() for part, (_, make) in checkpoint.parts.items()}
    given = {official: entry.shape for official, entry in stored.items()}
    same_shapes(shapes(checkpoint, nets), given, path, hint)
    for official, wanted in checkpoint.constants().items():
        if not torch.allclose(stored[official].read().float(), wanted, rtol=1e-3, atol=1e-5):
            raise DifftoolError(Exit.FILE, f"{path} has a different architecture: other values of {official}", hint)
    net, prefix = nets[name], checkpoint.parts[name][0]
    rows = sources(checkpoint, {name: net})
    for place, module in net.named_modules(prefix=prefix.rstrip(".")):
        for key, _ in list(module.named_parameters(recurse=False)):
            layout, names, _ = rows[f"{place}.{key}".lstrip(".")]
            parts = [stored[official].read().float() for official in names]
            tensor = layout.ours(*parts)
            if not tensor.isfinite().all():
                message = f"{path} is invalid: {names[0]} contains values that are not finite"
                raise DifftoolError(Exit.FILE, message, hint)
            # a bias that stayed in the file would keep the whole file mapped
            moved = tensor.contiguous().to(device, copy=tensor.ndim == 1)
            setattr(module, key, nn.Parameter(moved, requires_grad=False))
        prepare(module, dtype)
    return net.eval()
