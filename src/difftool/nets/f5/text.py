"""From the tokens of a text to a vector for each frame of its speech."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Linear, embedding
from .architecture import Architecture


class GlobalResponse(nn.Module):
    """Global response normalisation (Woo et al. 2023, arXiv:2301.00808) of (T, C), over all frames of a text."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        strength = x.norm(dim=0)
        share = strength / (strength.mean() + 1e-6)
        return self.gamma * (x * share) + self.beta + x


class ConvNeXtV2(nn.Module):
    """A block of ConvNeXt V2 over time, (T, C) to the same."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen = Linear(width, hidden)
        self.response = GlobalResponse(hidden)
        self.narrow = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.depthwise(x.T).T
        h = F.gelu(self.widen(self.norm(h)))
        return x + self.narrow(self.response(h.float()))


class TextEmbedding(nn.Module):
    """A text, one token a frame from the first frame on, as a vector for each frame of its speech.

    Frames after the last token hold a filler. With `masked` (v1) it is 0 before every block; without (v0) it is a token
    like any other. Either way the fillers are heard by `GlobalResponse`, so that the vectors depend on the number of
    frames: a text is embedded alone, whatever else is in its batch.
    """

    def __init__(self, architecture: Architecture, vocabulary: int) -> None:
        super().__init__()
        width = architecture.text
        self.masked = architecture.masked
        self.tokens = embedding(vocabulary + 1, width)
        self.blocks = nn.ModuleList(ConvNeXtV2(width, 2 * width) for _ in range(architecture.text_blocks))

    def forward(self, tokens: Tensor, frames: int, *, dropped: bool = False) -> Tensor:
        """(frames, width) of tokens (L,), indices into the vocabulary; those beyond the last frame are cut off.

        dropped: as without a text, for guidance; in v1 the length of the text still shows.
        """
        tokens = tokens[:frames] + 1
        tokens = F.pad(tokens, (0, frames - len(tokens)))
        spoken = (tokens > 0)[:, None]
        h = self.tokens(torch.zeros_like(tokens) if dropped else tokens)
        h = h.float() + positions(frames, h.shape[1], h.device)
        for block in self.blocks:
            h = block(h * spoken if self.masked else h)
        return h * spoken if self.masked else h


def positions(frames: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal positions (frames, width), cosines first."""
    angles = turns(frames, width, device)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def turns(frames: int, width: int, device: torch.device) -> Tensor:
    """Angles (frames, width / 2) of the frames at frequencies from 1 down to nearly 1 / 10,000, in float32."""
    exponents = torch.arange(0, width, 2, device=device).float() / width
    frame = torch.arange(frames, device=device).float()
    return frame[:, None] * (1.0 / 10_000.0**exponents)
