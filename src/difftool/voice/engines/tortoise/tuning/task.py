"""Predicting the codes of clips from their texts and the voice: what the decoder is trained on. Rows have the form in
which it speaks, and a row's loss depends on nothing but the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .....core.noise import keys, uniform
from .....learning.config import TrainConfig
from .....learning.tasks import HELD_SEED, indices
from .....nets.layers import Linear
from .....nets.tortoise.autoregressive import STOP_TEXT, UnifiedVoice

VOICES = 5
"""Stage of the random numbers that choose the voices of a row; those of `learning.tasks` come before it."""
MOST_VOICES = 3
HELD_AT_ONCE = 4
"""Held-out clips that are computed together."""
TEXT_WEIGHT = 0.01
"""Weight of the loss of a text, whose tokens the decoder also predicts."""


@dataclass(frozen=True)
class Clipset:
    """Clips as rows, on the network's device."""

    texts: Sequence[Tensor]
    """(N,) tokens of each"""
    codes: Sequence[Tensor]
    """(M,) of each"""
    voices: Tensor
    """(V, dim): the voice in windows of clips"""
    own: Sequence[range]
    """For each clip, those of the voices that it must not be conditioned on: they come from the clip itself."""

    def length(self, k: int) -> int:
        """Positions of a row."""
        return len(self.texts[k]) + len(self.codes[k]) + 5

    def voice(self, k: int, seed: int, number: int) -> Tensor:
        """The voice (dim,) that clip `k` is conditioned on, as item `number` of a run: the mean of 1 to MOST_VOICES
        others."""
        first, *picks = uniform(keys([seed]), number, VOICES, 1 + MOST_VOICES)[0].tolist()
        pool = [voice for voice in range(len(self.voices)) if voice not in self.own[k]]
        count = min(_pick(first, MOST_VOICES) + 1, len(pool))
        chosen = [pool.pop(_pick(draw, len(pool))) for draw in picks[:count]]
        return self.voices[chosen].mean(0)


def _pick(draw: float, n: int) -> int:
    """One of 0 .. n - 1 from a number in (0, 1]."""
    return min(int(draw * n), n - 1)


