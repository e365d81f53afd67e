"""Where the files of F5-TTS and Vocos lie, and which architecture they have. Nothing heavy is imported."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ....errors import DifftoolError, Exit, pick
from ....files import expanded, read_json
from ....settings import plain
from ....store import home as models_home

if TYPE_CHECKING:
    from ....nets.f5.architecture import Architecture

CHECKPOINT, VOCABULARY = "F5TTS_v1_Base/model_1250000.safetensors", "F5TTS_v1_Base/vocab.txt"
VOCODER = "pytorch_model.bin"
KNOWN = {
    "F5TTS_v1_Base": "v1",
    "F5TTS_v1_Base_no_zero_init": "v1",
    "F5TTS_Base": "v0",
    "F5TTS_v1_Small": "v1-small",
    "F5TTS_Small": "v0-small",
}
"""The architectures of official checkpoints, by the folders that they lie in."""
CONFIG = "config.json"
"""Beside a checkpoint, may state its architecture, and other sizes: {"architecture": "v1", "depth": 18}."""
MOST_SIZE = 10_000
"""Maximum of any size in it."""
GROUPS, MELS = 16, 100
"""Groups of convolutions in the network, and the mels that Vocos takes."""


class Files(NamedTuple):
    """The files that a run needs."""

    checkpoint: Path
    vocabulary: Path
    vocoder: Path


def files_of(
    models_dir: str | Path | None, checkpoint: str | Path | None = None, vocabulary: str | Path | None = None
) -> Files:
    """The files in the store, or a checkpoint of the user with the vocabulary beside it, by default the official
    one."""
    home = models_home(None if models_dir is None else Path(models_dir))
    installed = home / "f5" / VOCABULARY
    own = home / "f5" / CHECKPOINT if checkpoint is None else expanded(checkpoint)
    beside = own.with_name("vocab.txt")
    nearest = beside if beside.exists() else installed
    tokens = nearest if vocabulary is None else expanded(vocabulary)
    return Files(own, tokens, home / "vocos" / VOCODER)


def missing(files: Iterable[Path]) -> list[Path]:
    """Those of the files that do not exist."""
    return [path for path in files if not path.is_file()]


def check_files(files: Files, models_dir: str | Path | None) -> None:
    """Raises DifftoolError 4, with what to install, where a file is missing."""
    absent = missing(files)
    if not absent:
        return
    home = models_home(None if models_dir is None else Path(models_dir))
    stored = [path.relative_to(home).parts[0] for path in absent if path.is_relative_to(home)]
    if len(stored) < len(absent):
        path = next(path for path in absent if not path.is_relative_to(home))
        message, option = f"no such file: {path}", "--checkpoint" if path == files.checkpoint else "--vocabulary"
        raise DifftoolError(Exit.FILE, message, f"check the path of {option}, or leave it out")
    network = "Vocos" if absent[0] == files.vocoder else "F5-TTS"
    message = f"{absent[0].name} of {network} is not in {absent[0].parent}"
    option = f" --models-dir {shlex.quote(str(models_dir))}" if models_dir else ""
    raise DifftoolError(Exit.FILE, message, f"run difftool models pull {' '.join(dict.fromkeys(stored))}{option}")


def architectures() -> Sequence[str]:
    """The names of the architectures."""
    from ....nets.f5.architecture import ARCHITECTURES

    return [*ARCHITECTURES]


def architecture_of(checkpoint: Path, stated: str | None) -> tuple[str, Architecture]:
    """The name of the architecture of a checkpoint, and its sizes: as `stated`, or in the CONFIG beside it, or by its
    folder. Raises DifftoolError 2 where nothing states it, 4 for an invalid config."""
    from ....nets.f5.architecture import ARCHITECTURES

    path = checkpoint.with_name(CONFIG)
    config = read_json(path) if path.is_file() else {}
    if not isinstance(config.get("architecture"), str):  # that of another program
        config = {}
    name = stated or config.pop("architecture", None) or KNOWN.get(checkpoint.absolute().parent.name)
    config.pop("architecture", None)
    if name is None:
        message = f"nothing states the architecture of {checkpoint}, and its tensors do not show it"
        raise DifftoolError(Exit.USAGE, message, f"add --architecture with one of {', '.join(ARCHITECTURES)}")
    try:
        name = pick("architecture", plain(name), {plain(known): known for known in ARCHITECTURES})
    except DifftoolError as error:
        raise DifftoolError(Exit.FILE, f"{path}: {error.message}", error.hint) from error
    sizes = [field.name for field in fields(ARCHITECTURES[name]) if field.type == "int"]
    for key, value in config.items():
        if key not in sizes or type(value) is not int or not 0 < value <= MOST_SIZE:
            message = f"{path} is invalid: {key} is {value!r}"
            raise DifftoolError(Exit.FILE, message, f"sizes are {', '.join(sizes)}, from 1 to {MOST_SIZE:,}")
    architecture = replace(ARCHITECTURES[name], **config)
    if architecture.dim % GROUPS or architecture.text % 2 or architecture.mels != MELS:
        message = f"{path} is invalid: dim must be a multiple of {GROUPS}, text even, and mels {MELS}"
        raise DifftoolError(Exit.FILE, message, "correct it, or remove it and add --architecture")
    return name, architecture
