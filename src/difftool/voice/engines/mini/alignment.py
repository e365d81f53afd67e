"""When each symbol of a clip is spoken: by the classifier of phonemes, and by how long the voice in the package would
take for each. The classifier alone gives many symbols a single frame."""

from __future__ import annotations

import torch
from torch import Tensor

from ....files import load_tensors
from ....nets.mini.aligner import Aligner
from ....nets.spectrum import HOP, RATE
from .files import FOLDER, reading
from .phonemes import MARKS, SYMBOLS
from .synthesis import SILENCE

ALIGNER = "aligner.safetensors"
TRUST = 0.3
"""Weight of the classifier: its errors in frames that are neighbours are not independent."""
SPREADS = {"sound": 0.4, "pause": 1.0, "end": 3.0}
"""Deviation of the logarithm of a duration: of phonemes, of marks, and of the silence at both ends."""
MOST = 120
"""Frames of a symbol."""


def open_aligner() -> Aligner:
    """The classifier of phonemes in the package. Raises DifftoolError 4 where it is missing or damaged."""
    aligner = Aligner()
    with reading():
        weights = load_tensors(FOLDER / ALIGNER).tensors
        aligner.load_state_dict({name: value.float() for name, value in weights.items()})
    return aligner.eval().requires_grad_(False)


def most_seconds(symbols: int) -> float:
    """The longest sound to which so many symbols can be aligned."""
    return symbols * MOST * HOP / RATE


def frames_of(scores: Tensor, symbols: Tensor, logs: Tensor) -> Tensor:
    """The frames (L,) of each of the symbols (L,), in their order, that fit best: to the log-probabilities (T, SYMBOLS)
    of frames, and to expected durations, the logarithms `logs` (L,) of frames, as a whole scaled to T. Each has at
    least one frame, and all together T. Raises ValueError for fewer frames than symbols, or too many."""
    length, count = len(scores), len(symbols)
    lasts = torch.arange(1, min(MOST, length) + 1, dtype=torch.float64)
    expected = logs.double() + torch.log(length / logs.double().exp().sum())
    spreads = torch.tensor([_spread(int(symbol)) for symbol in symbols], dtype=torch.float64)
    priors = -0.5 * ((lasts.log() - expected[:, None]) / spreads[:, None]).square()
    sums = torch.cat([torch.zeros(1, count), TRUST * scores[:, symbols].cpu()]).double().cumsum(0)
    best = torch.full((length + 1,), -torch.inf, dtype=torch.float64)
    best[0] = 0
    chosen = []
    for k in range(count):
        # for each last frame and duration: what came before, and the prior
        before = torch.cat([torch.full((len(lasts),), -torch.inf, dtype=torch.float64), best - sums[:, k]])
        ways = before.unfold(0, len(lasts), 1)[: length + 1].flip(1) + priors[k]
        values, durations = ways.max(1)
        best = values + sums[:, k]
        chosen.append(durations + 1)
    if not best[length].isfinite():
        raise ValueError(f"{count} symbols do not fit in {length} frames")
    frames, end = [0] * count, length
    for k in reversed(range(count)):
        frames[k] = int(chosen[k][end])
        end -= frames[k]
    return torch.tensor(frames)


def _spread(symbol: int) -> float:
    if symbol == SILENCE:
        return SPREADS["end"]
    return SPREADS["pause" if SYMBOLS[symbol - SILENCE - 1] in MARKS else "sound"]
