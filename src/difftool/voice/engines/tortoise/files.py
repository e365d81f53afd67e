"""Where the files of Tortoise's networks lie. Nothing heavy is imported."""

from __future__ import annotations

from pathlib import Path

from ....files import expanded
from ....store import DERIVED
from ....store import home as models_home

DECODER, DVAE = "autoregressive.pth", "dvae.pth"
USUAL = (DECODER, "diffusion_decoder.pth", "vocoder.pth")
"""The files that every run needs."""


def is_stored(file: Path) -> bool:
    """Whether a checkpoint, or its converted file, is there."""
    return file.exists() or file.with_name(file.name + DERIVED).exists()


def folder_of(models_dir: str | Path | None) -> Path:
    """The folder of Tortoise's networks: in the store, or `models_dir` itself where it holds the official files."""
    own = None if models_dir is None else expanded(models_dir)
    if own is not None and is_stored(own / DECODER):
        return own
    return models_home(None if models_dir is None else Path(models_dir)) / "tortoise"


def dvae_folder(models_dir: str | Path | None) -> Path:
    """The folder of the encoder of speech as codes: that of Tortoise's networks where it is there, else the store."""
    folder = folder_of(models_dir)
    if is_stored(folder / DVAE):
        return folder
    return models_home(None if models_dir is None else Path(models_dir)) / "tortoise-dvae"
