"""Memory that training needs."""

from __future__ import annotations

import psutil
import torch

from .....learning.loop import ROOM
from .task import CodePrediction, CodePredictor

KEPT = {torch.float32: 68, torch.bfloat16: 48}
"""Bytes that a block keeps for the backward pass, for each position and channel: the input and the output of both norms
(float32), queries, keys and values, the output of the attention twice, and the hidden layer before and after its
activation; with products in bf16 also what enters them."""
ENDS = 32
"""Bytes before the first block and after the last, for each position and channel: what is embedded, and the hidden
states with their norms."""
LOGITS = 16
"""Bytes for each possible code at a position: the logits and their gradients."""


def needed(net: CodePredictor, positions: int, dtype: torch.dtype) -> int:
    """Bytes that one row needs beside the weights, at most."""
    decoder = net.decoder
    dim, codes = decoder.code_head.in_features, decoder.code_head.out_features
    blocks = len(decoder.blocks)
    block = KEPT[dtype] * dim
    kept = block + 4 * dim * blocks if net.checkpointing else block * blocks
    return positions * (kept + ENDS * dim + LOGITS * codes)


def learned(net: CodePredictor) -> int:
    """Bytes of gradients, both moments and the average of what is learned."""
    return 16 * sum(p.numel() for p in net.parameters() if p.requires_grad)


def is_short(task: CodePrediction, dtype: torch.dtype) -> bool:
    """Whether the longest row does not fit in the free memory without checkpointing."""
    clips = task.clips
    longest = max(map(clips.length, range(len(clips.codes))))
    device = clips.voices.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return needed(task.net, longest, dtype) + learned(task.net) > ROOM * free
