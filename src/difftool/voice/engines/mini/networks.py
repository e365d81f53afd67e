"""The networks of the voice in the package, with what was learned of a voice."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ....errors import DifftoolError, Exit
from ....files import digest_of, load_tensors
from ....nets.mini.speech import Speech
from ....nets.mini.vocoder import Vocoder
from ....nets.official import same_shapes
from ....nets.spectrum import MELS
from .files import FOLDER, reading

FILES = ("speech.safetensors", "vocoder.safetensors")
LEARNED = "difftool/mini-voice/1"
"""The schema of a file of what was learned of a voice."""


class Voice(NamedTuple):
    """What the networks know of a voice."""

    vectors: Tensor
    """(K, C)"""
    pitch: Tensor
    """(1,) Hz, the median, 0 where it is not known"""
    tone: Tensor
    """(MELS, 1), added to the log mels"""


class Networks(NamedTuple):
    """The networks, ready to run."""

    speech: Speech
    """Its flow is in the number format of the run, the rest in float32."""
    vocoder: Vocoder
    random: dict[str, Tensor]
    """Of the voices that it was trained on: `mean` (K, C), principal directions `basis` (N, K, C), and `pitch`
    (1 + N,), the logarithm of the pitch at the mean and its change along each direction."""
    device: torch.device
    dtype: torch.dtype
    learned: Voice | None = None
    """The voice that they were trained on."""


def open_networks(device: torch.device, dtype: torch.dtype, trained: Path | None = None) -> Networks:
    """The networks in the package, with what was learned of a voice. Raises DifftoolError 4 where a file is missing or
    damaged, or something was learned with other networks."""
    speech, vocoder = Speech(), Vocoder()
    with reading():
        weights, vocoder_weights = (
            {name: value.float() for name, value in load_tensors(FOLDER / file).tensors.items()} for file in FILES
        )
        random = {name: weights.pop(f"random.{name}") for name in ("mean", "basis", "pitch")}
        speech.load_state_dict(weights)
        vocoder.load_state_dict(vocoder_weights)
    learned = None if trained is None else _learned(trained, speech, random["mean"].shape)
    random = {name: value.to(device) for name, value in random.items()}
    speech.flow.to(dtype)
    for net in (speech, vocoder):
        net.to(device).eval().requires_grad_(False)
    if learned:
        learned = Voice(*(value.to(device) for value in learned))
    return Networks(speech, vocoder, random, device, dtype, learned)


def base_of() -> str:
    """SHA-256 of the weights that are tuned on a voice."""
    return digest_of(FOLDER / FILES[0])


def _learned(path: Path, speech: Speech, shape: tuple[int, ...]) -> Voice:
    """Replaces weights by those that were learned of a voice, in a file; returns the voice, with vectors of a shape."""
    hint = "train it again: difftool voice train with --overwrite, or add --no-trained"
    loaded = load_tensors(path)
    if loaded.metadata.get("schema") != LEARNED:
        raise DifftoolError(Exit.FILE, f"{path} does not contain what voice train learned for mini", hint)
    if loaded.metadata.get("base") != base_of():
        raise DifftoolError(Exit.FILE, f"{path} was trained with another version of the voice in the package", hint)
    weights = {name: value.float() for name, value in loaded.tensors.items()}
    try:
        pitch = float(loaded.metadata["pitch"])
        needed = {name: tuple(value.shape) for name, value in speech.state_dict().items() if name in weights}
        given = {name: tuple(value.shape) for name, value in weights.items()}
        same_shapes({**needed, "vectors": tuple(shape)}, given, path, hint)
        vectors = weights.pop("vectors")
        speech.load_state_dict(weights, strict=False)
    except (KeyError, ValueError) as error:
        raise DifftoolError(Exit.FILE, f"{path} is damaged: {error}", hint) from error
    return Voice(vectors, torch.tensor([pitch]), torch.zeros(MELS, 1))
