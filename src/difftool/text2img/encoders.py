"""Text encoders: the vectors of a prompt, from CLIP and T5."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .prompts import Prompt

T5_TOKENS = {"sd3": 256, "flux": 512, "schnell": 256}
"""T5's token limit of a prompt, by kind."""


class Conditioning(NamedTuple):
    """The conditioning of a network, for the rows of a batch."""

    words: Tensor
    """(B, L, D), the vectors of the tokens."""
    whole: Tensor | None = None
    """(B, P), the pooled vector of the prompt, for networks that take it."""


class Tokens(NamedTuple):
    """The tokens of a prompt for one encoder, in windows."""

    ids: Tensor
    """(N, W)"""
    weights: Tensor
    """(N, W)"""


def windows(tokenizer: Any, length: int, prompt: Prompt, least: int = 1) -> Tokens:
    """A prompt for CLIP: as many windows of `length` tokens, start and end included, as it fills, at least `least`."""
    ids, weights = _tokens(tokenizer, prompt)
    size = length - 2
    count = max(math.ceil(len(ids) / size), least, 1)
    rows, factors = [], []
    for first in range(0, count * size, size):
        part = ids[first : first + size]
        padding = size - len(part)
        rows.append([tokenizer.bos_token_id, *part, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * padding])
        factors.append([1.0, *weights[first : first + size], 1.0, *[1.0] * padding])
    return Tokens(torch.tensor(rows), torch.tensor(factors))


def _tokens(tokenizer: Any, prompt: Prompt) -> tuple[list[int], list[float]]:
    """The tokens of a prompt, and the weight of each."""
    tokens: list[int] = []
    weights: list[float] = []
    for text, weight in prompt.pieces:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        tokens += ids
        weights += [weight] * len(ids)
    return tokens, weights


def weighted(vectors: Tensor, weights: Tensor) -> Tensor:
    """Vectors (N, W, D) of tokens times their weights (N, W), rescaled to their original mean, as in AUTOMATIC1111:
    otherwise a weight changes the whole picture. A mean that is negligible beside their spread is left alone."""
    if bool((weights == 1).all()):
        return vectors
    scaled = vectors.float() * weights[:, :, None].to(vectors.device)
    mean, now = vectors.float().mean(), scaled.mean()
    if min(mean.abs(), now.abs()) > 1e-3 * vectors.float().std():
        scaled = scaled * (mean / now)
    return scaled.to(vectors.dtype)


def encode_clip(
    encoder: Any, tokens: Tokens, skip: int, *, normed: bool, device: torch.device
) -> tuple[Tensor, Tensor]:
    """((1, N * W, D), (1, P)): the vectors of the layer `skip` from the end (1 is the last; Stable Diffusion takes them
    `normed`), and the pooled vector of the first window."""
    out = encoder(tokens.ids.to(device), output_hidden_states=True)
    if normed:
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        vectors = out.last_hidden_state if skip == 1 else norm(out.hidden_states[-skip])
    else:
        vectors = out.hidden_states[-skip]
    whole = out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output
    return weighted(vectors, tokens.weights).flatten(0, 1)[None], whole[:1]


def encode_t5(encoder: Any, tokenizer: Any, prompt: Prompt, length: int, device: torch.device) -> tuple[Tensor, int]:
    """((1, length, D), number of tokens cut off): T5's vectors of a prompt."""
    ids, weights = _tokens(tokenizer, prompt)
    left = max(len(ids) + 1 - length, 0)
    ids = [*ids[: length - 1], tokenizer.eos_token_id]
    weights = [*weights[: length - 1], 1.0]
    padding = length - len(ids)
    filled = torch.tensor([[*ids, *[tokenizer.pad_token_id] * padding]])
    factors = torch.tensor([[*weights, *[1.0] * padding]])
    vectors = encoder(filled.to(device))[0]
    return weighted(vectors, factors), left


def joined(parts: Sequence[Conditioning]) -> Conditioning:
    """The rows of several prompts, one after the other."""
    words = torch.cat([part.words for part in parts])
    wholes = [part.whole for part in parts if part.whole is not None]
    return Conditioning(words, torch.cat(wholes) if wholes else None)


def repeated(conditioning: Conditioning, n: int) -> Conditioning:
    """Each row `n` times."""
    words = conditioning.words.repeat_interleave(n, 0)
    if conditioning.whole is None:
        return Conditioning(words, None)
    return Conditioning(words, conditioning.whole.repeat_interleave(n, 0))


def padded(words: Tensor, width: int) -> Tensor:
    """Vectors padded with zeros to `width`."""
    return F.pad(words, (0, width - words.shape[-1]))
