"""The architectures of F5-TTS."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks, and the two choices that no tensor of a checkpoint shows. The defaults are v1."""

    dim: int = 1024
    depth: int = 22
    heads: int = 16
    widened: int = 2
    """Width of the feed-forward layers, in `dim`."""
    text: int = 512
    text_blocks: int = 4
    mels: int = 100
    masked: bool = True
    """Whether the fillers after a text are 0."""
    rotated: int | None = None
    """Number of heads with rotary positions; None: all."""


V1 = Architecture()
V0 = replace(V1, masked=False, rotated=1)
ARCHITECTURES = {
    "v1": V1,
    "v0": V0,
    "v1-small": replace(V1, dim=768, depth=18, heads=12),
    "v0-small": replace(V0, dim=768, depth=18, heads=12),
}
"""By name. A checkpoint of v0 loads as v1, and the other way round, and then speaks noise: its name must be stated."""
