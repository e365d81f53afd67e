"""Whose voice it is: speech as a vector, its voiceprint, by the speaker encoder in the package. It is for judging only:
no model is trained with it or conditioned on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchaudio.functional import resample

from ..audio.files import RATE, Samples
from ..files import load_tensors
from ..models import ASSETS
from ..nets.ge2e import HEARD, SpeakerEncoder

Voiceprint = npt.NDArray[np.float32]
"""(256,), of length 1. The likeness of two is their product, the cosine of the angle between them."""

LEVEL = -26.0
"""dB of full scale, root mean square, that speech is brought to: the network hears loudness too."""
FAINTEST = 1e-5


@cache
def encoder() -> SpeakerEncoder:
    """The network, on the CPU."""
    net = SpeakerEncoder()
    weights = load_tensors(ASSETS / "speaker" / "model.safetensors").tensors
    net.load_state_dict({name: value.float() for name, value in weights.items()})
    return net.eval()


def voiceprint(sound: Samples, rate: int = RATE) -> Voiceprint:
    """The voiceprint of speech (S,), of any loudness; best without long pauses, and with 1.6 s or more."""
    some = sound if len(sound) else np.zeros(1, np.float32)
    heard = resample(torch.from_numpy(np.ascontiguousarray(some)), rate, HEARD)
    power = float((heard**2).mean())
    gain = 10 ** (LEVEL / 20) / max(power**0.5, FAINTEST)
    with torch.inference_mode():
        return encoder().embed(gain * heard).numpy()


def averaged(
    prints: Sequence[Voiceprint] | Voiceprint, weights: Sequence[float] | npt.NDArray[Any] | None = None
) -> Voiceprint:
    """The voiceprint of several sounds of one voice, from theirs (N, 256)."""
    mean = np.average(np.asarray(prints), axis=0, weights=weights)
    return (mean / max(float(np.linalg.norm(mean)), FAINTEST)).astype(np.float32)
