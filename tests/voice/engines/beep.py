"""An engine that beeps once for each word."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from difftool.files import load_tensors
from difftool.settings import SAMPLING, setting
from difftool.voice.engines import Reference, Speaker, Spoken, Steps, Work
from difftool.voice.settings import Settings
from difftool.voice.text import parts

AUTOMATIC, REFERENCES, LATENTS, QUANTISABLE = False, "beep", False, False
RATE = 24_000
SECONDS = {"draft": 0.12, "ultra_fast": 0.14, "fast": 0.16, "standard": 0.18, "high_quality": 0.2}
"""Seconds of a beep, by preset."""


@dataclass(frozen=True)
class Options:
    """Options of this engine."""

    pitch: float = setting(220.0, "Hertz of a beep.", panel=SAMPLING, least=20, most=10_000)
    beep_seconds: float | None = setting(None, "Seconds of a beep.", panel=SAMPLING, least=0.01, most=9, filled=True)


def presets() -> Collection[str]:
    return SECONDS


def installed(models_dir: object) -> bool:
    return True


def filled(settings: Settings, options: Options) -> tuple[Settings, Options]:
    seconds = SECONDS[settings.preset] if options.beep_seconds is None else options.beep_seconds
    return settings, replace(options, beep_seconds=seconds)


def plan(settings: Settings, options: Options, reference: Reference) -> Work:
    made = parts(settings.text or "", lambda part: len(part) <= 100)
    return Beeps(settings, options, reference, made)


class Beeps(Work):
    """The work of a run."""

    @property
    def steps(self) -> int:
        return 2

    @property
    def summary(self) -> str:
        return f"{self.settings.preset}: beeps of {self.options.pitch:g} Hz"

    def speaker(self) -> Speaker:
        return Beeper(self)


class Beeper(Speaker):
    """Beeps in one voice."""

    def __init__(self, work: Beeps) -> None:
        super().__init__()
        self.work = work

    def prepare(self, reference: Reference) -> Steps[None]:
        from difftool.audio.files import read_sound

        sounds = [read_sound(clip, RATE) for voice in reference.voices for clip in voice.clips]
        self.shift = sum(float(abs(sound).mean()) for sound in sounds)
        if reference.trained:
            self.shift = float(load_tensors(reference.trained).tensors["seconds"].sum())
        yield from ()

    def say(self, text: str, seed: int, stages: object = None) -> Steps[list[Spoken]]:
        import numpy as np

        options, count = self.work.options, self.work.settings.candidates
        shift = self.shift + np.random.default_rng(abs(seed)).random()
        yield
        clock = np.arange(round(len(text.split()) * options.beep_seconds * RATE)) / RATE
        silent = clock % options.beep_seconds > options.beep_seconds / 2
        made = []
        for k in range(count):
            wave = 0.1 * np.sin(2 * np.pi * clock * options.pitch * (1 + shift + k / 12))
            made.append(Spoken(np.where(silent, 0, wave).astype(np.float32), k, -float(k), stopped=True))
        yield
        return made
