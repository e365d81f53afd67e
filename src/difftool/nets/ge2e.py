"""The GE2E speaker encoder (Wan et al. 2018, arXiv:1710.10467), with the sizes and weights of Resemblyzer 0.1.4: speech
becomes a vector, and the vectors of one speaker point in similar directions."""

from __future__ import annotations

from functools import cache

import torch
import torchaudio
from torch import Tensor, nn

HEARD = 16_000
"""Sample rate of the input."""
FRAME, STEP, MELS = 400, 160, 40
"""Samples of a frame, 25 ms, and from one to the next, and bands of its spectrum."""
WINDOW, APART = 160, 77
"""Frames that the network hears at once, 1.6 s, and from one such window to the next."""
LEAST_COVERED = 0.75
"""Share of the last window that must be speech, or it is left out."""


class SpeakerEncoder(nn.Module):
    """Windows of mels (B, WINDOW, MELS) to vectors (B, 256) of length 1."""

    def __init__(self, width: int = 256, layers: int = 3) -> None:
        super().__init__()
        self.lstm = nn.LSTM(MELS, width, layers, batch_first=True)
        self.linear = nn.Linear(width, width)

    def forward(self, mels: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(mels)
        vector = self.linear(hidden[-1]).relu()
        return nn.functional.normalize(vector, dim=1)

    def windows(self, sound: Tensor) -> Tensor:
        """The mels (B, WINDOW, MELS) of a sound (S,) at HEARD: power, not in dB."""
        count = windows_in(len(sound))
        frames = (count - 1) * APART + WINDOW
        missing = max(0, frames * STEP - len(sound))
        padded = nn.functional.pad(sound, (0, missing))
        mels = _spectrogram()(padded).T
        starts = range(0, APART * count, APART)
        return torch.stack([mels[start : start + WINDOW] for start in starts])

    def embed(self, sound: Tensor) -> Tensor:
        """The vector (256,) of length 1 of speech (S,) at HEARD, the mean of its windows."""
        vectors = self(self.windows(sound))
        return nn.functional.normalize(vectors.mean(0), dim=0)


def windows_in(samples: int) -> int:
    """The number of windows of a sound of so many samples at HEARD, at least one."""
    frames = samples // STEP + 1
    starts = range(0, frames - WINDOW + APART + 1, APART)
    if len(starts) < 2:
        return 1
    left = samples - starts[-1] * STEP
    is_covered = left >= LEAST_COVERED * WINDOW * STEP
    return len(starts) if is_covered else len(starts) - 1


@cache
def _spectrogram() -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        HEARD, FRAME, hop_length=STEP, n_mels=MELS, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )
