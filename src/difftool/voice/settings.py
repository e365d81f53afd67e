"""Settings of `voice clone` that every engine has; those of one engine are its `Options`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..device import MachineSettings
from ..limits import MOST
from ..settings import MACHINE, SAMPLING, TEXT, setting
from . import engines

MOST_CANDIDATES = 4096


@dataclass(frozen=True)
class Settings(MachineSettings):
    """What is said, in whose voice, by which engine and preset."""

    text: str | None = setting(
        None, "What to say; none: what is piped in, or a test sentence.", argument=True, metavar="TEXT", filled=True
    )
    voice: str = setting("random", "A folder of the voices, a&b for a mix, or random.", panel=TEXT)
    voices_dir: str | Path | None = setting(
        None, "Where voices live: ./voices, or your data folder.", panel=TEXT, typed=Path | None
    )
    preset: str = setting("fast", f"{', '.join(engines.PRESETS)}.", check=engines.known_preset)
    candidates: int = setting(1, "How many of the best to keep.", panel=SAMPLING, least=1, most=MOST_CANDIDATES)
    seed: int = setting(0, "Other seeds say it otherwise.", panel=SAMPLING)
    engine: str = setting(
        engines.AUTO,
        f"{', '.join(engines.ENGINES)}, or auto: by the options, and what models are here.",
        panel=MACHINE,
        check=engines.known_engine,
    )
    models_dir: str | Path | None = setting(
        None, "Where models live; your data folder unless given.", panel=MACHINE, typed=Path | None
    )
    cache: bool = setting(True, "Keep what is known of a voice beside it.", panel=MACHINE, stored=False)
    batch_size: int | None = setting(
        None, "How many at once; results agree to rounding.", panel=MACHINE, least=1, most=MOST
    )
    low_vram: bool = setting(False, "One at a time, for little memory.", panel=MACHINE, stored=False)

    exclusive: ClassVar = (*MachineSettings.exclusive, ("batch_size", "low_vram"))
