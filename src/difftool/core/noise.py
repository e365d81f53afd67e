"""Noise by address: a draw depends only on (seed, step, stage) and the place in the item.

The counter-based Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") makes numbers of
addresses: batch, order, device and processes cannot change them. Integers are equal everywhere, Gaussians to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Device: TypeAlias = torch.device | str
START = -1
"""The step number of a run's starting noise."""
_MASK = 0xFFFFFFFF


class Noise:
    """Unit Gaussian noise for items with a seed each: ``noise(i, j)`` is (B, *shape), for step i and stage j."""

    def __init__(
        self, seeds: Sequence[int], shape: Sequence[int], device: Device = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        """`seeds`: an integer per item, taken modulo 2^64; `shape`: of one item."""
        self.seeds = keys(seeds, device)
        self.shape, self.dtype = tuple(shape), dtype

    def __call__(self, i: int, j: int = 0) -> Tensor:
        return normal(self.seeds, i, j, self.shape).to(self.dtype)


def slerp(first: Tensor, last: Tensor, share: float) -> Tensor:
    """The noise at a share, 0 to 1, of the arc between two draws of unit noise (Shoemake 1985): all of them have the
    length of unit noise, which the points of a straight line have not."""
    lengths = first.norm() * last.norm()
    cosine = (first * last).sum() / lengths
    angle = math.acos(cosine.clamp(-1, 1))
    if angle < 1e-3:  # in float32 that may be zero
        return torch.lerp(first, last, share)
    before = math.sin((1 - share) * angle)
    after = math.sin(share * angle)
    return (before * first + after * last) / math.sin(angle)


def keys(seeds: Sequence[int], device: Device = "cpu") -> Tensor:
    """Integers of any size as int64 (B,), modulo 2^64: the seeds that `normal` and `uniform` take."""
    wrapped = [(seed + 2**63) % 2**64 - 2**63 for seed in seeds]
    return torch.tensor(wrapped, dtype=torch.int64, device=device)


def normal(seeds: Tensor, i: int | Tensor, j: int, shape: Sequence[int]) -> Tensor:
    """Unit Gaussians (B, *shape), float32, of seeds (B,) int64 at step `i` (one, or (B,) int64) and stage `j`."""
    n = math.prod(shape)
    pairs = uniform(seeds, i, j, n, even=True).unflatten(1, (-1, 2))
    u, v = pairs.unbind(2)
    # Box & Muller 1958
    radius = torch.sqrt(-2 * torch.log(u))
    angle = v * (2 * math.pi)
    points = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=2)
    return points.flatten(1)[:, :n].reshape(-1, *shape)


def uniform(seeds: Tensor, i: int | Tensor, j: int, n: int, *, even: bool = False) -> Tensor:
    """Numbers in (0, 1], float32, (B, n), or (B, n + 1) where an `even` number is asked for and n is odd."""
    if not isinstance(i, Tensor):
        i = torch.full_like(seeds, i)
    step, seed = i.to(seeds.device)[:, None], seeds[:, None]
    block = torch.arange(math.ceil(n / 4), device=seeds.device)[None, :]
    counter = (block, torch.full_like(block, j), *_words(step))
    drawn = philox(counter, _words(seed))
    bits = torch.stack(torch.broadcast_tensors(*drawn), dim=2).flatten(1)
    wanted = n + n % 2 if even else n
    return (bits[:, :wanted].to(torch.float32) + 0.5) * 2.0**-32


def _words(x: Tensor) -> tuple[Tensor, Tensor]:
    """The lower and the upper 32 bits."""
    return x & _MASK, (x >> 32) & _MASK


def philox(counter: Sequence[Tensor], key: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random 32-bit words from a counter of four and a key of two, all int64 tensors that broadcast."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # the product of two 32-bit words wraps around in int64, its bits are right
        low0, high0 = _words(c0 * 0xD2511F53)
        low1, high1 = _words(c2 * 0xCD9E8D57)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 = (k0 + 0x9E3779B9) & _MASK
        k1 = (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3
