"""Tortoise: its networks and its synthesis."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ....presets import family
from .. import Reference
from .options import Options, filled

if TYPE_CHECKING:
    from ...settings import Settings
    from .work import TortoiseWork

__all__ = ["AUTOMATIC", "LATENTS", "QUANTISABLE", "REFERENCES", "Options", "filled", "installed", "plan", "presets"]

AUTOMATIC, REFERENCES, LATENTS = True, "tortoise", True
QUANTISABLE = True


def presets() -> Collection[str]:
    """The rows of presets/voice.toml."""
    return family("voice")


def installed(models_dir: str | Path | None) -> bool:
    """Whether the networks that every run needs are installed."""
    from .files import USUAL, folder_of, is_stored

    folder = folder_of(models_dir)
    return all(is_stored(folder / file) for file in USUAL)


def plan(settings: Settings, options: Options, reference: Reference) -> TortoiseWork:
    """As `Engine.plan`."""
    from .work import plan_work

    return plan_work(settings, options, reference)
