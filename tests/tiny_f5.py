"""F5-TTS and Vocos with random weights: the same numbers for our networks and for the original's, on any machine."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from tiny_tortoise import finished, integers, noise
from torch import Tensor, nn

from difftool.nets.f5.architecture import V0, V1, Architecture
from difftool.nets.f5.dit import Modulations
from difftool.nets.f5.official import checkpoint_of
from difftool.nets.layers import prepare
from difftool.nets.official import Checkpoint, ours, shapes
from difftool.nets.vocos.mel import mel
from difftool.nets.vocos.official import CHECKPOINT as OFFICIAL_VOCOS
from difftool.nets.vocos.vocoder import Vocos
from difftool.voice.engines.f5 import synthesis
from difftool.voice.engines.f5.files import CHECKPOINT
from difftool.voice.engines.f5.options import Options, choice_of
from difftool.voice.engines.f5.synthesis import Networks, SpeechSettings, Times, spectrograms

TINY = {"dim": 64, "depth": 2, "heads": 2, "text": 32, "text_blocks": 2, "mels": 20}
ARCHITECTURES: dict[str, Architecture] = {"v0": replace(V0, **TINY), "v1": replace(V1, **TINY)}
VOCABULARY = 40
VOCOS_SIZES = {"width": 32, "hidden": 48, "blocks": 2}
VOCOS: Checkpoint = OFFICIAL_VOCOS._replace(parts={"vocos": ("", partial(Vocos, **VOCOS_SIZES))})
TIMES = (0.0, 0.29289, 0.61732, 1.0)


class Item(NamedTuple):
    """What is said: tokens, the mels of a reference, the noisy mels of all frames."""

    tokens: Tensor
    reference: Tensor
    x: Tensor


def item(seed: int, tokens: int, reference: int, frames: int) -> Item:
    mels = TINY["mels"]
    said = integers(seed, 0, VOCABULARY, tokens)
    return Item(said, noise(seed + 1, reference, mels) * 2 - 3, noise(seed + 2, frames, mels))


ITEMS = (item(10, 17, 13, 41), item(20, 30, 20, 57), item(30, 5, 9, 12))


def weights(row: Checkpoint, draw: Callable[..., Tensor] = noise) -> dict[str, Tensor]:
    """What an official file holds, drawn by its names and large enough that every layer shows."""
    constants = row.constants()
    with torch.device("meta"):
        needed = shapes(row, {name: make() for name, (_, make) in row.parts.items()})
    return {name: constants[name] if name in constants else _drawn(name, shape, draw) for name, shape in needed.items()}


def _drawn(name: str, shape: tuple[int, ...], draw: Callable[..., Tensor]) -> Tensor:
    drawn = draw(zlib.crc32(name.encode()), *shape)
    if name.endswith("gamma"):
        return 0.5 + 0.3 * drawn
    if len(shape) > 1:
        return drawn * math.prod(shape[1:]) ** -0.5
    return 0.3 * drawn + name.endswith(".weight")


@cache
def network(name: str, version: str = "", dtype: torch.dtype | None = None) -> Any:
    """One of our networks with those weights, or with a `dtype` as it runs."""
    row = checkpoint_of(ARCHITECTURES[version], VOCABULARY) if version else VOCOS
    prefix, make = row.parts[name]
    net: nn.Module = make().eval().requires_grad_(False)
    own = ours(row, {name: net}, weights(row))
    net.load_state_dict({key: own[prefix + key] for key in net.state_dict()})
    if dtype is not None:
        for layer in net.modules():
            prepare(layer, dtype)
    return net


def passes(
    version: str, items: tuple[Item, ...], modulations: Modulations, *, dropped: bool, dtype: torch.dtype | None = None
) -> list[Tensor]:
    """What the network predicts of items in one batch, each in its own length."""
    text, dit = network("text", version, dtype), network("dit", version, dtype)
    texts = [text(one.tokens, len(one.x), dropped=dropped) for one in items]
    references = [one.reference * (not dropped) for one in items]
    x = nn.utils.rnn.pad_sequence([one.x for one in items], batch_first=True)
    made = dit(x, modulations, dit.condition(references, texts))
    return [row[: len(one.x)] for row, one in zip(made, items, strict=True)]


def outputs(dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
    """What our networks make of fixed input: pairs of a stage and its result."""
    for version in ARCHITECTURES:
        modulations = network("time", version)(torch.tensor(TIMES))
        yield f"{version}_modulations", modulations.blocks
        yield f"{version}_modulation_out", modulations.out
        for name, dropped in (("", False), ("_dropped", True)):
            for k, one in enumerate(ITEMS):
                made = network("text", version, dtype)(one.tokens, len(one.x), dropped=dropped)
                yield f"{version}_text_{k}{name}", made
            for i in range(len(TIMES)):
                batch = passes(version, ITEMS, modulations.at(i), dropped=dropped, dtype=dtype)
                yield from ((f"{version}_pass_{i}_{k}{name}", made) for k, made in enumerate(batch))
    yield "vocos", network("vocos")(noise(40, 2, 100, 23) - 4)
    yield "mel", mel(noise(41, 2, 9_999) * 0.2)


TOKENS = "".join(map(chr, range(32, 127)))
STORED = replace(V1, **TINY | {"mels": 100})
"""The vocabulary and the sizes of `official`."""


def official(store: Path) -> Path:
    """A store with tiny networks of F5-TTS, and a Vocos of full size, called as the official files."""
    place, vocoder = store / "f5" / "F5TTS_v1_Base", store / "vocos"
    place.mkdir(parents=True)
    vocoder.mkdir()
    made = weights(checkpoint_of(STORED, len(TOKENS)))
    (place / "config.json").write_text(json.dumps({"architecture": "v1", **TINY, "mels": 100}))
    (place / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENS))
    save_file({f"ema_model.transformer.{name}": value for name, value in made.items()}, place / Path(CHECKPOINT).name)

    def draw(seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    torch.save(weights(OFFICIAL_VOCOS, draw), vocoder / "pytorch_model.bin")
    return store


CHAINS = {"v1_7": ("v1", 7), "v0_7": ("v0", 7), "v1_16": ("v1", 16), "v0_16": ("v0", 16), "v1_32": ("v1", 32)}
"""Runs of the sampler as f5-tts has it, by version and number of steps."""


def networks(version: str, dtype: torch.dtype | None = None) -> Networks:
    """All of them, as the engine opens them."""
    cpu = torch.device("cpu")
    times = Times(lambda: network("time", version), cpu)
    text, dit = network("text", version, dtype), network("dit", version, dtype)
    return Networks(text, dit, network("vocos"), times, TINY["mels"], cpu)


def said(one: Item, seed: int = 0) -> synthesis.Item:
    """An item as the engine has it."""
    return synthesis.Item(one.tokens, one.reference, len(one.x), seed)


def usual(steps: int, guidance: float = 3.0, **options: Any) -> SpeechSettings:
    """Euler's method on the grid of f5-tts, guided as it is."""
    schedule = {"schedule": "epss"} if steps in (5, 6, 7, 10, 12, 16) else {}
    defaults = {"sampler": "euler", "steps": steps, "sway": -1.0, **schedule}
    own = Options(**defaults | options)
    return SpeechSettings(choice_of(own), guidance, own)


def chains(dtype: torch.dtype | None = None) -> Iterator[tuple[str, Tensor]]:
    """The mel spectrograms of the first item, from the last frame of its reference on."""
    one = ITEMS[0]
    for name, (version, steps) in CHAINS.items():
        work = spectrograms(networks(version, dtype), usual(steps), [said(one)], lambda i, j: one.x[None])
        yield name, finished(work)[0]