class CodePredictor(nn.Module):
    """The decoder with its head for text, which only training uses."""

    def __init__(self, decoder: UnifiedVoice, text_head: Linear) -> None:
        super().__init__()
        self.decoder, self.text_head = decoder, text_head

    @property
    def checkpointing(self) -> bool:
        """Whether the backward pass computes each block again instead of keeping its tensors."""
        return self.decoder.checkpointing

    @checkpointing.setter
    def checkpointing(self, value: bool) -> None:
        self.decoder.checkpointing = value

    def forward(self, voices: Tensor, texts: Sequence[Tensor], codes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """-log p (R,) of the tokens of each text up to its stop, and of the codes of each clip up to theirs, given
        voices (R, dim)."""
        decoder = self.decoder
        words = [F.pad(F.pad(text, (1, 0), value=decoder.start_text), (0, 2), value=STOP_TEXT) for text in texts]
        speech = [F.pad(row, (1, 0), value=decoder.start_code) for row in codes]
        embedded = zip(
            voices,
            _embedded(words, decoder.text_embedding, decoder.text_positions),
            _embedded(speech, decoder.code_embedding, decoder.code_positions),
            strict=True,
        )
        rows = [torch.cat([voice[None], word, sound]) for voice, word, sound in embedded]
        longest = max(map(len, rows))
        # causal attention does not see what is behind a row
        hidden = decoder(torch.stack([F.pad(row, (0, 0, 0, longest - len(row))) for row in rows])).unbind(0)
        after_words = [h[1 : len(word) - 1] for h, word in zip(hidden, words, strict=True)]
        after_codes = [h[len(word) + 1 :][: len(row)] for h, word, row in zip(hidden, words, speech, strict=True)]
        stopped = [F.pad(row, (0, 1), value=decoder.stop_code) for row in codes]
        return (
            _negative_log_likelihood(self.text_head, after_words, [word[1:-1] for word in words]),
            _negative_log_likelihood(decoder.code_head, after_codes, stopped),
        )


def _embedded(rows: Sequence[Tensor], table: nn.Embedding, positions: nn.Embedding) -> Sequence[Tensor]:
    """Rows of tokens (N,) as (N, dim) each."""
    places = torch.cat([torch.arange(len(row), device=row.device) for row in rows])
    return (table(torch.cat(list(rows))) + positions(places)).split([len(row) for row in rows])


def _negative_log_likelihood(head: Linear, hidden: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """The sum of -log p (R,) of the targets (N,) of each row after hidden states (N, dim)."""
    logits = head(torch.cat(list(hidden))).float()
    each = F.cross_entropy(logits, torch.cat(list(targets)), reduction="none")
    return torch.stack([part.sum() for part in each.split([len(row) for row in targets])])


class CodePrediction:
    """Training the decoder on clips: a `Ragged` task. The held-out loss is in nats a code."""

    banded = False

    def __init__(
        self,
        train: TrainConfig,
        net: CodePredictor,
        clips: Clipset,
        held: Clipset | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """`dtype` is that of the computation; weights of another number format are not cast for float32."""
        self.train, self.net, self.clips, self.held, self.dtype = train, net, clips, held, dtype
        self.held_out = 0 if held is None else len(held.codes)
        self.mean = _mean_length(clips)

    def losses(self, first: int, rows: range) -> tuple[Tensor, Tensor]:
        """Within a batch the longest clips come first, so that those that are computed together are of one length."""
        seed, size = self.train["seed"], self.train["batch_size"]
        batch = indices(seed, len(self.clips.codes), first, size).tolist()
        order = sorted(range(size), key=lambda k: self.clips.length(batch[k]), reverse=True)
        mine = [(batch[k], first + k) for k in order[rows.start : rows.stop]]
        return self._losses(mine)

    def heaviest(self, rows: range) -> tuple[Tensor, Tensor]:
        """As `Ragged.heaviest`."""
        longest = max(range(len(self.clips.codes)), key=self.clips.length)
        return self._losses([(longest, k) for k in rows])

    @torch.no_grad()
    def held_losses(self, weights: Mapping[str, Tensor], rows: range) -> tuple[Tensor, Tensor]:
        assert self.held is not None
        parts = []
        for start in range(rows.start, rows.stop, HELD_AT_ONCE):
            part = range(start, min(start + HELD_AT_ONCE, rows.stop))
            voices = torch.stack([self.held.voice(k, HELD_SEED, k) for k in part])
            args = voices, [self.held.texts[k] for k in part], [self.held.codes[k] for k in part]
            with self._autocast():
                parts.append(torch.func.functional_call(self.net, dict(weights), args)[1])
        losses = torch.cat(parts) / _mean_length(self.held)
        return losses, _no_band(losses)

    def _losses(self, items: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """The losses of clips, each with its number in the run."""
        clips, seed = self.clips, self.train["seed"]
        voices = torch.stack([clips.voice(k, seed, number) for k, number in items])
        with self._autocast():
            texts, codes = self.net(voices, [clips.texts[k] for k, _ in items], [clips.codes[k] for k, _ in items])
        # by the mean of all clips: long and short ones weigh by their codes, and parts of a batch add up
        return (codes + TEXT_WEIGHT * texts) / self.mean, _no_band(codes)

    def _autocast(self) -> torch.autocast:
        kind = self.clips.voices.device.type
        return torch.autocast(kind, self.dtype, enabled=self.dtype != torch.float32)


def _mean_length(clips: Clipset) -> float:
    """Codes of a clip and the stop, on average."""
    return sum(len(row) + 1 for row in clips.codes) / len(clips.codes)


def _no_band(losses: Tensor) -> Tensor:
    return torch.zeros(len(losses), dtype=torch.int64, device=losses.device)
