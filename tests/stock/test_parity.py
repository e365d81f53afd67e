"""Our networks against tortoise-tts 3.0.0, with the same random weights, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_tortoise import STOCK, checkpoint, network, off
from tiny_tortoise import outputs as our_outputs
from torch import Tensor

from difftool.nets.tortoise.mel import conditioning_mel, diffusion_mel
from difftool.nets.tortoise.official import CHECKPOINTS
from difftool.nets.tortoise.tokenizer import tokenize
from difftool.voice.networks import open_network

pytest.importorskip("tortoise", reason="tortoise-tts is not installed: make test-stock")

from original import original, outputs
from sentences import sentences


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def agree(ours: Iterator[tuple[str, Tensor]], theirs: Iterator[tuple[str, Tensor]]) -> None:
    """A pass of a network to 1e-4, a whole chain to 1e-3."""
    for (stage, found), (same, wanted) in zip(ours, theirs, strict=True):
        assert stage == same
        difference = off(found, wanted)
        print(f"{stage}: {difference:.1e}")
        assert difference < (1e-3 if stage.startswith("chain") else 1e-4), stage


def test_tiny_networks_agree() -> None:
    agree(our_outputs(network), outputs(lambda file: original(file, checkpoint(file), STOCK[file])))


def test_tiny_networks_agree_as_they_run() -> None:
    agree(
        our_outputs(lambda name: network(name, torch.float32)),
        outputs(lambda file: original(file, checkpoint(file), STOCK[file])),
    )


@pytest.mark.slow
def test_networks_of_full_size_agree(tmp_path: Path) -> None:
    """From official files, converted and mapped, as they run."""

    def fast(seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def drawn(file: str) -> dict[str, Tensor]:
        return checkpoint(file, {}, fast)

    for file, row in CHECKPOINTS.items():
        torch.save({row.inside: drawn(file)} if row.inside else drawn(file), tmp_path / file)
    agree(our_outputs(lambda name: open_network(name, tmp_path)), outputs(lambda file: original(file, drawn(file), {})))


def test_mels_agree() -> None:
    from tortoise.models.arch_util import TorchMelSpectrogram
    from tortoise.utils.audio import wav_to_univnet_mel

    torch.manual_seed(0)
    for sound in (torch.randn(2, 30_000) * 0.3, torch.zeros(1, 20_000), torch.sin(torch.arange(132_300) / 20)[None]):
        assert off(conditioning_mel(sound), TorchMelSpectrogram()(sound)) < 1e-5
        assert off(diffusion_mel(sound), wav_to_univnet_mel(sound, device="cpu")) < 1e-4


def test_tokens_are_identical() -> None:
    from tortoise.utils.tokenizer import VoiceBpeTokenizer

    stock = VoiceBpeTokenizer()
    said = sentences(2500)
    assert len(set(said)) > 2000
    for text in said:
        assert tokenize(text) == stock.encode(text), text
