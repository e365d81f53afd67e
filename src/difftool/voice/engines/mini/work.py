"""The work of the voice in the package in a run, with everything checked, and its speaker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from ....audio.files import read_sound
from ....files import digest_of
from ....nets.spectrum import RATE
from ....progress import timed
from ....sampling.choice import Choice, choose_sampler
from ...seeds import derived
from ...settings import Settings
from ...text import parts, spoken
from .. import CLIP_HZ, Reference, Speaker, Spoken, Steps, Work
from .files import FOLDER
from .networks import FILES, Networks, Voice, open_networks
from .options import PATH, Options
from .phonemes import phonemes, unspoken
from .synthesis import SpeechSettings, sound_of, spectrograms
from .voices import mixed, random_voice, voice_of

LONGEST = 140
"""Characters of a part: some nine seconds, twice the longest window in training, which it bears."""
TERMS = {
    "engine": "mini, the voice in the difftool package (Apache-2.0)",
    "trained_on": "synthetic speech of Kokoro-82M (Apache-2.0)",
    "limits": "of a real person it takes pitch, pace and brightness, not identity",
}
"""What every file says of the networks."""


@dataclass(frozen=True)
class MiniWork(Work):
    """A run of the voice in the package."""

    packages: ClassVar = ("torch", "torchaudio")
    stages: ClassVar = ("load", "conditioning", "flow", "vocoder")

    @cached_property
    def choice(self) -> Choice:
        """The sampler of the flow."""
        options: Options = self.options
        return choose_sampler(PATH, str(options.sampler), options.steps, options.schedule, options.eta)

    @property
    def steps(self) -> int:
        return self.choice.steps

    @property
    def summary(self) -> str:
        choice, guidance = self.choice, self.options.guidance
        return f"{self.settings.preset}: {choice.sampler} with {choice.steps} steps, guidance {guidance:g}"

    @property
    def unused(self) -> Sequence[str]:
        return "cache", "low_vram"  # a voice is read in a moment, and the networks are small

    @property
    def terms(self) -> Mapping[str, str]:
        if self.reference.trained is None:
            return TERMS
        tuned = {key: value for key, value in TERMS.items() if key != "limits"}
        return {**tuned, "tuned_on": "clips of the voice"}

    def models(self) -> dict[str, str]:
        return {file: digest_of(FOLDER / file) for file in FILES}

    def unspoken(self) -> Sequence[str]:
        return unspoken(spoken(self.settings.text or ""))

    def speaker(self) -> Speaker:
        return MiniSpeaker(self)


class MiniSpeaker(Speaker):
    """The voice in the package at work."""

    def __init__(self, work: MiniWork) -> None:
        super().__init__()
        self.work = work
        options: Options = work.options
        assert options.guidance is not None
        self.speech = SpeechSettings(work.choice, options.guidance, options, options.speed)
        with timed(self.seconds, "load"):
            self.nets: Networks = open_networks(*work.settings.machine(), work.reference.trained)

    def prepare(self, reference: Reference) -> Steps[None]:
        with timed(self.seconds, "conditioning"):
            self.voice = self._voice(reference)
        yield from ()

    def _voice(self, reference: Reference) -> Voice:
        """The voice of the reference: of several the mean."""
        if self.nets.learned:
            return self.nets.learned
        if reference.voices:
            every = [[torch.from_numpy(read_sound(clip, RATE)) for clip in voice.clips] for voice in reference.voices]
            return mixed([voice_of(self.nets, clips) for clips in every])
        if reference.clips:
            from torchaudio.functional import resample

            return voice_of(self.nets, [resample(clip, CLIP_HZ, RATE) for clip in reference.clips])
        return random_voice(self.nets, derived(self.work.settings.seed, "voice"))

    def say(self, text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
        """The candidates in the order of their numbers: none is known to be better than another."""
        count = self.work.settings.candidates
        block = self.work.settings.batch_size or count
        seeds = [derived(seed, "flow", k) for k in range(count)]
        mels: list[Tensor] = []
        for k in range(0, count, block):
            with timed(self.seconds, "flow"):
                mels += yield from spectrograms(
                    self.nets, self.speech, phonemes(text), self.voice, seeds[k : k + block]
                )
        with timed(self.seconds, "vocoder"):
            sounds = [sound_of(self.nets, mel, seed) for mel, seed in zip(mels, seeds, strict=True)]
        return [Spoken(sound.cpu().numpy(), k, None, True) for k, sound in enumerate(sounds)]


def plan_work(settings: Settings, options: Options, reference: Reference) -> MiniWork:
    """As `Engine.plan`."""
    pieces = parts(settings.text or "", lambda part: len(part) <= LONGEST, lambda part: bool(phonemes(part).strip()))
    return MiniWork(settings, options, reference, pieces)
