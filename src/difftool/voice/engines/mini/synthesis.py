"""Speech by the voice in the package: a mel spectrogram from phonemes and a voice, and sound from that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ....core.noise import START, Noise, keys, uniform
from ....core.predict import FLOW, denoiser
from ....device import finite
from ....files import load_tensors
from ....nets.mini.mel import mel
from ....nets.mini.speech import DEVIATION, MEAN, PATCH, Speech, normalised, spread_out
from ....nets.mini.vocoder import Vocoder
from ....nets.spectrum import HOP, MELS
from ....sampling.choice import Choice
from ....sampling.guidance import guided, started
from ....sampling.settings import GuidanceSettings
from ...seeds import derived
from .. import Steps
from .files import FOLDER, reading
from .phonemes import SYMBOLS

FILES = ("speech.safetensors", "vocoder.safetensors")
WINDOW = 384
"""Frames of a reference that are read at once, the longest in training: 4.1 s."""
LEVEL = -23.0
"""dB of full scale, root mean square, that references are brought to: the loudness of the training data."""
FAINTEST = 1e-5
LEAST = 4
"""Frames of the shortest sound: a spectrum needs half a window on both sides."""
SILENCE = 1
"""The symbol of the silence before and after the text; those of SYMBOLS come after it."""


class Networks(NamedTuple):
    """The networks, ready to run."""

    speech: Speech
    """Its flow is in the number format of the run, the rest in float32."""
    vocoder: Vocoder
    random: dict[str, Tensor]
    """`mean` (K, C) and `basis` (N, K, C) of the voices that it was trained on."""
    device: torch.device
    dtype: torch.dtype


class SpeechSettings(NamedTuple):
    """Settings of the synthesis."""

    choice: Choice
    guidance: float
    guide: GuidanceSettings
    speed: float


def open_networks(device: torch.device, dtype: torch.dtype) -> Networks:
    """The networks in the package. Raises DifftoolError 4 where they are missing or damaged."""
    speech, vocoder = Speech(), Vocoder()  # on the meta device, an embedding would import half of the compiler
    with reading():
        weights, vocoder_weights = (
            {name: value.float() for name, value in load_tensors(FOLDER / file).tensors.items()} for file in FILES
        )
        random = {name: weights.pop(f"random.{name}") for name in ("mean", "basis")}
        speech.load_state_dict(weights)
        vocoder.load_state_dict(vocoder_weights)
    random = {name: value.to(device) for name, value in random.items()}
    speech.flow.to(dtype)
    for net in (speech, vocoder):
        net.to(device).eval().requires_grad_(False)
    return Networks(speech, vocoder, random, device, dtype)


def voice_of(nets: Networks, clips: Sequence[Tensor]) -> Tensor:
    """The vectors (K, C) of a voice from its recordings (S,) at 24 kHz."""
    sounds = []
    for clip in clips:
        level = clip.square().mean().sqrt().clamp(min=FAINTEST)
        sounds.append(clip * (10 ** (LEVEL / 20) / level))
    sound = torch.cat(sounds)
    sound = F.pad(sound, (0, max(0, LEAST * HOP - len(sound)))).to(nets.device)
    frames = normalised(mel(sound))
    count = max(1, round(frames.shape[-1] / WINDOW))
    vectors, total = torch.zeros_like(nets.random["mean"]), 0
    for window in frames.tensor_split(count, dim=-1):
        length = window.shape[-1] // PATCH * PATCH
        mask = torch.ones(1, length, dtype=torch.bool, device=nets.device)
        vectors += length * nets.speech.voice(window[None, :, :length], mask)[0]
        total += length
    return vectors / total


def random_voice(nets: Networks, seed: int) -> Tensor:
    """The vectors (K, C) of a voice that does not exist."""
    basis = nets.random["basis"]
    drawn = Noise([seed], (len(basis),), nets.device)(START, 0)[0]
    return nets.random["mean"] + torch.einsum("n,nkc->kc", drawn, basis)


def symbols_of(phonemes: str) -> list[int]:
    """The numbers of the symbols of phonemes, between silences."""
    return [SILENCE, *(SYMBOLS.index(sign) + SILENCE + 1 for sign in phonemes), SILENCE]


def aligned(nets: Networks, phonemes: str, voice: Tensor, speed: float) -> tuple[Tensor, int]:
    """A vector for each frame of a text, (1, T, C) with T a multiple of PATCH, and the number of frames."""
    symbols = torch.tensor([symbols_of(phonemes)], device=nets.device)
    mask = torch.ones_like(symbols, dtype=torch.bool)
    text = nets.speech.text(symbols, mask)
    frames = nets.speech.durations(text, voice[None], mask).exp() / speed
    ends = frames.cumsum(1).round().long()
    counts = ends.diff(dim=1, prepend=ends.new_zeros(1, 1))
    total = max(int(ends[0, -1]), LEAST)
    return spread_out(text, counts, -(-total // PATCH) * PATCH), total


def spectrograms(
    nets: Networks, settings: SpeechSettings, phonemes: str, voice: Tensor, seeds: Sequence[int]
) -> Steps[Tensor]:
    """Log mels (B, MELS, T) of phonemes in a voice (K, C), one for each seed. Yields at every step."""
    text, total = aligned(nets, phonemes, voice, settings.speed)
    batch, length, choice = len(seeds), text.shape[1], settings.choice
    is_guided = settings.guidance != 1 or choice.needs_uncond
    texts, voices = text.expand(batch, -1, -1), voice.expand(batch, -1, -1)
    if is_guided:
        nobody = nets.speech.no_voice.expand(batch, -1, -1)  # guidance is away from the same text in no voice
        texts, voices = torch.cat([texts, texts]), torch.cat([voices, nobody])
    mask = (torch.arange(length, device=nets.device) < total).expand(len(texts), -1)
    cond = {"text": texts.to(nets.dtype), "voice": voices.to(nets.dtype), "mask": mask}
    predict = denoiser(nets.speech.flow, FLOW, dtype=nets.dtype, cond=cond)
    if is_guided:
        guide = guided(settings.guide, choice, predict, None, settings.guidance, MELS * length)
        predict = started(settings.guide, choice, guide)
    noise = Noise(seeds, (MELS, length), nets.device)
    x = noise(START)
    for state in choice.run(predict, x, noise):
        x = state.x
        yield
    return finite(x[..., :total], "the flow") * DEVIATION + MEAN


def sound_of(nets: Networks, mels: Tensor, seed: int) -> Tensor:
    """Sound (S,) at 24 kHz from log mels (MELS, T)."""
    hiss = uniform(keys([derived(seed, "vocoder")], nets.device), START, 0, HOP * mels.shape[-1])
    return nets.vocoder(mels[None], 2 * hiss - 1)[0].clamp(-1, 1)
