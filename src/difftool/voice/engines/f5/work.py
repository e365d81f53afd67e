"""The work of F5-TTS in a run, with everything checked, and its speakers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ....errors import DifftoolError, Exit
from ....files import digest_of
from ....nets.f5.architecture import Architecture
from ....nets.spectrum import HOP, RATE
from ....progress import timed
from ....sampling.choice import Choice
from ....store import home as models_home
from ...seeds import derived
from ...settings import Settings
from ...text import Part
from .. import Reference, Speaker, Spoken, Steps, Work, finished
from .compat import cross_faded, package_noise
from .files import Files, architecture_of, check_files, files_of
from .lengths import frames, pieces
from .options import Options, choice_of
from .prompt import Prompt, prompt_of
from .synthesis import SpeechSettings, item_of, open_networks, reference_mel, sound_of, spectrograms
from .tokens import JIEBA, RJIEBA, Vocabulary, spelled, vocabulary

AT_ONCE = 4
"""Candidates that are made at once, where --batch-size does not say: each takes up to 230 MB."""
TERMS = {
    "engine": "F5-TTS (Chen et al. 2024, arXiv:2410.06885)",
    "licence": "CC-BY-NC-4.0: the official weights, and those fine-tuned from them, are not for commercial use",
    "trained_on": "Emilia (English and Chinese)",
}
"""What every file says of the networks."""
SENTENCE = "The sun had set behind the hills, and a cool wind was moving through the tall trees. "
"""What a random voice says first, without a reference: the reference of everything that it says."""
SECONDS = 5.5
"""Of this sentence."""


@dataclass(frozen=True)
class F5Work(Work):
    """A run of F5-TTS."""

    networks: Files
    architecture: Architecture
    vocabulary: Vocabulary
    prompt: Prompt

    packages: ClassVar = ("torch", "torchaudio")
    stages: ClassVar = ("load", "conditioning", "flow", "vocoder")

    @property
    def is_compat(self) -> bool:
        return self.options.compat is not None

    @property
    def one_seed(self) -> bool:
        return self.is_compat

    @property
    def folder(self) -> Path:
        place = self.settings.models_dir
        return models_home(None if place is None else Path(place))

    @property
    def files(self) -> Sequence[str]:
        home = self.folder
        return [str(path.relative_to(home) if path.is_relative_to(home) else path) for path in self.networks]

    @cached_property
    def choice(self) -> Choice:
        """The sampler of the flow."""
        return choice_of(self.options)

    @property
    def block(self) -> int:
        """Candidates that are made at once."""
        return self.settings.batch_size or min(self.settings.candidates, AT_ONCE)

    @property
    def steps(self) -> int:
        batches = math.ceil(self.settings.candidates / self.block)
        return batches * self.choice.steps * max(len(self.chunks(part.text)) for part in self.parts)

    @property
    def summary(self) -> str:
        options, choice = self.options, self.choice
        label = options.compat or self.settings.preset
        sampler = f"{choice.sampler} with {choice.steps} steps, guidance {options.guidance:g}"
        return f"{label}: F5-TTS {options.architecture}, {sampler}"

    @property
    def terms(self) -> Mapping[str, str]:
        return TERMS

    def models(self) -> dict[str, str]:
        return {path.name: digest_of(path) for path in self.networks}

    @property
    def unused(self) -> Sequence[str]:
        return ("low_vram",)

    @property
    def words(self) -> str:
        return self.prompt.text

    def unspoken(self) -> Sequence[str]:
        said = self.parts if not self.is_compat else ()
        return [*dict.fromkeys(sign for part in said for sign in self.vocabulary.missing(part.text))]

    def chunks(self, text: str) -> list[str]:
        """What of a part is said at once: f5-tts cuts texts itself, and joins them itself."""
        if not self.is_compat:
            return [text]
        return [part.text for part in pieces(text, self.prompt, self.options.speed, True)]

    def speaker(self) -> Speaker:
        return F5Speaker(self)


class F5Speaker(Speaker):
    """F5-TTS at work."""

    def __init__(self, work: F5Work) -> None:
        super().__init__()
        self.work, self.prompt = work, work.prompt
        options: Options = work.options
        assert options.guidance is not None
        self.speech = SpeechSettings(work.choice, options.guidance, options)
        with timed(self.seconds, "load"):
            machine = work.settings.machine()
            tokens = work.vocabulary.size
            self.nets = open_networks(work.networks, work.architecture, tokens, *machine, choice=work.choice)

    def prepare(self, reference: Reference) -> Steps[None]:
        with timed(self.seconds, "conditioning"):
            is_random = not (reference.voices or reference.clips)
            heard = self._random() if is_random else reference_mel(self.nets, self.prompt.sound)
        self.reference = heard
        yield from ()

    def _random(self) -> Tensor:
        """The mel of SENTENCE in a voice that nothing gives but noise."""
        tokens = self.work.vocabulary.tokens(SENTENCE)
        nothing = torch.zeros(0, self.nets.mels, device=self.nets.device)
        length = 1 + len(self.prompt.sound) // HOP
        item = item_of(self.nets, tokens, nothing, length, derived(self.work.settings.seed, "voice"))
        (mel,) = finished(spectrograms(self.nets, self.speech, [item]))
        return mel

    def say(self, text: str, seed: int, stages: dict[str, Tensor] | None = None) -> Steps[list[Spoken]]:
        """The candidates in the order of their numbers: none is known to be better than another."""
        work, count = self.work, self.work.settings.candidates
        seeds = [seed + k if work.is_compat else derived(seed, "flow", k) for k in range(count)]
        sounds: list[list[Tensor]] = [[] for _ in seeds]
        for chunk in work.chunks(text):
            for first in range(0, count, work.block):
                rows = range(first, min(first + work.block, count))
                made = yield from self._made(chunk, [seeds[k] for k in rows])
                for k, sound in zip(rows, made, strict=True):
                    sounds[k].append(sound)
        return [Spoken(cross_faded(parts).cpu().numpy(), k, None, True) for k, parts in enumerate(sounds)]

    def _made(self, text: str, seeds: Sequence[int]) -> Steps[list[Tensor]]:
        """Sounds of a text, one for each seed."""
        work, options = self.work, self.work.options
        with timed(self.seconds, "flow"):
            tokens = work.vocabulary.tokens(self.prompt.text + text, RJIEBA if work.is_compat else JIEBA)
            speech = frames(self.prompt, text, options.speed, work.is_compat)
            items = [item_of(self.nets, tokens, self.reference, speech, seed) for seed in seeds]
            noise = package_noise(items, self.nets) if work.is_compat else None
            mels = yield from spectrograms(self.nets, self.speech, items, noise)
        with timed(self.seconds, "vocoder"):
            return [sound_of(self.nets, mel, self.prompt.gain) for mel in mels]


def plan_work(settings: Settings, options: Options, reference: Reference) -> F5Work:
    """As `Engine.plan`. Raises DifftoolError 4 for files that are missing, since the parts depend on the reference."""
    networks, name, architecture, tokens = opened(settings, options)
    is_compat = options.compat is not None
    is_random = not (reference.voices or reference.clips)
    if is_random and is_compat:
        raise DifftoolError(Exit.USAGE, "f5-tts needs a reference", "add --voice NAME, or leave out --compat")
    prompt = _unspoken_prompt() if is_random else prompt_of(reference, settings, compat=is_compat)
    text = settings.text or ""
    parts = pieces(text, prompt, options.speed, is_compat, tokens.can_say)
    spelled(prompt.text + text)  # raises where Chinese cannot be read
    if is_compat:
        parts = [Part(text, 0.0)]
    used = replace(
        options,
        architecture=name,
        checkpoint=None if options.checkpoint is None else networks.checkpoint,
        vocabulary=None if options.vocabulary is None else networks.vocabulary,
    )
    return F5Work(settings, used, reference, parts, networks, architecture, tokens, prompt)


def opened(settings: Settings, options: Options) -> tuple[Files, str, Architecture, Vocabulary]:
    """The files of the networks, the name of their architecture and its sizes, and their vocabulary. Raises
    DifftoolError 2 where nothing states the architecture, 4 for files that are missing or invalid."""
    networks = files_of(settings.models_dir, options.checkpoint, options.vocabulary)
    check_files(networks, settings.models_dir)
    name, architecture = architecture_of(networks.checkpoint, options.architecture)
    return networks, name, architecture, vocabulary(networks.vocabulary)


def _unspoken_prompt() -> Prompt:
    """What is known of the reference of a random voice before it is made: its words, and how long it will be."""
    wave = torch.sin(torch.arange(round(SECONDS * RATE)) / 10)
    return Prompt(0.1 * wave, SENTENCE, 1.0)
