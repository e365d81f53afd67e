"""What the networks hear of a voice in its recordings, and voices that do not exist."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ....core.noise import START, Noise
from ....core.paths import Level
from ....core.predict import FLOW, denoiser
from ....nets.mini.mel import mel
from ....nets.mini.speech import CHANNELS, DEVIATION, MEAN, PATCH, normalised
from ....nets.mini.vocoder import pitch_of
from ....nets.spectrum import HOP, MELS
from .networks import Networks, Voice
from .phonemes import phonemes
from .synthesis import LEAST, aligned, voiced

WINDOW = 384
"""Frames of a reference that are read at once, the longest in training: 4.1 s."""
LEVEL = -23.0
"""dB of full scale, root mean square, that references are brought to: the loudness of the training data."""
FAINTEST = 1e-5
CREAK = 55.0
"""Hz: a lower pitch is creak, or noise in the recording."""
LEAST_VOICED = 10
"""Voiced frames from which the pitch of a reference is taken as known."""
SILENT = 7.0
"""How far a silent frame lies below the loudest one, 30 dB, as the logarithm of its power."""
PANGRAM = (
    "The quick young fox saw five old boats play near the shore, and heard the choir sing of joy. "
    "She thought each measure was rather good now, but who would judge it better?"
)
"""A text with the sounds of English, whose long-term spectrum is compared with that of a reference."""


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
    voiced = hertz[hertz > CREAK]
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
