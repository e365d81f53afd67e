"""What a network is told of a prompt: the words' vectors, from the text encoders of the families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .prompts import Prompt

T5_TOKENS = {"sd3": 256, "flux": 512, "schnell": 256}
"""Tokens that T5 reads of a prompt, by kind."""


class Told(NamedTuple):
    """What a network is told, in rows of a batch."""

    words: Tensor
    """(B, L, D)"""
    whole: Tensor | None = None
    """(B, P), of the prompt as a whole, where the network asks for it."""


class Tokens(NamedTuple):
    """A prompt for one encoder, in windows."""

    ids: Tensor
    """(N, W)"""
    weights: Tensor
    """(N, W)"""


def windows(tokenizer: Any, length: int, prompt: Prompt, least: int = 1) -> Tokens:
    """A prompt as CLIP reads it: as many windows of `length` tokens, their two ends included, as it fills, at least
    `least`."""
    ids, weights = _tokens(tokenizer, prompt)
    room = length - 2
    rows: list[tuple[list[int], list[float]]] = []
    for k in range(max(-(-len(ids) // room), least, 1)):
        part, factors = ids[k * room : (k + 1) * room], weights[k * room : (k + 1) * room]
        rest = room - len(part)
        filled = [tokenizer.bos_token_id, *part, tokenizer.eos_token_id, *[tokenizer.pad_token_id] * rest]
        rows.append((filled, [1.0, *factors, 1.0, *[1.0] * rest]))
    return Tokens(torch.tensor([row[0] for row in rows]), torch.tensor([row[1] for row in rows]))


def _tokens(tokenizer: Any, prompt: Prompt) -> tuple[list[int], list[float]]:
    """The tokens of a prompt, and the weight of each."""
    found = [(tokenizer(text, add_special_tokens=False).input_ids, weight) for text, weight in prompt.pieces]
    return [token for ids, _ in found for token in ids], [weight for ids, weight in found for _ in ids]


def weighted(vectors: Tensor, weights: Tensor) -> Tensor:
    """Vectors (N, W, D) of tokens times their weights (N, W), brought back to the mean they had, as AUTOMATIC1111 does:
    without that a weight changes the whole picture. Where their mean is nothing beside them, it is left alone."""
    if bool((weights == 1).all()):
        return vectors
    scaled = vectors.float() * weights[:, :, None].to(vectors.device)
    mean, now = vectors.float().mean(), scaled.mean()
    if min(mean.abs(), now.abs()) > 1e-3 * vectors.float().std():
        scaled = scaled * (mean / now)
    return scaled.to(vectors.dtype)


def clip(encoder: Any, tokens: Tokens, skip: int, *, normed: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """((1, N * W, D), (1, P)): the vectors of the layer that is `skip` from the end (1 is the last, which Stable
    Diffusion reads `normed`), and what stands for the whole of the first window."""
    out = encoder(tokens.ids.to(device), output_hidden_states=True)
    if normed:
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        vectors = out.last_hidden_state if skip == 1 else norm(out.hidden_states[-skip])
    else:
        vectors = out.hidden_states[-skip]
    whole = out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output
    return weighted(vectors, tokens.weights).flatten(0, 1)[None], whole[:1]


def t5(encoder: Any, tokenizer: Any, prompt: Prompt, length: int, device: torch.device) -> tuple[Tensor, int]:
    """((1, length, D), tokens that found no room): T5's vectors of a prompt."""
    ids, weights = _tokens(tokenizer, prompt)
    left = max(len(ids) + 1 - length, 0)
    ids, weights = [*ids[: length - 1], tokenizer.eos_token_id], [*weights[: length - 1], 1.0]
    rest = length - len(ids)
    filled = torch.tensor([[*ids, *[tokenizer.pad_token_id] * rest]])
    vectors = encoder(filled.to(device))[0]
    return weighted(vectors, torch.tensor([[*weights, *[1.0] * rest]])), left


def joined(parts: Sequence[Told]) -> Told:
    """Rows of several prompts below each other."""
    wholes = [part.whole for part in parts if part.whole is not None]
    return Told(torch.cat([part.words for part in parts]), torch.cat(wholes) if wholes else None)


def repeated(told: Told, n: int) -> Told:
    """Each row `n` times."""
    return Told(told.words.repeat_interleave(n, 0), None if told.whole is None else told.whole.repeat_interleave(n, 0))


def padded(words: Tensor, width: int) -> Tensor:
    """Vectors filled up with zeros to `width`."""
    return F.pad(words, (0, width - words.shape[-1]))
