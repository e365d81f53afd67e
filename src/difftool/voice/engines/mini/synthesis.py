"""Speech by the voice in the package: a mel spectrogram from phonemes and a voice, and sound from that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ....core.noise import START, Noise, keys, uniform
from ....core.paths import Level
from ....core.predict import FLOW, Denoised, Predict, denoiser
from ....device import finite
from ....nets.mini.speech import CHANNELS, DEVIATION, MEAN, PATCH, spread_out, tuned
from ....nets.spectrum import HOP, MELS
from ....sampling.choice import Choice
from ....sampling.guidance import guided, started
from ....sampling.settings import GuidanceSettings
from ...seeds import derived
from .. import Steps
from .networks import Networks, Voice
from .phonemes import SYMBOLS

LEAST = 4
"""Frames of the shortest sound: a spectrum needs half a window on both sides."""
PITCH_RANGE = 1.06
"""By what factor the pitch of a sentence may differ from that of the voice."""
SILENCE = 1
"""The symbol of the silence before and after the text; those of SYMBOLS come after it."""


class SpeechSettings(NamedTuple):
    """Settings of the synthesis."""

    choice: Choice
    guidance: float
    guide: GuidanceSettings
    speed: float


def symbols_of(signs: str) -> list[int]:
    """The numbers of the symbols of phonemes, between silences."""
    return [SILENCE, *(SYMBOLS.index(sign) + SILENCE + 1 for sign in signs), SILENCE]


def voiced(nets: Networks, voice: Voice) -> Tensor:
    """The vectors (1, K, C) of a voice with its pitch."""
    return voice.vectors + nets.speech.voice.height(voice.pitch)


def timed(nets: Networks, signs: str, voice: Tensor, speed: float) -> tuple[Tensor, Tensor, Tensor]:
    """The symbols (1, L) of a text, their vectors (1, L, C), and the frames (1, L) that each lasts. `voice`: its
    vectors (1, K, C), with the pitch."""
    symbols = torch.tensor([symbols_of(signs)], device=nets.device)
    mask = torch.ones_like(symbols, dtype=torch.bool)
    text = nets.speech.text(symbols, mask)
    frames = nets.speech.durations(text, voice, mask).exp() / speed
    ends = frames.cumsum(1).round().long()
    return symbols, text, ends.diff(dim=1, prepend=ends.new_zeros(1, 1))


def aligned(nets: Networks, signs: str, voice: Tensor, speed: float) -> tuple[Tensor, int]:
    """A vector for each frame of a text, (1, T, C) with T a multiple of PATCH, and the number of frames. `voice`: as
    for `timed`."""
    _, text, counts = timed(nets, signs, voice, speed)
    total = max(int(counts.sum()), LEAST)
    return spread_out(text, counts, -(-total // PATCH) * PATCH), total


def spectrograms(
    nets: Networks, settings: SpeechSettings, signs: str, voice: Voice, seeds: Sequence[int]
) -> Steps[Tensor]:
    """Log mels (B, MELS, T) of phonemes in a voice, one for each seed. Yields at every step."""
    vectors = voiced(nets, voice)
    text, total = aligned(nets, signs, vectors, settings.speed)
    batch, length, choice = len(seeds), text.shape[1], settings.choice
    is_guided = settings.guidance != 1 or choice.needs_uncond
    texts, voices = text.expand(batch, -1, -1), vectors.expand(batch, -1, -1)
    if is_guided:  # away from the same text in no voice, but at the same pitch, which stays where it is
        nobody = (nets.speech.no_voice + nets.speech.voice.height(voice.pitch)).expand(batch, -1, -1)
        texts, voices = torch.cat([texts, texts]), torch.cat([voices, nobody])
    mask = (torch.arange(length, device=nets.device) < total).expand(len(texts), -1)
    cond = {"text": texts.to(nets.dtype), "voice": voices.to(nets.dtype), "mask": mask}
    predict = denoiser(nets.speech.flow, FLOW, dtype=nets.dtype, cond=cond)
    if voice.pitch > 0:
        predict = pitched(predict, voice.pitch, total)
    if is_guided:
        guide = guided(settings.guide, choice, predict, None, settings.guidance, CHANNELS * length)
        predict = started(settings.guide, choice, guide)
    noise = Noise(seeds, (CHANNELS, length), nets.device)
    x = noise(START)
    for state in choice.run(predict, x, noise):
        x = state.x
        yield
    return finite(x[:, :MELS, :total], "the flow") * DEVIATION + MEAN + voice.tone


def pitched(predict: Predict, pitch: Tensor, total: int) -> Predict:
    """The prediction with a median pitch over the first `total` frames that is at most PITCH_RANGE away from `pitch`
    (1,) in Hz. The mels of later steps follow."""
    lowest, highest = (tuned(pitch * factor) for factor in (1 / PITCH_RANGE, PITCH_RANGE))

    def shifted(x: Tensor, level: Level) -> Denoised:
        estimate = predict(x, level)
        x0 = estimate.x0.clone()
        median = x0[:, MELS:, :total].median(-1, keepdim=True).values
        x0[:, MELS:] += median.clamp(lowest, highest) - median
        return estimate._replace(x0=x0)

    return shifted


def sound_of(nets: Networks, mels: Tensor, seed: int) -> Tensor:
    """Sound (S,) at 24 kHz from log mels (MELS, T)."""
    hiss = uniform(keys([derived(seed, "vocoder")], nets.device), START, 0, HOP * mels.shape[-1])
    return nets.vocoder(mels[None], 2 * hiss - 1)[0].clamp(-1, 1)
