"""Drawing codes of speech: the chances, and that nothing but its seed decides a sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_tortoise import NEEDS_KERNEL, finished, integers, network, noise, off
from torch import Tensor

from difftool.core.noise import keys, uniform
from difftool.errors import DifftoolError, Exit
from difftool.nets.tortoise.autoregressive import attention_of_step
from difftool.voice.engines.tortoise.decoding import (
    BREATH,
    CALM,
    STOP,
    SampledCodes,
    TokenSampling,
    prefill,
    sample_codes,
    scores,
)

VOICE, TEXT = noise(1, 1, 64), integers(2, 3, 255, 1, 20)
SEEDS = list(range(100, 121))


def decoder(dtype: torch.dtype = torch.float32, stops: float = 3.2) -> Any:
    net = network("autoregressive", dtype)
    net.code_head.bias[STOP] += stops
    return net


ODDS = TokenSampling()


def drawn(
    net: Any, seeds: list[int] = SEEDS, block: int = 16, most: int = 50, sampling: TokenSampling = ODDS
) -> SampledCodes:
    return finished(sample_codes(net, VOICE, TEXT, seeds, sampling, most=most, block=block))


def same(one: SampledCodes, other: SampledCodes) -> bool:
    return torch.equal(one.codes, other.codes) and all(map(torch.equal, one.latents, other.latents))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, pytest.param(torch.int8, marks=NEEDS_KERNEL)])
def test_a_sample_hangs_on_its_seed_only(dtype: torch.dtype) -> None:
    """To the last bit: whatever the block, the order, and which others there are."""
    net = decoder(dtype)
    whole = drawn(net)
    for block in (1, 4, 7, 32):
        assert same(drawn(net, block=block), whole), block
    turned = drawn(net, SEEDS[::-1])
    assert torch.equal(turned.codes.flip(0), whole.codes)
    alone = drawn(net, SEEDS[5:6])
    assert torch.equal(alone.latents[0], whole.latents[5])


@NEEDS_KERNEL
def test_weights_of_8_bits_change_the_odds_little() -> None:
    """Of codes that are given, at logits as sharp as trained ones: a standard deviation of 4."""
    text, codes = integers(5, 3, 255, 1, 20), integers(6, 0, 8192, 8, 40)
    nets = [network("autoregressive", dtype) for dtype in (torch.float32, torch.int8)]
    logits = [net.logits(net.latents(VOICE.expand(8, -1), text.expand(8, -1), codes)) for net in nets]
    p, q = (side * (4 / float(logits[0].std())) for side in logits)
    p, q = p.log_softmax(-1), q.log_softmax(-1)
    divergence = float((p.exp() * (p - q)).sum(-1).mean())
    assert 1e-6 < divergence < 0.01


def test_a_nucleus_of_1_keeps_every_code() -> None:
    """Also those after a probability that rounds to 1."""
    chances, _ = TokenSampling(1.0, 1.0, 0, 1.0)(torch.tensor([[0.0, -18.0, -18.0]]), torch.zeros(1, 3).bool())
    assert chances[0, 0] == 1 and (chances > 0).all()


def test_what_all_rows_share_is_read_once() -> None:
    q, k, v = noise(7, 16, 4, 1, 64), noise(8, 5, 4, 30, 64), noise(9, 5, 4, 30, 64)
    k[:, :, :20], v[:, :, :20] = k[:1, :, :20], v[:1, :, :20]
    wanted = F.scaled_dot_product_attention(q[:5].double(), k.double(), v.double())
    for shared in (0, 1, 20):
        k[1:, :, :shared], v[1:, :, :shared] = torch.nan, torch.nan
        assert off(attention_of_step(q, k, v, shared), wanted) < 1e-6
    k[2:, :, :20], v[2:, :, :20] = k[:1, :, :20], v[:1, :, :20]
    alone = attention_of_step(torch.cat([q[2:3], q[1:]]), k[2:3], v[2:3], 20)
    assert torch.equal(alone[0], attention_of_step(q, k, v, 20)[2])


def test_latents_are_those_that_a_second_pass_would_give() -> None:
    """Which also says that every code stands where it was trained to stand; after a stop comes silence."""
    net = decoder()
    found = drawn(net)
    lengths = set()
    for codes, latents in zip(found.codes, found.latents, strict=True):
        said = codes[codes != STOP]
        stopped = len(said) < len(codes)
        shown = torch.cat([said, torch.full((BREATH,), CALM)]) if stopped else said
        assert len(latents) == len(shown)
        assert off(latents, net.latents(VOICE, TEXT, shown[None])[0]) < 1e-5
        lengths.add(len(said))
    assert len(lengths) > 5


def test_codes_are_padded_until_the_last_has_stopped() -> None:
    codes = drawn(decoder()).codes
    lengths = (codes != STOP).sum(1)
    assert codes.shape[1] == lengths.max() + 1
    for row, length in zip(codes, lengths, strict=True):
        assert (row[:length] != STOP).all()
        assert (row[length:] == STOP).all()
    assert not (codes == STOP - 1).any()  # no speech begins twice


def test_a_sample_that_does_not_stop_is_cut() -> None:
    found = drawn(decoder(stops=-50.0), most=11)
    assert found.codes.shape == (len(SEEDS), 11)
    assert not (found.codes == STOP).any()
    assert {len(latents) for latents in found.latents} == {11}


def reference(logits: Tensor, seen: Tensor, sampling: TokenSampling) -> Tensor:
    """The chances of all codes, one row and one step after the other."""
    rows = []
    for row, came in zip(logits.double(), seen, strict=True):
        kept = [
            (float(v * sampling.repetition_penalty if v < 0 else v / sampling.repetition_penalty) if c else float(v))
            for v, c in zip(row, came, strict=True)
        ]
        weights = torch.tensor(kept, dtype=torch.float64) / sampling.temperature
        order = sorted(range(len(kept)), key=lambda k: -kept[k])[: sampling.top_k or None]
        total = sum(weights[order].exp())
        chances, passed = torch.zeros(len(kept), dtype=torch.float64), 0.0
        for k in order:
            if passed < sampling.top_p or k == order[0]:
                chances[k] = weights[k].exp() / total
            passed += float(weights[k].exp() / total)
        rows.append(chances / chances.sum())
    return torch.stack(rows)


@pytest.mark.parametrize(
    "sampling",
    [
        TokenSampling(),
        TokenSampling(1.0, 1.0, 0, 1.0),
        TokenSampling(0.5, 0.3, 7, 1.3),
        TokenSampling(2.0, 0.99, 0, 2.0),
        TokenSampling(0.8, 0.0, 50, 2.0),
    ],
)
def test_chances(sampling: TokenSampling) -> None:
    logits, seen = noise(3, 5, 60) * 3, noise(4, 5, 60) > 0.7
    chances, codes = sampling(logits, seen)
    torch.testing.assert_close(chances.sum(1), torch.ones(5))
    found = torch.zeros(5, 60, dtype=torch.float64).scatter(1, codes, chances.double())
    torch.testing.assert_close(found, reference(logits, seen, sampling), rtol=1e-5, atol=1e-7)


def test_no_warmth_takes_the_best() -> None:
    logits = noise(3, 5, 60)
    chances, codes = TokenSampling(0.0, 1.0, 0, 1.0)(logits, torch.zeros(5, 60, dtype=torch.bool))
    assert torch.equal(codes[:, 0], logits.argmax(1))
    torch.testing.assert_close(chances[:, 0], torch.ones(5))


def test_codes_are_drawn_with_their_chances() -> None:
    """The first code of 4,000 samples: the share of each against its chance, within five standard deviations."""
    net, sampling, n = decoder(stops=0.0), TokenSampling(top_k=12, top_p=1.0, temperature=0.3), 4000
    _, first = prefill(net, VOICE, TEXT)
    chances, codes = sampling(scores(net, first), torch.zeros(1, STOP + 1, dtype=torch.bool))
    said = drawn(net, list(range(n)), most=8, sampling=sampling).codes[:, 0]
    for chance, code in zip(chances[0].tolist(), codes[0].tolist(), strict=True):
        share = float((said == code).float().mean())
        assert abs(share - chance) < 5 * (chance * (1 - chance) / n) ** 0.5 + 1e-9, code
    assert torch.equal(uniform(keys([5]), 0, 0, 3), uniform(keys([5]), 0, 0, 9)[:, :3])  # more codes change none


def test_a_block_without_room_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    net = decoder()
    wanted, inner, sizes = drawn(net), net.new_cache, []

    def new_cache(batch: int, room: int) -> Tensor:
        sizes.append(batch)
        if batch > limit:
            raise torch.OutOfMemoryError
        return inner(batch, room)

    monkeypatch.setattr(net, "new_cache", new_cache)
    limit = 5
    assert same(drawn(net), wanted)
    assert sizes == [1, 16, 8, 4, 4, 4, 4, 4, 1]
    limit = 0
    net.new_cache = lambda batch, room: inner(batch, room) if room < 40 else new_cache(batch, room)
    with pytest.raises(DifftoolError, match="does not fit") as error:
        drawn(net)
    assert error.value.code == Exit.MEMORY


def test_nan_is_an_error() -> None:
    net = decoder()
    net.code_head.bias[7] = float("nan")
    with pytest.raises(DifftoolError, match="not finite") as error:
        drawn(net)
    assert error.value.code == Exit.FAILED
