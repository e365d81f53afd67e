"""Settings of `voice clone` that every engine has; those of one engine are its `Options`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

from ..device import MachineSettings
from ..presets import family
from ..settings import MACHINE, SAMPLING, TEXT, Given, setting
from . import engines
from .prep.settings import WHISPER, known_size

MOST_CANDIDATES = 4096


def known_voices(params: Given) -> list[str]:
    """The voices in the folder of `--voices-dir`."""
    from .library import names

    return names(cast(Path | None, params.get("voices_dir")))


def usable_voices(params: Given) -> list[str]:
    """The same, and those in the package."""
    from .library import usable

    return usable(cast(Path | None, params.get("voices_dir")))


@dataclass(frozen=True)
class Settings(MachineSettings):
    """Settings of `voice clone`: text, voice, engine and preset."""

    text: str | None = setting(
        None, "Text to speak; default: standard input, or a test sentence.", argument=True, metavar="TEXT", filled=True
    )
    voice: str = setting(
        "random",
        "Voice, a&b for a mix of two, or random.",
        panel=TEXT,
        values=lambda params: [*usable_voices(params), "random"],
    )
    voices_dir: str | Path | None = setting(
        None,
        "Folder of voices; default: ./voices if it exists, else in the user data folder.",
        panel=TEXT,
        typed=Path | None,
    )
    preset: str = setting("fast", f"Preset: {', '.join(engines.PRESETS)}.", check=engines.known_preset)
    candidates: int = setting(1, "Candidates to keep.", panel=SAMPLING, least=1, most=MOST_CANDIDATES)
    seed: int = setting(0, "Random seed.", panel=SAMPLING)
    engine: str = setting(
        engines.AUTO,
        f"Engine: {', '.join(engines.ENGINES)} or auto.",
        panel=MACHINE,
        check=engines.known_engine,
    )
    models_dir: str | Path | None = setting(
        None, "Folder of models; default: in the user data folder.", panel=MACHINE, typed=Path | None
    )
    cache: bool = setting(True, "Cache conditioning latents in the voice's folder.", panel=MACHINE, stored=False)
    batch_size: int | None = setting(None, "Samples drawn at once.", panel=MACHINE, least=1, most=MOST_CANDIDATES)
    low_vram: bool = setting(False, "Keep only one network in memory at a time.", panel=MACHINE, stored=False)
    trained: bool = setting(True, "Use what voice train learned.", panel=MACHINE, stored=False)

    verify: bool = setting(False, "Check parts with Whisper; redo wrong ones.", panel=SAMPLING, stored=False)
    tries: int = setting(
        3, "Candidates of a part to try with --verify.", panel=SAMPLING, least=1, most=MOST_CANDIDATES, stored=False
    )
    whisper: str = setting(
        WHISPER,
        "Whisper size or .pt file.",
        panel=SAMPLING,
        check=known_size,
        values=lambda params: family("whisper"),
        stored=False,
    )

    exclusive: ClassVar = (*MachineSettings.exclusive, ("batch_size", "low_vram"))
    requires: ClassVar = {"tries": "verify", "whisper": "verify"}
