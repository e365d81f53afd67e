"""Training pictures on the network's device."""

from __future__ import annotations

import torch

from ...learning.tasks import Data
from .pictures import Pictures


def data_of(pictures: Pictures, device: torch.device) -> Data:
    """Pictures, and their labels."""
    x = torch.from_numpy(pictures.pixels).permute(0, 3, 1, 2).to(device)
    if pictures.labels is None:
        return Data(x, {}, {})
    labels = torch.from_numpy(pictures.labels).to(device)
    return Data(x, {"label": labels}, {"label": torch.tensor(len(pictures.classes), device=device)})
