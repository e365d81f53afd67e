"""The voice in the package: small networks that were trained with difftool on synthetic speech."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ....presets import family
from .. import Reference
from .options import Options, filled

if TYPE_CHECKING:
    from ...settings import Settings
    from .work import MiniWork

__all__ = ["AUTOMATIC", "LATENTS", "QUANTISABLE", "REFERENCES", "Options", "filled", "installed", "plan", "presets"]

AUTOMATIC, REFERENCES, LATENTS = True, "mini", False
QUANTISABLE = False


def presets() -> Collection[str]:
    """The rows of presets/mini.toml."""
    return family("mini")


def installed(models_dir: str | Path | None) -> bool:
    """Always: the networks are in the package."""
    return True


def plan(settings: Settings, options: Options, reference: Reference) -> MiniWork:
    """As `Engine.plan`."""
    from .work import plan_work

    return plan_work(settings, options, reference)
