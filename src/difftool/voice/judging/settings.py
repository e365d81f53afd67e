"""Settings of `difftool voice judge`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...device import DeviceSettings
from ...presets import family
from ...settings import MACHINE, TEXT, setting
from ..prep.settings import known_size
from ..settings import usable_voices


@dataclass(frozen=True)
class Settings(DeviceSettings):
    """Settings of `voice judge`."""

    voice: str | None = setting(
        None, "Voice to compare with; default: the one in the file's manifest.", panel=TEXT, values=usable_voices
    )
    text: str | None = setting(None, "Text that is spoken; default: the one in the file's manifest.", panel=TEXT)
    voices_dir: str | Path | None = setting(
        None,
        "Folder of voices; default: ./voices if it exists, else in the user data folder.",
        panel=TEXT,
        typed=Path | None,
    )
    whisper: str | None = setting(
        None,
        "Whisper model: a size, or a .pt file; default: base, else the largest installed.",
        panel=TEXT,
        check=known_size,
        values=lambda params: family("whisper"),
    )
    language: str | None = setting(None, "Spoken language; default: detected.", panel=TEXT)
    models_dir: str | Path | None = setting(
        None, "Folder of models; default: in the user data folder.", panel=MACHINE, typed=Path | None
    )
