"""Tortoise's networks against what the original made of the same weights, and against plainer code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_tortoise import SIZES, checkpoint, integers, network, networks, noise, off, outputs, thinned
from torch import nn

from difftool.nets.layers import Linear, attention, prepare
from difftool.nets.official import ours, shapes
from difftool.nets.tortoise import layers
from difftool.nets.tortoise.diffusion import DiffusionTts, denormalise, frames
from difftool.nets.tortoise.dvae import DiscreteEncoder, speech_codes
from difftool.nets.tortoise.mel import conditioning_mel, diffusion_mel
from difftool.nets.tortoise.official import CHECKPOINTS
from difftool.nets.tortoise.vocoder import UnivNet, local_convolution

GOLDEN = Path(__file__).parents[1] / "golden" / "tortoise.npz"


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def original() -> dict[str, torch.Tensor]:
    """What tortoise-tts 3.0.0 made, thinned; tests/stock/make_golden.py stored it."""
    return {name: torch.from_numpy(stored) for name, stored in np.load(GOLDEN).items()}


@pytest.mark.parametrize("dtype", [None, torch.float32], ids=["as trained", "as it runs"])
def test_all_stages_are_the_originals(dtype: torch.dtype | None, original: dict[str, torch.Tensor]) -> None:
    made = dict(outputs(lambda name: network(name, dtype)))
    assert {*made, "mel_conditioning", "mel_diffusion"} == {*original}
    for stage, found in made.items():
        assert off(thinned(found), original[stage]) < 1e-5, stage


def test_mels_are_the_originals(original: dict[str, torch.Tensor]) -> None:
    sound = noise(11, 1, 12_000) * 0.2
    assert off(thinned(conditioning_mel(sound)), original["mel_conditioning"]) < 1e-5
    assert off(thinned(diffusion_mel(sound)), original["mel_diffusion"]) < 1e-5


def test_mels_have_the_frames_that_the_networks_expect() -> None:
    assert conditioning_mel(torch.zeros(2, 132_300)).shape == (2, 80, 517)
    assert diffusion_mel(torch.zeros(2, 102_400)).shape == (2, 100, 401)
    assert diffusion_mel(torch.zeros(1, 1024)).unique().item() == pytest.approx(math.log(1e-5))


@pytest.mark.parametrize(
    ("file", "tensors", "numbers"),
    [
        ("autoregressive.pth", 410, 421_526_786),
        ("diffusion_decoder.pth", 359, 292_334_380),
        ("clvp2.pth", 451, 243_846_145 + 32),
        ("vocoder.pth", 132, 14_865_506),
        ("rlg_auto.pth", 12, 6_297_600),
        ("rlg_diffuser.pth", 12, 25_178_112),
        ("dvae.pth", 53, 51_567_184 + 8_396_800),
    ],
)
def test_the_official_sizes_are_the_default(file: str, tensors: int, numbers: int) -> None:
    with torch.device("meta"):
        needed = shapes(CHECKPOINTS[file], networks(file, {}))
    assert len(needed) == tensors
    assert sum(map(math.prod, needed.values())) == numbers


def lively() -> tuple[DiscreteEncoder, dict[str, torch.Tensor]]:
    """A tiny encoder whose codes differ from frame to frame, and the official tensors of it."""
    weights = checkpoint("dvae.pth")
    loud = {name: 3 * w for name, w in weights.items() if name.startswith("encoder") and w.ndim > 1}
    nets = networks("dvae.pth")
    nets["dvae"].load_state_dict(ours(CHECKPOINTS["dvae.pth"], nets, weights | loud))
    encoder = nets["dvae"].eval()
    assert isinstance(encoder, DiscreteEncoder)
    return encoder, weights | loud


RISING = noise(12, 22_050) * torch.linspace(0, 1, 22_050) ** 3
# of RISING, made once by the DiscreteVAE of DL-Art-School with these weights
RISING_CODES = [374, 1580, 427, 5662, 2675, 2675, 2675, 5201, 2675, 2667, 5662, 6562, 2667, 5662, 2363, 4430]
RISING_CODES += [43, 43, 4430, 5491, 5491, 4639]


def test_codes_of_speech_are_the_originals() -> None:
    assert speech_codes(lively()[0], RISING).tolist() == RISING_CODES


def test_codes_follow_the_published_formula() -> None:
    encoder, w = lively()
    h = conditioning_mel(F.pad(RISING, (0, 8192))[None]).double()

    def convolved(x: torch.Tensor, name: str, **kind: int) -> torch.Tensor:
        return F.conv1d(x, w[f"encoder.{name}.weight"].double(), w[f"encoder.{name}.bias"].double(), **kind)

    for name in ("0.0", "1.0"):
        h = convolved(h, name, stride=2, padding=1).relu()
    for block in "234":
        inner = convolved(h, f"{block}.net.0", padding=1).relu()
        inner = convolved(inner, f"{block}.net.2", padding=1).relu()
        h = h + convolved(inner, f"{block}.net.4")
    z = convolved(h, "5")[0].T
    nearest = torch.cdist(z, w["codebook.embed"].double().T).argmin(1)[:22]
    assert speech_codes(encoder, RISING).tolist() == nearest.tolist()


@pytest.mark.parametrize("samples", [1, 1023, 1024, 22_050, 25_600, 40_000])
def test_codes_of_a_clip_do_not_depend_on_what_is_behind_it(samples: int) -> None:
    encoder, _ = lively()
    sound = noise(13, samples) * 0.1
    made = speech_codes(encoder, sound)
    assert len(made) == samples // 1024 + 1
    in_batch = encoder(conditioning_mel(F.pad(sound, (0, 30_000))[None]))[0]
    assert torch.equal(made, in_batch[: len(made)])


def test_the_first_of_two_equal_codes_is_taken() -> None:
    encoder, _ = lively()
    doubled = encoder.codebook.clone()
    doubled[:, 5491], doubled[:, 8000] = doubled[:, 4639], doubled[:, 4639]
    encoder.codebook.copy_(doubled)
    assert speech_codes(encoder, RISING)[-1] == 4639
    encoder.codebook[:, 7] = doubled[:, 4639]
    assert speech_codes(encoder, RISING)[-1] == 7


def test_weight_normalisation_is_folded() -> None:
    row, nets, official = CHECKPOINTS["vocoder.pth"], networks("vocoder.pth"), checkpoint("vocoder.pth")
    for own, theirs, conv in (
        ("conv_pre", "conv_pre", nn.Conv1d(16, 8, 7)),
        ("res_stack.0.convt_pre", "res_stack.0.convt_pre.1", nn.ConvTranspose1d(8, 8, 16)),
    ):
        reference = torch.nn.utils.parametrizations.weight_norm(conv)
        stored = reference.parametrizations.weight
        stored.original0.copy_(official[f"{theirs}.weight_g"])
        stored.original1.copy_(official[f"{theirs}.weight_v"])
        assert off(ours(row, nets, official)[f"{own}.weight"], reference.weight) < 1e-6


def test_a_decoder_with_a_cache_says_the_same() -> None:
    decoder = network("autoregressive")
    text, codes, voice = integers(0, 3, 255, 2, 12), integers(1, 0, 8192, 2, 9), noise(2, 2, 64)
    whole = decoder.latents(voice, text, codes)
    prefix = decoder.prefix(voice, text)
    cache = decoder.new_cache(2, prefix.shape[1] + 9)
    decoder(prefix, cache)
    said = F.pad(codes[:, :-1], (1, 0), value=decoder.start_code)
    for i in range(9):
        hidden = decoder(decoder.embed(said[:, i : i + 1], i), cache, prefix.shape[1] + i)
        assert off(hidden[:, 0], whole[:, i]) < 1e-5


def test_a_latent_knows_nothing_of_later_codes() -> None:
    decoder = network("autoregressive")
    text, codes, voice = integers(0, 3, 255, 1, 12), integers(1, 0, 8192, 1, 9), noise(2, 1, 64)
    other = codes.clone()
    other[:, 4:] = 7
    before, after = decoder.latents(voice, text, codes), decoder.latents(voice, text, other)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_only_the_first_positions_come_several_at_once() -> None:
    decoder = network("autoregressive")
    with pytest.raises(ValueError, match="several positions at once are allowed only at the start"):
        decoder(torch.zeros(1, 2, 64), decoder.new_cache(1, 8), 3)


def test_clvp_takes_one_text_for_all_or_a_text_each() -> None:
    clvp = network("clvp")
    text, codes = integers(0, 3, 255, 1, 12), integers(1, 0, 8192, 4, 30)
    scores = clvp(text, codes)
    assert off(clvp(text.expand(4, -1), codes), scores) < 1e-6
    assert off(clvp(text, codes[2:3]), scores[2:3]) < 1e-5
    assert scores.abs().max() <= clvp.temperature.exp() * 1.00001


def test_frames_belong_to_codes() -> None:
    assert [frames(n) for n in (1, 140, 500)] == [4, 609, 2176]
    assert denormalise(torch.tensor([-1.0, 1.0])).tolist() == pytest.approx([-11.512925148010254, 2.3143386840820312])


def test_diffusion_of_several_sentences_at_once_is_that_of_each() -> None:
    diffusion = network("diffusion", torch.float32)
    latents, voices = noise(0, 2, 17, 64), noise(1, 2, 128)
    x, t = noise(2, 2, 100, 74), torch.tensor([3.0, 3333.0])
    both = diffusion(x, t, diffusion.condition(latents, voices, 74))
    for i in (0, 1):
        alone = slice(i, i + 1)
        condition = diffusion.condition(latents[alone], voices[alone], 74)
        assert off(diffusion(x[alone], t[alone], condition), both[alone]) < 1e-5


def test_a_local_convolution_is_one_for_each_piece() -> None:
    x, kernels, biases = noise(0, 2, 3, 5 * 8), noise(1, 2, 5, 4, 3 * 3), noise(2, 2, 5, 4)
    found = local_convolution(x, kernels, biases)
    padded = F.pad(x, (1, 1))
    for b in range(2):
        for i in range(5):
            kernel = kernels[b, i].view(4, 3, 3)
            piece = F.conv1d(padded[b : b + 1, :, i * 8 : i * 8 + 10], kernel, biases[b, i])
            assert off(found[b : b + 1, :, i], piece) < 1e-6


def test_sound_has_256_samples_a_frame_and_stays_within_bounds() -> None:
    sound = UnivNet(noise=4, channels=4)(noise(0, 2, 100, 7), 100 * noise(1, 2, 4, 17))
    assert sound.shape == (2, 7 * 256)
    assert sound.abs().max() <= 1


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 30, 61])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 3e-6), (torch.bfloat16, 1.5e-2)])
def test_a_packed_convolution_is_a_convolution(length: int, dtype: torch.dtype, bound: float) -> None:
    kernel, bias, x = noise(0, 24, 16, 3), noise(1, 24), noise(2, 3, length, 16)
    wanted = F.conv1d(x.transpose(1, 2), kernel, bias, padding=1).transpose(1, 2)
    conv = layers.Conv3(16, 24)
    conv.load_state_dict({"weight": kernel.transpose(1, 2).flatten(1), "bias": bias})
    assert off(conv(x), wanted) < 1e-6
    prepare(conv, dtype)
    assert off(conv(x).float(), wanted) < bound


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_a_packed_linear_layer_is_a_linear_layer(dtype: torch.dtype, bound: float) -> None:
    x, linear = noise(0, 2, 5, 16), Linear(16, 24).requires_grad_(False)
    wanted = linear(x)
    prepare(linear, dtype)
    assert linear(x).dtype == dtype
    assert off(linear(x).float(), wanted) < bound


@pytest.mark.parametrize("channels", [16, 48, 96, 1024])
def test_group_norm_is_that_of_pytorch(channels: int) -> None:
    norm, x = layers.GroupNorm(channels), noise(0, 2, 9, channels) + 3
    norm.weight.data, norm.bias.data = noise(1, channels), noise(2, channels)
    wanted = F.group_norm(x.transpose(1, 2), norm.groups, norm.weight, norm.bias, norm.eps).transpose(1, 2)
    assert off(norm(x), wanted) < 1e-5
    scale, shift = noise(3, 2, channels), noise(4, 2, channels)
    assert off(norm(x, scale, shift), wanted * (1 + scale[:, None]) + shift[:, None]) < 1e-5


def test_attention_in_half_precision_is_attention() -> None:
    bias = noise(3, 1, 3, 10, 10)
    q, k, v = (noise(i, 2, 3, 10, 8) for i in range(3))
    wanted = torch.softmax(q @ k.transpose(2, 3) / 8**0.5 + bias, -1) @ v
    assert off(attention(q, k, v, bias), wanted) < 1e-6
    half = [part.to(torch.bfloat16) for part in (q, k, v, bias)]
    assert off(attention(*half).float(), wanted) < 2e-2
    last = torch.softmax(q[:, :, -1:] @ k.transpose(2, 3) / 8**0.5, -1) @ v
    assert off(attention(half[0][:, :, -1:], half[1], half[2]).float(), last) < 2e-2


def test_relative_positions_are_bucketed_by_distance() -> None:
    positions = layers.RelativePositions(2, scale=3.0)
    positions.weight.data = torch.arange(32.0)[:, None].repeat(1, 2)
    bias = positions(200)[0, 0].flip(1) / 3  # the last key comes first
    assert [int(bias[50, 50 + d]) for d in (0, -1, -7, -8, 1, 7, 8, 49, 64)] == [0, 1, 7, 8, 17, 23, 24, 30, 31]
    assert int(bias[199, 0]) == 15
    assert torch.equal(bias[10:20, 10:20], bias[:10, :10])


def test_half_precision_stays_near_on_every_stage(original: dict[str, torch.Tensor]) -> None:
    """Tiny networks round more than large ones: what a user hears is measured on those of full size, in bench/."""
    for stage, found in outputs(lambda name: network(name, torch.bfloat16)):
        assert off(thinned(found.float()), original[stage]) < 0.05, stage


def test_diffusion_sees_where_it_is() -> None:
    """Other sizes than the default are arguments, and reach every layer."""
    net = DiffusionTts(**SIZES["diffusion"])
    assert len(net.condition(noise(0, 1, 5, 64), noise(1, 1, 128), 21).biases) == 3 + 2
