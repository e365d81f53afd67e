"""What `difftool voice prep` can be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...device import DeviceSettings
from ...errors import DifftoolError, Exit
from ...settings import MACHINE, TEXT, manifest_of, one_of, options, setting, stored
from .. import SLICES

WHISPER = "base"
"""Its size where nobody says which."""
CUTTING = "Cutting"
"""A box of the help."""


def known_high_pass(hertz: float) -> float:
    """Hz, or 0 for none. Raises DifftoolError 2 where it takes away no rumble, or the voice."""
    if hertz and not 10 <= hertz <= 1000:
        message = f"a high-pass of {hertz:g} Hz takes no rumble away, or takes the voice"
        raise DifftoolError(Exit.USAGE, message, "try --high-pass 80")
    return hertz


def reasons_of(words: str) -> tuple[str, ...]:
    """Reasons as they are typed: with commas between them, and as many hyphens as somebody likes."""
    return tuple(word.strip().lower().replace("-", "_") for word in words.split(",")) if words else ()


@dataclass(frozen=True)
class Settings(DeviceSettings):
    """Settings of `voice prep`. What is `stored` stands in voice.json, and a voice is made anew where it changes."""

    voices_dir: str | Path | None = setting(
        None,
        "Where voices live: ./voices, or your data folder.",
        panel=TEXT,
        typed=Path | None,
        stored=False,
    )
    transcripts: Sequence[str | Path] = setting(
        (),
        "What is said: .srt, .vtt or Whisper's .json; one for each recording, of its name.",
        "--transcript",
        panel=TEXT,
        metavar="FILE",
        typed=list[Path] | None,
        stored=False,
    )
    slice: str = setting(
        "words",
        "words: at sentence ends; vad: at pauses, without a transcript.",
        panel=CUTTING,
        check=one_of("way to cut", SLICES),
    )
    whisper: str | None = setting(
        WHISPER, "Its size, such as base or large-v3, or a .pt file.", panel=CUTTING, typed=str
    )
    language: str | None = setting(None, "That is spoken; found out unless given.", panel=TEXT)
    verify: bool = setting(True, "Let Whisper hear each clip once more.", panel=CUTTING)
    high_pass: float = setting(
        0.0, "Take what is lower away; 0 is off.", panel=CUTTING, metavar="HZ", check=known_high_pass
    )
    allow: Sequence[str] = setting(
        (),
        "Leave no clip out for these reasons.",
        panel=CUTTING,
        metavar="noise,reverb",
        typed=str | None,
        read=reasons_of,
    )
    models_dir: str | Path | None = setting(
        None,
        "Where models live; your data folder unless given.",
        panel=MACHINE,
        typed=Path | None,
        stored=False,
    )


FIRST = ("slice", "whisper", "language", "verify", "high_pass", "allow")
"""Settings that every voice.json tells of, in order; of later ones it tells where they are not their defaults, so that
what was kept before they were added is found again."""


def noted(settings: Settings) -> dict[str, object]:
    """The settings as voice.json tells of them. The machine changes nothing."""
    values = manifest_of(settings)
    first = {name: values.pop(name) for name in FIRST}
    default = {field.name: stored(field.default) for field in dataclasses.fields(settings)}
    machine = options(DeviceSettings)
    return first | {name: value for name, value in values.items() if name not in machine and value != default[name]}
