"""Speech by the voice in the package: a mel spectrogram from phonemes and a voice, and sound from that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ....core.noise import START, Noise, keys, uniform
from ....core.paths import Level
from ....core.predict import FLOW, denoiser
from ....device import finite
from ....errors import DifftoolError, Exit
from ....files import digest_of, load_tensors
from ....nets.mini.mel import mel
from ....nets.mini.speech import CHANNELS, DEVIATION, MEAN, PATCH, Speech, normalised, spread_out
from ....nets.mini.vocoder import Vocoder, pitch_of
from ....nets.official import same_shapes
from ....nets.spectrum import HOP, MELS
from ....sampling.choice import Choice
from ....sampling.guidance import guided, started
from ....sampling.settings import GuidanceSettings
from ...seeds import derived
from .. import Steps
from .files import FOLDER, reading
from .phonemes import SYMBOLS, phonemes

FILES = ("speech.safetensors", "vocoder.safetensors")
LEARNED = "difftool/mini-voice/1"
"""The schema of a file of what was learned of a voice."""
WINDOW = 384
"""Frames of a reference that are read at once, the longest in training: 4.1 s."""
LEVEL = -23.0
"""dB of full scale, root mean square, that references are brought to: the loudness of the training data."""
FAINTEST = 1e-5
LEAST_VOICED = 10
"""Voiced frames from which the pitch of a reference is taken as known."""
SILENT = 7.0
"""How far a silent frame lies below the loudest one, 30 dB, as the logarithm of its power."""
PANGRAM = (
    "The quick young fox saw five old boats play near the shore, and heard the choir sing of joy. "
    "She thought each measure was rather good now, but who would judge it better?"
)
"""A text with the sounds of English, whose long-term spectrum is compared with that of a reference."""
LEAST = 4
"""Frames of the shortest sound: a spectrum needs half a window on both sides."""
SILENCE = 1
"""The symbol of the silence before and after the text; those of SYMBOLS come after it."""


class Voice(NamedTuple):
    """What the networks know of a voice."""

    vectors: Tensor
    """(K, C)"""
    pitch: Tensor
    """(1,) Hz, the median, 0 where it is not known"""
    tone: Tensor
    """(MELS, 1), added to the log mels"""


class Networks(NamedTuple):
    """The networks, ready to run."""

    speech: Speech
    """Its flow is in the number format of the run, the rest in float32."""
    vocoder: Vocoder
    random: dict[str, Tensor]
    """Of the voices that it was trained on: `mean` (K, C), principal directions `basis` (N, K, C), and `pitch`
    (1 + N,), the logarithm of the pitch at the mean and its change along each direction."""
    device: torch.device
    dtype: torch.dtype
    learned: Voice | None = None
    """The voice that they were trained on."""


class SpeechSettings(NamedTuple):
    """Settings of the synthesis."""

    choice: Choice
    guidance: float
    guide: GuidanceSettings
    speed: float


def open_networks(device: torch.device, dtype: torch.dtype, trained: Path | None = None) -> Networks:
    """The networks in the package, with what was learned of a voice. Raises DifftoolError 4 where a file is missing or
    damaged, or something was learned with other networks."""
    speech, vocoder = Speech(), Vocoder()  # on the meta device, an embedding would import half of the compiler
    with reading():
        weights, vocoder_weights = (
            {name: value.float() for name, value in load_tensors(FOLDER / file).tensors.items()} for file in FILES
        )
        random = {name: weights.pop(f"random.{name}") for name in ("mean", "basis", "pitch")}
        speech.load_state_dict(weights)
        vocoder.load_state_dict(vocoder_weights)
    learned = None if trained is None else _learned(trained, speech)
    random = {name: value.to(device) for name, value in random.items()}
    speech.flow.to(dtype)
    for net in (speech, vocoder):
        net.to(device).eval().requires_grad_(False)
    if learned:
        learned = Voice(*(value.to(device) for value in learned))
    return Networks(speech, vocoder, random, device, dtype, learned)


def base_of() -> str:
    """SHA-256 of the weights that are tuned on a voice."""
    return digest_of(FOLDER / FILES[0])


def _learned(path: Path, speech: Speech) -> Voice:
    """Replaces weights by those that were learned of a voice, in a file; returns the voice."""
    hint = "train it again: difftool voice train with --overwrite, or add --no-trained"
    loaded = load_tensors(path)
    if loaded.metadata.get("schema") != LEARNED:
        raise DifftoolError(Exit.FILE, f"{path} does not contain what voice train learned for mini", hint)
    if loaded.metadata.get("base") != base_of():
        raise DifftoolError(Exit.FILE, f"{path} was trained with another version of the voice in the package", hint)
    weights = {name: value.float() for name, value in loaded.tensors.items()}
    try:
        vectors, pitch = weights.pop("vectors"), float(loaded.metadata["pitch"])
        same_shapes(
            {name: tuple(value.shape) for name, value in speech.state_dict().items() if name in weights},
            {name: tuple(value.shape) for name, value in weights.items()},
            path,
            hint,
        )
        speech.load_state_dict(weights, strict=False)
    except (KeyError, ValueError) as error:
        raise DifftoolError(Exit.FILE, f"{path} is damaged: {error}", hint) from error
    return Voice(vectors, torch.tensor([pitch]), torch.zeros(MELS, 1))


def voice_of(nets: Networks, clips: Sequence[Tensor]) -> Voice:
    """The voice in recordings (S,) at 24 kHz."""
    sound = torch.cat([*map(levelled, clips)])
    sound = F.pad(sound, (0, max(0, LEAST * HOP - len(sound)))).to(nets.device)
    mels = mel(sound)
    frames = normalised(mels)
    count = max(1, round(frames.shape[-1] / WINDOW))
    vectors, total = torch.zeros_like(nets.random["mean"]), 0
    for window in frames.tensor_split(count, dim=-1):
        length = window.shape[-1] // PATCH * PATCH
        mask = torch.ones(1, length, dtype=torch.bool, device=nets.device)
        vectors += length * nets.speech.voice(window[None, :, :length], mask)[0]
        total += length
    voice = Voice(vectors / total, median_pitch(nets, mels), mels.new_zeros(MELS, 1))
    return voice._replace(tone=missing_tone(nets, voice, mels)) if voice.pitch > 0 else voice


def levelled(clip: Tensor) -> Tensor:
    """A recording (S,) as loud as those in training."""
    level = clip.square().mean().sqrt().clamp(min=FAINTEST)
    return clip * (10 ** (LEVEL / 20) / level)


def median_pitch(nets: Networks, mels: Tensor) -> Tensor:
    """(1,) Hz, as the vocoder hears it in log mels (MELS, T); 0 where there is too little voice."""
    return median_of(pitch_of(nets.vocoder.filters_of(mels[None]).pitch))


def median_of(hertz: Tensor) -> Tensor:
    """(1,) the median of a pitch, 0 where it is unvoiced; 0 where there is too little voice."""
    voiced = hertz[hertz > 0]
    return voiced.median()[None] if len(voiced) >= LEAST_VOICED else hertz.new_zeros(1)


def missing_tone(nets: Networks, voice: Voice, mels: Tensor) -> Tensor:
    """(MELS, 1), how the long-term spectrum of a reference (MELS, T) differs from what the flow makes of the voice.

    From pure noise the flow estimates the mean of all that it could make, so one call is enough. A band in which the
    reference has next to nothing tells of its recording, not of the voice, and stays as it is."""
    vectors = voiced(nets, voice)
    text, total = aligned(nets, phonemes(PANGRAM), vectors, 1.0)
    length = text.shape[1]
    cond = {
        "text": text.to(nets.dtype),
        "voice": vectors.to(nets.dtype),
        "mask": torch.arange(length, device=nets.device)[None] < total,
    }
    predict = denoiser(nets.speech.flow, FLOW, dtype=nets.dtype, cond=cond)
    noise = Noise([0], (CHANNELS, length), nets.device)(START)
    made = predict(noise, Level(1.0, 0.0, 1.0)).x0[0, :MELS, :total] * DEVIATION + MEAN
    missing = long_term_spectrum(mels) - long_term_spectrum(made)
    missing = missing - missing.median()
    return (missing * (2 - missing.abs()).clamp(0, 1))[:, None]


def long_term_spectrum(mels: Tensor) -> Tensor:
    """(MELS,), the mean of log mels (MELS, T) over the frames that are not silent."""
    loudness = mels.exp().square().sum(0).log()
    return mels[:, loudness > loudness.max() - SILENT].mean(1)


def mixed(voices: Sequence[Voice]) -> Voice:
    """The mean of several voices; of their pitches the geometric one."""
    known = torch.cat([voice.pitch for voice in voices if voice.pitch > 0] or [voices[0].pitch])
    vectors, tone = (torch.stack(rows).mean(0) for rows in zip(*((v.vectors, v.tone) for v in voices), strict=True))
    return Voice(vectors, known.log().mean().exp()[None], tone)


def random_voice(nets: Networks, seed: int) -> Voice:
    """A voice that does not exist."""
    basis, pitch = nets.random["basis"], nets.random["pitch"]
    drawn = Noise([seed], (len(basis),), nets.device)(START, 0)[0]
    vectors = nets.random["mean"] + torch.einsum("n,nkc->kc", drawn, basis)
    return Voice(vectors, (pitch[:1] + drawn @ pitch[1:]).exp(), vectors.new_zeros(MELS, 1))


def voiced(nets: Networks, voice: Voice) -> Tensor:
    """The vectors (1, K, C) of a voice with its pitch."""
    return voice.vectors + nets.speech.voice.height(voice.pitch)


def symbols_of(signs: str) -> list[int]:
    """The numbers of the symbols of phonemes, between silences."""
    return [SILENCE, *(SYMBOLS.index(sign) + SILENCE + 1 for sign in signs), SILENCE]


def aligned(nets: Networks, signs: str, voice: Tensor, speed: float) -> tuple[Tensor, int]:
    """A vector for each frame of a text, (1, T, C) with T a multiple of PATCH, and the number of frames. `voice`: the
    vectors (1, K, C), with the pitch."""
    symbols = torch.tensor([symbols_of(signs)], device=nets.device)
    mask = torch.ones_like(symbols, dtype=torch.bool)
    text = nets.speech.text(symbols, mask)
    frames = nets.speech.durations(text, voice, mask).exp() / speed
    ends = frames.cumsum(1).round().long()
    counts = ends.diff(dim=1, prepend=ends.new_zeros(1, 1))
    total = max(int(ends[0, -1]), LEAST)
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
    if is_guided:
        guide = guided(settings.guide, choice, predict, None, settings.guidance, CHANNELS * length)
        predict = started(settings.guide, choice, guide)
    noise = Noise(seeds, (CHANNELS, length), nets.device)
    x = noise(START)
    for state in choice.run(predict, x, noise):
        x = state.x
        yield
    return finite(x[:, :MELS, :total], "the flow") * DEVIATION + MEAN + voice.tone


def sound_of(nets: Networks, mels: Tensor, seed: int) -> Tensor:
    """Sound (S,) at 24 kHz from log mels (MELS, T)."""
    hiss = uniform(keys([derived(seed, "vocoder")], nets.device), START, 0, HOP * mels.shape[-1])
    return nets.vocoder(mels[None], 2 * hiss - 1)[0].clamp(-1, 1)
