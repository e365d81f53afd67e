"""Settings of `difftool voice prep`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...device import DeviceSettings
from ...errors import DifftoolError, Exit, pick
from ...presets import family
from ...settings import MACHINE, TEXT, manifest_of, one_of, options, setting, stored

SLICES = ("words", "vad")
"""How recordings are cut: by a transcript, or by voice activity alone."""
WHISPER = "base"
"""Default size."""
CUTTING = "Cutting"
"""A panel of the help."""


def known_size(size: str) -> str:
    """A size of Whisper in the store, or a .pt file. Raises DifftoolError 2 for others."""
    if size.endswith(".pt"):
        return size
    from ...store import entries

    sizes = [name.removeprefix("whisper-") for name in entries() if name.startswith("whisper-")]
    return pick("size of Whisper", size, {known: known for known in sizes})


def known_high_pass(hertz: float) -> float:
    """Hz, or 0 for none. Raises DifftoolError 2 for a value that is out of range."""
    if hertz and not 10 <= hertz <= 1000:
        message = f"the high-pass cutoff must be 0 (off) or from 10 to 1000 Hz, not {hertz:g}"
        raise DifftoolError(Exit.USAGE, message, "try --high-pass 80")
    return hertz


def reasons_of(words: str | Sequence[str]) -> tuple[str, ...]:
    """Reasons, separated by commas as on the command line or one by one; with hyphens or underscores."""
    if not words:
        return ()
    each = words.split(",") if isinstance(words, str) else words
    return tuple(word.strip().lower().replace("-", "_") for word in each)


@dataclass(frozen=True)
class Settings(DeviceSettings):
    """Settings of `voice prep`. Those that are `stored` are in voice.json; a change of them makes the voice anew."""

    voices_dir: str | Path | None = setting(
        None,
        "Folder of voices; default: ./voices if it exists, else in the user data folder.",
        panel=TEXT,
        typed=Path | None,
        stored=False,
    )
    transcripts: Sequence[str | Path] = setting(
        (),
        "Transcript: .srt, .vtt or Whisper's .json; one per recording, with the same name.",
        "--transcript",
        panel=TEXT,
        metavar="FILE",
        typed=list[Path] | None,
        stored=False,
    )
    slice: str = setting(
        "words",
        "Cut at sentence ends (words), or at pauses, without a transcript (vad).",
        panel=CUTTING,
        check=one_of("way to cut", SLICES),
    )
    whisper: str | None = setting(
        WHISPER,
        "Whisper model: a size such as base or large-v3, or a .pt file.",
        panel=CUTTING,
        typed=str,
        check=known_size,
        values=lambda params: family("whisper"),
    )
    language: str | None = setting(None, "Spoken language; default: detected.", panel=TEXT)
    verify: bool = setting(True, "Check each clip with a second transcription.", panel=CUTTING)
    high_pass: float = setting(
        0.0, "High-pass filter cutoff; 0 is off.", panel=CUTTING, metavar="HZ", check=known_high_pass
    )
    allow: Sequence[str] = setting(
        (),
        "Do not reject clips for these reasons.",
        panel=CUTTING,
        metavar="noise,reverb",
        typed=str | None,
        read=reasons_of,
    )
    models_dir: str | Path | None = setting(
        None,
        "Folder of models; default: in the user data folder.",
        panel=MACHINE,
        typed=Path | None,
        stored=False,
    )


FIRST = ("slice", "whisper", "language", "verify", "high_pass", "allow")
"""Settings that every voice.json lists, in order; later ones are listed only where they differ from their defaults, so
that results kept before they were added are still found."""


def noted(settings: Settings) -> dict[str, object]:
    """The settings as listed in voice.json, without those of the machine."""
    values = manifest_of(settings)
    first = {name: values.pop(name) for name in FIRST}
    default = {field.name: stored(field.default) for field in dataclasses.fields(settings)}
    machine = options(DeviceSettings)
    own = {name: value for name, value in values.items() if name not in machine}
    return first | {name: value for name, value in own.items() if value != default[name]}
