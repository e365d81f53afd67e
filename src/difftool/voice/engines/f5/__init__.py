"""F5-TTS: its networks and its synthesis."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ....presets import family
from .. import Reference
from .options import Options, filled

if TYPE_CHECKING:
    from ...settings import Settings
    from .work import F5Work

__all__ = ["AUTOMATIC", "LATENTS", "QUANTISABLE", "REFERENCES", "Options", "filled", "installed", "plan", "presets"]

AUTOMATIC, REFERENCES, LATENTS = True, "f5", False
QUANTISABLE = False


def presets() -> Collection[str]:
    """The rows of presets/f5.toml."""
    return family("f5")


def installed(models_dir: str | Path | None) -> bool:
    """Whether the networks that every run needs are installed."""
    from .files import files_of, missing

    return not missing(files_of(models_dir))


def plan(settings: Settings, options: Options, reference: Reference) -> F5Work:
    """As `Engine.plan`."""
    if options.edit is not None:
        from .edit import plan_edit

        return plan_edit(settings, options, reference)
    from .work import plan_work

    return plan_work(settings, options, reference)
