"""What `voice train` learned of a voice: a file of weights that replace those of the decoder, or are added to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ....errors import DifftoolError, Exit
from .weights import metadata_of, sum_name, sum_of, write

RETRAIN = "train the voice again, or speak with --no-trained"
SCHEMA = "difftool/tortoise-learned/1"
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""In place of .weight, the names of the two factors that are added to a matrix (Hu et al. 2021, arXiv:2106.09685):
(rank, inp) and (out, rank)."""


class Learned:
    """Learned tensors by their official names, in the official layouts."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def applied(self, name: str, tensor: Tensor, laid: Callable[[Tensor], Tensor] = lambda w: w) -> Tensor:
        """A tensor of the base with what was learned; `laid` is the layout that it has."""
        if name in self.tensors:
            return laid(self.tensors[name].float())
        down = self.tensors.get(name.removesuffix(".weight") + DOWN)
        if down is None:
            return tensor
        up = self.tensors[name.removesuffix(".weight") + UP]
        return tensor + laid((up.float() @ down.float()).T)

    def targets(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and official shapes of the tensors that it changes."""
        for name, tensor in self.tensors.items():
            if name.endswith(DOWN):
                up = self.tensors.get(name.removesuffix(DOWN) + UP, torch.empty(0, 0))
                yield name.removesuffix(DOWN) + ".weight", (tensor.shape[1], up.shape[0])
            elif not name.endswith(UP):
                yield name, tuple(tensor.shape)


def opened(path: Path, base: str) -> Learned:
    """The contents of a file of `voice train`. Raises DifftoolError 4 where it is missing or damaged, or belongs to
    another decoder than that of the SHA-256 `base`."""
    from safetensors.torch import load_file

    metadata = metadata_of(path, RETRAIN)
    if metadata.get("schema") != SCHEMA:
        raise DifftoolError(Exit.FILE, f"{path} was not made by voice train with Tortoise", RETRAIN)
    if metadata.get("base") != base:
        raise DifftoolError(Exit.FILE, f"{path} was trained on another autoregressive.pth", RETRAIN)
    tensors = load_file(path)
    if wrong := next((name for name, w in tensors.items() if metadata.get(sum_name(name)) != sum_of(w)), None):
        raise DifftoolError(Exit.FILE, f"{path} is damaged: {wrong} does not match its checksum", RETRAIN)
    return Learned(tensors)


def write_learned(path: Path, tensors: Mapping[str, Tensor], base: str) -> None:
    """Writes what was learned on the decoder of the SHA-256 `base`, by official name and in the official layout."""
    contiguous = {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}
    write(path, contiguous, {"schema": SCHEMA, "base": base})
