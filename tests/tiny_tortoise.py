"""Tortoise with random weights: the same numbers for our networks and for the original's, on any machine.

Weights are drawn by the name that the official checkpoint has for them, so that nothing but names has to agree.
"""

from __future__ import annotations

import json
import math
import random
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from difftool.core import EPS, START, DiscreteVP, Noise, betas, cfg, clip, denoiser, first_order, grid
from difftool.core.noise import keys, normal
from difftool.nets.layers import Linear, prepare
from difftool.nets.official import ours, shapes
from difftool.nets.small_batch import quantisable
from difftool.nets.tortoise.diffusion import Condition, frames
from difftool.nets.tortoise.official import CHECKPOINTS

T = TypeVar("T")
NEEDS_KERNEL = pytest.mark.skipif(not quantisable(), reason="PyTorch has no kernel for 8-bit weights on this CPU")
SIZES: dict[str, dict[str, Any]] = {
    "autoregressive": {"layers": 2, "dim": 64, "heads": 4, "text_positions": 104, "code_positions": 68},
    "conditioning_encoder": {"dim": 64, "heads": 4},
    "diffusion": {"layers": 2, "dim": 64, "heads": 4, "latent_dim": 64},
    "contextual_embedder": {"dim": 64, "heads": 4},
    "clvp": {"layers": 2, "dim": 64, "heads": 2},
    "vocoder": {"channels": 8, "noise": 16},
    "random_autoregressive": {"dim": 64},
    "random_diffusion": {"dim": 128},
    "dvae": {"dim": 16, "hidden": 16},
}
"""The config.json of a folder of tiny networks."""
STOCK: dict[str, dict[str, Any]] = {
    "autoregressive.pth": {
        "max_mel_tokens": 64,
        "max_text_tokens": 102,
        "layers": 2,
        "model_dim": 64,
        "heads": 4,
    },
    "diffusion_decoder.pth": {"model_channels": 64, "num_layers": 2, "in_latent_channels": 64, "num_heads": 4},
    "clvp2.pth": {
        **dict.fromkeys(("dim_text", "dim_speech", "dim_latent"), 64),
        **dict.fromkeys(("text_enc_depth", "speech_enc_depth", "text_heads", "speech_heads"), 2),
    },
    "vocoder.pth": {"channel_size": 8, "noise_dim": 16},
    "rlg_auto.pth": {"channels": 64},
    "rlg_diffuser.pth": {"channels": 128},
}
"""The same sizes as the original's classes take them."""


def networks(file: str, sizes: dict[str, dict[str, Any]] = SIZES) -> dict[str, nn.Module]:
    """Our networks in an official file, of some sizes, empty."""
    return {name: net(**sizes.get(name, {})) for name, (_, net) in CHECKPOINTS[file].parts.items()}


def noise(seed: int, *shape: int) -> Tensor:
    return normal(keys([seed]), 0, 0, shape)[0]


def weight(name: str, shape: tuple[int, ...], draw: Callable[..., Tensor] = noise) -> Tensor:
    """A tensor of an official checkpoint, about as large as in a network before its training."""
    if name.endswith("inv_freq"):
        return 10_000.0 ** -(torch.arange(shape[0]) / shape[0])
    drawn = draw(zlib.crc32(name.encode()), *shape)
    if name.endswith("weight_g"):
        return 0.5 + 0.05 * drawn
    if re.search(r"emb(edding)?\.weight$", name):
        return 0.5 * drawn
    if len(shape) > 1:
        return drawn * (3 * math.prod(shape[1:])) ** -0.5
    return 0.1 * drawn + name.endswith((".weight", ".g"))


def checkpoint(
    file: str, sizes: dict[str, dict[str, Any]] = SIZES, draw: Callable[..., Tensor] = noise
) -> dict[str, Tensor]:
    """What an official file of these sizes holds."""
    with torch.device("meta"):
        needed = shapes(CHECKPOINTS[file], networks(file, sizes))
    return {name: weight(name, shape, draw) for name, shape in needed.items()}


def talkative(file: str) -> dict[str, Tensor]:
    """The same, of a decoder that stops after some twenty codes and never starts again."""
    weights = checkpoint(file)
    if file == "autoregressive.pth":
        weights["mel_head.bias"][8192:] += torch.tensor([-9.0, 3.2])
    return weights


def official(folder: Path, weights: Callable[[str], dict[str, Tensor]] = talkative) -> Path:
    """A folder of official files of tiny networks, as a user has them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SIZES))
    for file, row in CHECKPOINTS.items():
        torch.save(
            {row.inside: weights(file), "optimizer": {"step": 3}} if row.inside else weights(file), folder / file
        )
    return folder


def finished(steps: Generator[None, None, T]) -> T:
    """The result of work that yields at every step."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value


