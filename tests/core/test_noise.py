from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difftool.core.noise import START, Noise, normal, philox, uniform

SHAPES = [(3, 8, 8), (100, 48), (48, 100), (1,), (7,)]


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_its_known_answers(counter: list[int], key: list[int], words: list[int]) -> None:
    """The vectors published with the generator (Random123, philox4x32-10)."""
    found = philox([torch.tensor([c]) for c in counter], [torch.tensor([k]) for k in key])
    assert [int(word) for word in found] == words


@pytest.mark.parametrize("shape", SHAPES)
def test_splitting_a_batch_changes_nothing(shape: tuple[int, ...]) -> None:
    seeds = [5, 0, -3, 2**63, 7]
    whole = Noise(seeds, shape)
    for i, j in ((START, 0), (0, 0), (999, 3)):
        together = whole(i, j)
        assert together.shape == (5, *shape)
        for k, seed in enumerate(seeds):
            assert torch.equal(Noise([seed], shape)(i, j)[0], together[k])
        assert torch.equal(Noise(seeds[::-1], shape)(i, j), together.flip(0))


@settings(max_examples=50)
@given(st.integers(-(2**70), 2**70), st.integers(-1, 2**40), st.integers(0, 100))
def test_an_address_always_gives_the_same_numbers(seed: int, i: int, j: int) -> None:
    a = Noise([seed], (5,))(i, j)
    assert torch.equal(a, Noise([seed % 2**64], (5,))(i, j))
    assert a.isfinite().all()
    assert not torch.equal(a, Noise([seed], (5,))(i + 1, j))
    assert not torch.equal(a, Noise([seed], (5,))(i, j + 1))
    assert not torch.equal(a, Noise([seed + 1], (5,))(i, j))


def test_it_is_gaussian() -> None:
    z = Noise(range(8), (250_000,))(3).double()
    n = z.numel()
    assert abs(float(z.mean())) < 4 / math.sqrt(n)
    assert abs(float(z.var()) - 1) < 4 * math.sqrt(2 / n)
    assert abs(float((z**4).mean()) - 3) < 4 * math.sqrt(96 / n)
    cdf = 0.5 * (1 + torch.erf(z.flatten().sort().values / math.sqrt(2)))
    steps = torch.arange(1, n + 1, dtype=torch.float64) / n
    assert float((cdf - steps).abs().max()) < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov at 0.1 %


def test_items_steps_and_stages_are_independent() -> None:
    noise = Noise([0, 1], (20_000,))
    draws = torch.cat([noise(i, j) for i in (START, 0, 1) for j in (0, 1)])
    correlation = torch.corrcoef(draws.double()) - torch.eye(len(draws))
    assert float(correlation.abs().max()) < 4.5 / math.sqrt(20_000)


def test_uniform() -> None:
    u = uniform(torch.arange(4), 0, 0, 100_001)
    assert u.shape == (4, 100_001)
    assert 0 < float(u.min()) < 1e-4
    assert 1 - 1e-4 < float(u.max()) <= 1
    assert float(u.double().mean()) == pytest.approx(0.5, abs=2e-3)


def test_a_step_for_each_item() -> None:
    seeds, steps = torch.full((3,), 9), torch.tensor([4, 2**35, 5])
    each = normal(seeds, steps, 1, (6,))
    for k in range(3):
        assert torch.equal(each[k], normal(seeds[:1], int(steps[k]), 1, (6,))[0])


def test_dtype() -> None:
    assert Noise([1], (4,), dtype=torch.float64)(0).dtype == torch.float64
