"""Speech editing: stretches of a recording are said anew, and everything else stays as it is."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor

from ....audio.files import RATE, Samples, read_sound, to_pcm
from ....audio.joining import from_bytes
from ....errors import DifftoolError, Exit
from ....files import digest_of, expanded, read_text
from ....nets.spectrum import HOP
from ....progress import timed
from ...settings import Settings
from ...text import Part, parts
from .. import Reference, Speaker, Steps
from .clip import raised
from .options import Options, seconds_of
from .pace import letters, spoken_seconds
from .prompt import FASTEST, LEAST, SLOWEST, Prompt, Source, cache_of, check_rate, language_of, read_as, transcribed
from .synthesis import Item, flow, reference_mel, sound_of
from .work import F5Speaker, F5Work, opened

log = logging.getLogger(__name__)

TAIL = 0.5
"""Seconds of silence behind the recording: a word at its very end would be lost."""
FADE = 0.02
"""Seconds of the cross-fades, within a stretch at both its ends."""
SHORTEST = 0.1
"""Seconds of a stretch that is said anew."""
LONGEST = 30.0
"""Seconds of the new sound: the network was trained on no more."""
ROUNDED = 0.01
"""Seconds by which a stretch may end after the recording, whose length is shown in round numbers."""


class Stretch(NamedTuple):
    """A stretch of a recording."""

    start: int
    end: int
    """Samples at RATE"""
    more: int
    """Frames by which the new speech in its place is longer."""

    @property
    def first(self) -> int:
        """The frame at which it begins."""
        return round(self.start / HOP)

    @property
    def last(self) -> int:
        """The frame after its end."""
        return round(self.end / HOP)

    @property
    def frames(self) -> int:
        """Frames of the new speech."""
        return self.last - self.first + self.more


@dataclass(frozen=True)
class EditWork(F5Work):
    """An edit of a recording."""

    recording: Samples
    """(S,) at RATE, in steps of 16 bits"""
    stretches: Sequence[Stretch]

    @property
    def inputs(self) -> Mapping[str, str]:
        path = self.options.recording
        return {str(path): digest_of(Path(path))}

    def speaker(self) -> Speaker:
        return Editor(self)


class Editor(F5Speaker):
    """F5-TTS at work on a recording."""

    work: EditWork

    def prepare(self, reference: Reference) -> Steps[None]:
        with timed(self.seconds, "conditioning"):
            mel = reference_mel(self.nets, F.pad(self.prompt.sound, (0, round(TAIL * RATE))))
            known = torch.ones(len(mel), 1, dtype=torch.bool, device=mel.device)
            self.reference = _with_gaps(mel, self.work.stretches)
            self.known = _with_gaps(known, self.work.stretches)
        yield from ()

    def _made(self, text: str, seeds: Sequence[int]) -> Steps[list[Tensor]]:
        with timed(self.seconds, "flow"):
            tokens = torch.tensor(self.work.vocabulary.tokens(text), device=self.nets.device)
            items = [Item(tokens, self.reference, len(self.reference), seed) for seed in seeds]
            every = yield from flow(self.nets, self.speech, items)
        with timed(self.seconds, "vocoder"):
            mels = [torch.where(self.known, self.reference, row) for row in every]
            sounds = [sound_of(self.nets, mel, self.prompt.gain).cpu().numpy() for mel in mels]
        old, stretches = self.work.recording, self.work.stretches
        return [torch.from_numpy(stitched(old, sound + old.mean(), stretches)) for sound in sounds]


def plan_edit(settings: Settings, options: Options, reference: Reference) -> EditWork:
    """As `Engine.plan`. Raises DifftoolError 2 for a stretch that is not in the recording and a text that does not fit,
    4 for a recording that cannot be read, has no speech, or has words that are not known."""
    networks, name, architecture, vocabulary = opened(settings, options)
    if len(reference.voices) != 1:
        hint = "add --voice NAME; difftool voice list shows the names"
        raise DifftoolError(Exit.USAGE, "--edit needs the voice of the recording", hint)
    assert options.recording is not None
    assert options.edit is not None
    path = expanded(options.recording).absolute()
    recording = _recording(path)
    sound = recording - recording.mean()  # a DC offset is not heard
    if spoken_seconds(sound) < LEAST:
        raise DifftoolError(Exit.FILE, f"{path} has less than a second of speech", "use another recording")
    spans = _spans(options.edit, len(sound) / RATE, path)
    old, new = _words(path, sound, settings, reference)
    pace = spoken_seconds(sound) / max(1.0, letters(old))
    seconds = lengths(spans, old, new, pace)
    _check_text(new, sound, seconds, spans, options.speed, path)
    stretches = []
    for (start, end), length in zip(spans, seconds, strict=True):
        more = round((length / options.speed - (end - start)) * RATE / HOP)
        stretches.append(Stretch(round(start * RATE), min(round(end * RATE), len(sound)), more))
    heard, gain = raised(torch.from_numpy(sound))
    used = replace(options, architecture=name, recording=str(path))
    prompt = Prompt(heard, old, gain)
    return EditWork(
        settings, used, reference, [Part(new, 0.0)], networks, architecture, vocabulary, prompt, recording, stretches
    )


def _recording(path: Path) -> Samples:
    """A recording (S,) at RATE, whose samples stay the same in a file of 16 bits."""
    samples = to_pcm(read_sound(path, RATE, centred=False))
    if not _is_kept(path):
        log.warning("%s is converted to mono, %s Hz and 16 bits, also outside the edit", path.name, f"{RATE:,}")
    return from_bytes(samples)


def _is_kept(path: Path) -> bool:
    """Whether the samples of a file are those of its sound, mono at RATE with 16 bits."""
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):
        return False
    return (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")


def _spans(edit: str, duration: float, path: Path) -> list[tuple[float, float]]:
    """The stretches in seconds, in order. Raises DifftoolError 2 where they are not in the recording or overlap."""
    spans = sorted(seconds_of(edit))
    hint = f"{path.name} is {duration:.2f} s long"
    for start, end in spans:
        if start >= end:
            raise DifftoolError(Exit.USAGE, f"the stretch {start:g}-{end:g} does not end after its start", hint)
        if end > duration + ROUNDED:
            message = f"the stretch {start:g}-{end:g} is not in the recording"
            raise DifftoolError(Exit.USAGE, message, hint)
    for (start, end), (after, last) in pairwise(spans):
        if after < end:
            message = f"the stretches {start:g}-{end:g} and {after:g}-{last:g} overlap"
            raise DifftoolError(Exit.USAGE, message, hint)
    left = duration - sum(end - start for start, end in spans)
    if left < LEAST:
        message = f"--edit leaves {max(0.0, left):.2f} s of the recording, less than a second"
        raise DifftoolError(Exit.USAGE, message, hint)
    return spans


def _words(path: Path, sound: Samples, settings: Settings, reference: Reference) -> tuple[str, str]:
    """The words of a recording, and the new ones."""
    (voice,) = reference.voices
    own = path.with_suffix(".txt")
    text = read_text(own).strip() if own.is_file() else ""
    source = Source(path, text or None, own, language_of(voice), cache_of(voice, settings))
    language = source.language
    if not text:
        text, language = transcribed(sound, source.name, source, settings)
    old = read_as(text, language)
    check_rate(old, sound, source.name, own)
    (whole,) = parts(settings.text or "", bool, whole=True)
    return old, read_as(whole.text, language)


def lengths(spans: Sequence[tuple[float, float]], old: str, new: str, pace: float) -> list[float]:
    """Seconds of the new speech in each stretch: as long as before, and more or less by the letters that its words have
    gained or lost, at a `pace` of seconds a letter."""
    before, after = old.split(), new.split()
    folded = [[re.sub(r"\W", "", word).casefold() for word in words] for words in (before, after)]
    gained = []
    for kind, i, j, k, m in SequenceMatcher(None, *folded, autojunk=False).get_opcodes():
        if kind != "equal":
            gained.append(_size(after[k:m]) - _size(before[i:j]))
    if len(gained) != len(spans):  # it is not known which change is in which stretch
        whole = sum(end - start for start, end in spans)
        gained = [sum(gained) * (end - start) / whole for start, end in spans]
    return [max(SHORTEST, end - start + pace * more) for (start, end), more in zip(spans, gained, strict=True)]


def _size(words: Sequence[str]) -> float:
    """Letters of some words, with their spaces."""
    return sum(letters(word) + 1 for word in words)


def _check_text(
    text: str, sound: Samples, seconds: Sequence[float], spans: Sequence[tuple[float, float]], speed: float, path: Path
) -> None:
    """Raises DifftoolError 2 for a text that cannot be that of the whole recording after the edit, or is too long, with
    `seconds` of new speech in its stretches at a speed of 1."""
    duration, replaced = len(sound) / RATE, sum(end - start for start, end in spans)
    whole = duration - replaced + sum(seconds) / speed
    if whole > LONGEST:
        message = f"--edit is for at most {LONGEST:.0f} s of speech, not {whole:.0f}"
        advice = "cut out the sentence first" if duration > LONGEST else "use a shorter text, or a higher --speed"
        raise DifftoolError(Exit.USAGE, message, f"{path.name} is {duration:.2f} s long: {advice}")
    rate = letters(text) / max(SHORTEST, spoken_seconds(sound) - replaced + sum(seconds))
    if not SLOWEST <= rate <= FASTEST:
        message = f"the text does not fit the recording: {rate:.0f} characters per second, not 6 to 25"
        raise DifftoolError(Exit.USAGE, message, "pass the whole new sentence, also the words that stay")


def _with_gaps(rows: Tensor, stretches: Sequence[Stretch]) -> Tensor:
    """Frames (T, ...) of a recording with zeros in the place of what is said anew."""
    pieces, at = [], 0
    for stretch in stretches:
        pieces += [rows[at : stretch.first], rows.new_zeros(stretch.frames, *rows.shape[1:])]
        at = stretch.last
    return torch.cat([*pieces, rows[at:]])


def stitched(old: Samples, new: Samples, stretches: Sequence[Stretch]) -> Samples:
    """The recording `old` (S,) with the stretches of the sound `new`, in which they may be longer or shorter. All
    cross-fades are within the stretches; at the ends of the recording they are to silence."""
    pieces, at, shift = [], 0, 0
    for stretch in stretches:
        start, end = stretch.start, stretch.end
        said = new[start + shift : end + shift + stretch.more * HOP].copy()
        fade = min(round(FADE * RATE), (end - start) // 2, len(said) // 2)
        falling = np.linspace(1, 0, fade, dtype=np.float32)
        before, after = old[start : start + fade] * (start > 0), old[end - fade : end] * (end < len(old))
        said[:fade] = said[:fade] * falling[::-1] + before * falling
        said[len(said) - fade :] = said[len(said) - fade :] * falling + after * falling[::-1]
        pieces += [old[at:start], said]
        at, shift = end, shift + stretch.more * HOP
    return np.concatenate([*pieces, old[at:]])