def network(name: str, dtype: torch.dtype | None = None) -> Any:
    """One of our networks with those weights, as training would have left it, or with a `dtype` as it runs."""
    file, row = next((file, row) for file, row in CHECKPOINTS.items() if name in row.parts)
    nets = networks(file)
    own, prefix = ours(row, nets, checkpoint(file)), row.parts[name][0]
    net = nets[name].eval().requires_grad_(False)
    net.load_state_dict({key: own[prefix + key] for key in net.state_dict()})
    if dtype is not None:
        for layer in net.modules():
            prepare(layer, dtype)
    return net


def integers(seed: int, low: int, high: int, *shape: int) -> Tensor:
    """Whole numbers from low to high - 1."""
    drawn = random.Random(seed)
    return torch.tensor([drawn.randrange(low, high) for _ in range(math.prod(shape))]).view(shape)


def text_head() -> Linear:
    """The head of the decoder for text, with those weights."""
    head, weights = Linear(64, 256), checkpoint("autoregressive.pth")
    head.load_state_dict({key: weights[f"text_head.{key}"] for key in ("weight", "bias")})
    return head.requires_grad_(False)


def learned_row() -> tuple[Tensor, Tensor, Tensor]:
    """The voice (1, dim), the text (1, N) and the codes (1, M) of a clip whose losses are stored."""
    return noise(2, 1, 64), integers(3, 3, 255, 1, 12), integers(4, 0, 8192, 1, 20)


CODES, TOKENS = 24, 20
"""Of the sentence that `outputs` speaks."""


def outputs(net: Callable[[str], Any], steps: tuple[int, ...] = (30, 80)) -> Iterator[tuple[str, Tensor]]:
    """What each of our networks, by name, makes of fixed input: pairs of a stage and its result."""
    encoder, embedder = net("conditioning_encoder"), net("contextual_embedder")
    yield "conditioning_autoregressive", (voice := encoder(noise(1, 2, 80, 50)))
    yield "conditioning_diffusion", (tone := embedder(noise(2, 2, 100, 61)))
    text, codes = integers(3, 3, 255, 1, TOKENS), integers(4, 0, 8192, 1, CODES)
    decoder = net("autoregressive")
    yield "latents", (latents := decoder.latents(voice, text, codes))
    yield "logits", decoder.logits(latents)
    del decoder
    yield "clvp", net("clvp")(text, integers(5, 0, 8192, 3, 50))
    diffusion = net("diffusion")
    x, t, length = noise(6, 1, 100, frames(CODES)), torch.tensor([777.0]), frames(CODES)
    condition, nothing = diffusion.condition(latents, tone, length), diffusion.unconditional(1, length)
    yield "diffusion", diffusion(x, t, condition)
    yield "diffusion_unconditional", diffusion(x, t, nothing)
    for n in steps:
        yield f"chain_{n}", chain(diffusion, condition, nothing if n > 30 else None, n)
    del diffusion
    vocoder = net("vocoder")
    yield "vocoder", vocoder(noise(8, 1, 100, 30) - 5, noise(9, 1, vocoder.noise, 40))
    for name in ("random_autoregressive", "random_diffusion"):
        yield name, (random := net(name))(noise(10, 1, random.layers[0].in_features))


def chain(diffusion: nn.Module, condition: Condition, nothing: Condition | None, n: int) -> Tensor:
    """The whole diffusion in n steps, through the engine, guided where there is `nothing` to be guided away from."""
    path = DiscreteVP(betas("linear", 4000, 2.5e-5, 5e-3))
    levels = grid(path, n, "openai")
    place = {level.t: i for i, level in enumerate(reversed(levels[:-1]))}
    predict, away = (
        denoiser(diffusion, EPS, learned_range=True, cond={"condition": given}) for given in (condition, nothing)
    )
    if nothing is not None:
        predict = cfg(predict, away, lambda level: 1 + 2 * (1 - place[level.t] / n))
    draw = Noise([7], (100, condition.codes.shape[1]))
    states = first_order(clip(predict), draw(START), levels, eta=1.0, variance="learned", noise=draw)
    return list(states)[-1].x


def off(found: Tensor, wanted: Tensor) -> float:
    """L2 of the difference over L2 of what was wanted."""
    assert found.shape == wanted.shape
    return float((found - wanted).norm() / wanted.norm())


def thinned(found: Tensor, most: int = 4000) -> Tensor:
    """Every k-th number, so that a stored result stays small."""
    return found.flatten()[:: -(-found.numel() // most)]
