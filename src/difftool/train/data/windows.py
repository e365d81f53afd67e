"""Windows of recordings as training items."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...learning.tasks import Data
from .sounds import Numbers, Sounds


class Windows:
    """The windows of sounds as training items (N, 1, mels, frames) in [-1, 1].

    Number k of an epoch is one of the windows side by side in a recording, and starts anywhere in its share of the
    allowed places.
    """

    def __init__(self, sounds: Sounds, device: torch.device, gain: float = 0.0) -> None:
        """`gain`: the largest change of loudness in dB."""
        self.format, self.frames = sounds.format, sounds.frames
        self.gain = 0.0 if sounds.format.relative else gain
        self.mels = torch.from_numpy(np.concatenate([each.mels for each in sounds.recordings])).to(device)
        counts = sounds.counts
        lengths = np.array([each.frames for each in sounds.recordings])
        places = np.array([len(each.starts) for each in sounds.recordings])
        ends = np.cumsum(lengths)
        begins = ends - lengths
        starts = [each.starts + begin for each, begin in zip(sounds.recordings, begins, strict=True)]
        self.starts = torch.from_numpy(np.concatenate(starts)).to(device)
        self.owner = np.repeat(np.arange(len(counts)), counts)
        """(N,), the recording of each item."""
        part = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)

        def of_items(values: Numbers) -> Tensor:
            return torch.from_numpy(values[self.owner]).to(device)

        self.part, self.parts = torch.from_numpy(part).to(device), of_items(counts)
        self.first, self.places = of_items(np.cumsum(places) - places), of_items(places)
        self.ends = torch.from_numpy(np.repeat(ends, places)).to(device)
        """Of the recording that each place lies in"""

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self.owner), 1, self.format.mels, self.frames])

    @property
    def device(self) -> torch.device:
        return self.mels.device

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, numbers: Tensor) -> Tensor:
        return self._at(numbers, torch.full(numbers.shape, 0.5, device=self.device))

    def drawn(self, numbers: Tensor, draws: Tensor) -> Tensor:
        """Items (R, 1, mels, frames) at drawn places, louder or softer by at most `gain`."""
        x = self._at(numbers, draws[:, 0])
        if not self.gain:
            return x
        shift = (2 * draws[:, 1] - 1) * self.format.shift(self.gain)
        louder = (x + shift.reshape(-1, 1, 1, 1)).clamp(-1, 1)
        return torch.where(x > -1, louder, x)  # silence stays silent

    def _at(self, numbers: Tensor, within: Tensor) -> Tensor:
        places = self.places[numbers]
        share = (self.part[numbers] + within.double()) / self.parts[numbers]
        place = torch.minimum((share * places).long(), places - 1)
        return self.everywhere(self.first[numbers] + place)

    def everywhere(self, places: Tensor) -> Tensor:
        """The windows (R, 1, mels, frames) at some of all allowed places, by their numbers in `starts`."""
        columns = self.starts[places][:, None] + torch.arange(self.frames, device=self.device)
        beyond = columns >= self.ends[places][:, None]
        logs = self.mels[columns.clamp(max=len(self.mels) - 1)].float()
        logs[beyond] = self.format.span[0] if not self.format.relative else -torch.inf
        return self.format.scaled(logs.transpose(1, 2))[:, None]


def data_of(sounds: Sounds, device: torch.device, gain: float = 0.0) -> Data:
    """Windows of sounds, and their labels."""
    x = Windows(sounds, device, gain)
    if sounds.labels is None:
        return Data(x, {}, {})
    labels = torch.from_numpy(sounds.labels[x.owner]).to(device)
    return Data(x, {"label": labels}, {"label": torch.tensor(len(sounds.classes), device=device)})
