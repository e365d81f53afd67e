"""Letters to phonemes, for words that no lexicon has: each letter becomes up to three (CTC, Graves et al. 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..layers import embedding

LETTERS = "abcdefghijklmnopqrstuvwxyz'"
SLOTS = 3
"""Phonemes, stress marks and blanks that one letter can become."""


class Block(nn.Module):
    """What a letter's neighbours say, and then, at every second block, what the whole word says."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(width, width, 3, padding=1)
        self.norm = nn.LayerNorm(width)
        self.all = nn.MultiheadAttention(width, heads, batch_first=True) if heads else None
        self.all_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, outside: Tensor) -> Tensor:
        """`x` (B, T, width); `outside` (B, T) is true after the end of a word."""
        near = self.near(self.norm(x).masked_fill(outside[..., None], 0).mT).mT
        x = x + nn.functional.gelu(near)
        if self.all is None:
            return x
        normed = self.all_norm(x)
        return x + self.all(normed, normed, normed, key_padding_mask=outside, need_weights=False)[0]


class LetterNet(nn.Module):
    """Letters (B, T), numbered from 1 and padded with 0, to the log-probabilities (B, SLOTS T, 1 + sounds) of a blank
    and of each phoneme."""

    def __init__(self, sounds: str, width: int = 96, blocks: int = 6) -> None:
        super().__init__()
        self.sounds = sounds
        self.letter = embedding(len(LETTERS) + 1, width)
        self.blocks = nn.ModuleList(Block(width, 4 if k % 3 == 1 else 0) for k in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, SLOTS * (len(sounds) + 1))

    def forward(self, letters: Tensor) -> Tensor:
        outside = letters == 0
        x = self.letter(letters)
        for block in self.blocks:
            x = block(x, outside)
        scores = self.head(self.norm(x)).unflatten(2, (SLOTS, -1)).flatten(1, 2)
        return scores.log_softmax(2)

    @torch.inference_mode()
    def pronounce(self, words: Sequence[str]) -> list[str]:
        """The phonemes of words in small letters, with stress marks; what is none of LETTERS is left out."""
        scores = self(numbered(words))
        best = scores.argmax(2).tolist()
        lengths = (SLOTS * sum(letter in LETTERS for letter in word) for word in words)
        return [self._read(row[:length]) for row, length in zip(best, lengths, strict=True)]

    def _read(self, best: Sequence[int]) -> str:
        """The phonemes, where repeated ones are one and blanks none."""
        changes = (now for before, now in pairwise([0, *best]) if now not in (0, before))
        return "".join(self.sounds[now - 1] for now in changes)


def numbered(words: Sequence[str]) -> Tensor:
    """The letters (B, T) of words."""
    rows = [torch.tensor([LETTERS.index(letter) + 1 for letter in word if letter in LETTERS]) for word in words]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)
