"""Autoregressive decoding: speech codes from a text in a voice, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ....core.noise import keys, uniform
from ....device import finite, halved
from ....errors import DifftoolError, Exit
from ....nets.small_batch import ROWS as CPU_ROWS
from ....nets.tortoise.autoregressive import UnifiedVoice
from .. import Steps

CALM, STOP = 83, 8193
"""The code of silence, and the one that stops."""
BREATH = 8
"""Codes of silence after the stop that the diffusion gets, so that the speech ends naturally."""
ROWS = {"cpu": CPU_ROWS, "cuda": 128}
"""Rows of every matrix product, whatever the number of samples: the rounding of a row depends on the size of the
product, and a code on its rounding."""


class TokenSampling(NamedTuple):
    """Sampling of a code from its scores."""

    temperature: float = 0.8
    top_p: float = 0.8
    top_k: int = 50
    """0 is off."""
    repetition_penalty: float = 2.0

    def __call__(self, scores: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, k), largest first, and their codes, from scores (B, codes) and a mask (B, codes) of codes
        drawn before: with a repetition penalty (Keskar et al. 2019, arXiv:1909.05858, section 4.1), top-k, and nucleus
        sampling (Holtzman et al. 2019, arXiv:1904.09751)."""
        penalty, count = self.repetition_penalty, scores.shape[1]
        scores = torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)
        best, codes = scores.topk(min(self.top_k or count, count))
        share = (best / max(self.temperature, 1e-5)).softmax(1)
        if self.top_p < 1:  # the sum of all may round to 1 before the last
            nucleus = share.cumsum(1) - share < self.top_p
            nucleus[:, 0] = True
            share = share * nucleus
        return share / share.sum(1, keepdim=True), codes


def scores(decoder: UnifiedVoice, hidden: Tensor) -> Tensor:
    """(B, codes) from the last hidden states (B, T, dim). Raises DifftoolError 1 where they are not finite."""
    return finite(decoder.logits(hidden[:, -1]), "the decoder")


class SampledCodes(NamedTuple):
    """Samples of one text."""

    codes: Tensor
    """(samples, M) as drawn, until the last has stopped; padded with the stop code."""
    latents: list[Tensor]
    """(T, dim) of each, for the diffusion; T is the number of its codes, and BREATH more where it stopped."""


def prefill(decoder: UnifiedVoice, voice: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """The key-value cache of the decoder for a voice (1, dim), the tokens of a text (1, N) and the start code, and its
    hidden state (1, 1, dim) there."""
    begun = decoder.embed(text.new_full((1, 1), decoder.start_code))
    before = torch.cat([decoder.prefix(voice, text), begun], dim=1)
    cache = decoder.new_cache(1, before.shape[1])
    return cache, decoder(before, cache)[:, -1:]


def sample_codes(
    decoder: UnifiedVoice,
    voice: Tensor,
    text: Tensor,
    seeds: Sequence[int],
    sampling: TokenSampling,
    *,
    most: int,
    block: int,
) -> Steps[SampledCodes]:
    """A sample for each of `seeds`, of at most `most` codes, for a voice (1, dim) and the tokens of a text (1, N).

    The text is encoded once for all of them. They run `block` at a time, at most ROWS, half as many when out of memory,
    and each depends on its own seed only. A sample that has stopped gets CALM for BREATH steps, and is then removed
    from the batch. Raises DifftoolError 1 where scores are not finite, 6 where not even one sample fits in memory.
    """
    cache, first = prefill(decoder, voice, text)
    block = min(block, ROWS[voice.device.type])
    drawn: list[tuple[Tensor, Tensor]] = []
    while len(drawn) < len(seeds):
        try:
            drawn += yield from _block(decoder, cache, first, seeds[len(drawn) :][:block], sampling, most)
        except (RuntimeError, MemoryError) as error:
            message, hint = "one sample of the decoder does not fit in memory", "try --dtype bf16, or --low-vram"
            block = halved(block, error, DifftoolError(Exit.MEMORY, message, hint))
    length = max(len(codes) for codes, _ in drawn)
    padded = [F.pad(codes, (0, length - len(codes)), value=decoder.stop_code) for codes, _ in drawn]
    return SampledCodes(torch.stack(padded), [latents for _, latents in drawn])


def _block(
    decoder: UnifiedVoice, before: Tensor, first: Tensor, seeds: Sequence[int], sampling: TokenSampling, most: int
) -> Steps[list[tuple[Tensor, Tensor]]]:
    """(codes, latents) of rows that continue from a common cache and hidden state. Only the first `len(place)` rows of
    the cache are active; `place` holds the indices of their results."""
    device, start, live = first.device, before.shape[4], len(seeds)
    cache = decoder.new_cache(live, start + most + BREATH)
    cache[:, :, :, :, :start] = before
    lots = uniform(keys(seeds, device), 0, 0, most)
    codes = torch.full((live, most), decoder.stop_code, device=device)
    seen = torch.zeros(live, decoder.stop_code + 1, dtype=torch.bool, device=device)
    latents = first.new_empty(live, most + BREATH, first.shape[2])
    ends = [most] * live
    talks = torch.ones(live, dtype=torch.bool, device=device)
    place = torch.arange(live, device=device)
    rows = ROWS[device.type]
    hidden, m = first.expand(rows, -1, -1), 0
    for m in range(most + BREATH):
        latents[place, m] = hidden[: len(place), 0]
        current = torch.full_like(place, CALM)
        if m < most:
            allowed = scores(decoder, hidden)[: len(place)]
            allowed[:, decoder.start_code] = -torch.inf  # no speech begins twice
            chances, candidates = sampling(allowed, seen[place])
            k = (chances.cumsum(1) < lots[place, m, None]).sum(1, keepdim=True)
            k = torch.minimum(k, (chances > 0).sum(1, keepdim=True) - 1)  # the sum of all may round to less than 1
            drawn = candidates.gather(1, k)[:, 0]
            for stopped in place[talks[place] & (drawn == decoder.stop_code)].tolist():
                ends[stopped], talks[stopped] = m + BREATH, False
            current = drawn.where(talks[place], CALM)
            codes[place, m] = drawn.where(talks[place], decoder.stop_code)
            seen[place, current] = True
            yield
        going = [i for i, at in enumerate(place.tolist()) if m + 1 < ends[at]]
        if not going:
            break
        free = [i for i in range(len(going)) if i not in going]  # filled with the last ones
        for i, last in zip(free, going[len(going) - len(free) :], strict=True):
            cache[:, :, i], place[i], current[i] = cache[:, :, last], place[last], current[last]
        place, current = place[: len(going)], current[: len(going)]
        fed = F.pad(current, (0, rows - len(current)))[:, None]
        hidden = decoder(decoder.embed(fed, m + 1), cache[:, :, : len(current)], start + m, shared=start)
    for _ in range(m + 1, most):
        yield
    lengths = ((codes != decoder.stop_code).sum(1) + 1).tolist()
    return [(codes[i, : lengths[i]].clone(), latents[i, : ends[i]].clone()) for i in range(live)]
