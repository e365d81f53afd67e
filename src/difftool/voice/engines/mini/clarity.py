"""How clearly the voice in the package says a text: whether the classifier of phonemes finds each where it belongs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ....sampling.choice import choose_sampler
from ....sampling.settings import GuidanceSettings
from .. import finished
from .alignment import open_aligner
from .networks import Networks, Voice
from .options import PATH
from .phonemes import MARKS
from .synthesis import SILENCE, SpeechSettings, spectrograms, timed, voiced

SAMPLER, STEPS, GUIDANCE = "dpmpp_2m", 10, 2.0
"""What `LOST` in learning.py was chosen with, whatever the presets are."""
FIRST_SOUND = SILENCE + len(MARKS) + 2
"""The symbols before it are silence, punctuation and the space."""


@torch.no_grad()
def clarity(nets: Networks, voice: Voice, texts: Sequence[str]) -> float:
    """The mean logarithm of the probability that frames have of being the sound that they were made for, over the
    phonemes of texts; 0 is certain."""
    aligner = open_aligner().to(nets.device)
    settings = SpeechSettings(choose_sampler(PATH, SAMPLER, STEPS), GUIDANCE, GuidanceSettings(), 1.0)
    total, count = 0.0, 0
    for text in texts:
        mels = finished(spectrograms(nets, settings, text, voice, [0]))
        symbols, _, frames = timed(nets, text, voiced(nets, voice), settings.speed)
        wanted = symbols[0].repeat_interleave(frames[0])[: mels.shape[-1]]
        scores = aligner(mels, torch.ones_like(mels[:, 0], dtype=torch.bool))[0]
        is_sound = wanted >= FIRST_SOUND
        total += scores.gather(1, wanted[:, None])[is_sound].sum().item()
        count += int(is_sound.sum())
    return total / max(count, 1)
