"""Needs are counted, not guessed: the count against what a CPU allocates, and the tables against the counting."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pipelines import recent
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from difftool import presets
from difftool.lab import verdicts
from difftool.nets.layers import Linear
from difftool.nets.tortoise.autoregressive import UnifiedVoice
from difftool.nets.tortoise.clvp import CLVP
from difftool.nets.unet import UNet
from difftool.presets import family, needs
from difftool.voice.engines.tortoise.tuning.lora import adapted
from difftool.voice.engines.tortoise.tuning.memory import needed
from difftool.voice.engines.tortoise.tuning.task import CodePredictor

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import counting
from meter import peak_of


def allocated(work: Callable[[], Any], tmp_path: Path) -> int:
    """Bytes that PyTorch's allocator gave out at once, at most, on the CPU."""
    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    profiler.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    live = peak = 0
    for event in sorted((one for one in events if one.get("name") == "[memory]"), key=lambda one: one["ts"]):
        live += event["args"]["Bytes"]
        peak = max(peak, live)
    return peak


def both(
    make: Callable[[], nn.Module], call: Callable[[nn.Module, str], Tensor], tmp_path: Path, *, train: bool
) -> float:
    """The count on the meta device, over what a CPU allocates."""
    found = []
    for device in ("meta", "cpu"):
        with torch.device(device):
            net = make()

        def work(net: nn.Module = net, device: str = device) -> None:
            with torch.set_grad_enabled(train):
                out = call(net, device)
            if train:
                net.zero_grad(set_to_none=True)
                out.square().mean().backward()

        found.append(peak_of(work) if device == "meta" else allocated(work, tmp_path))
    return found[0] / found[1]


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("mults", "side", "attention"), [((1, 2, 2), 32, (2,)), ((1, 2, 2, 4), 64, (3,))])
def test_a_unet(tmp_path: Path, mults: tuple[int, ...], side: int, attention: tuple[int, ...], train: bool) -> None:
    def call(net: nn.Module, device: str) -> Tensor:
        return net(torch.empty(4, 3, side, side, device=device), torch.empty(4, device=device))

    ratio = both(lambda: UNet(3, 32, mults, 1, attention), call, tmp_path, train=train)
    assert 0.9 < ratio < 1.1


BLOCKS = {"block_out_channels": (32, 64), "norm_num_groups": 8}


@pytest.mark.parametrize("train", [False, True])
def test_a_unet_that_reads(tmp_path: Path, train: bool) -> None:
    from diffusers import UNet2DConditionModel

    def call(net: Any, device: str) -> Tensor:
        x, t, words = (torch.zeros(*size, device=device) for size in ((2, 4, 32, 32), (2,), (2, 77, 64)))
        return net(x, t, encoder_hidden_states=words, return_dict=False)[0]

    kinds = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    made = lambda: UNet2DConditionModel(cross_attention_dim=64, attention_head_dim=4, **BLOCKS, **kinds)  # noqa: E731
    assert 0.9 < both(made, call, tmp_path, train=train) < 1.1


def test_an_autoencoder(tmp_path: Path) -> None:
    """In training; without it a CPU's convolutions copy their input, and that is a fifth of all."""
    from diffusers import AutoencoderKL

    def call(net: Any, device: str) -> Tensor:
        return net.decode(torch.empty(1, 4, 32, 32, device=device), return_dict=False)[0]

    ends = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    assert 0.9 < both(lambda: AutoencoderKL(latent_channels=4, **BLOCKS, **ends), call, tmp_path, train=True) < 1.1


def test_a_network_of_tortoise(tmp_path: Path) -> None:
    def call(net: Any, device: str) -> Tensor:
        text, codes = (torch.zeros(*size, dtype=torch.int64, device=device) for size in ((1, 40), (4, 100)))
        return net.score(net.read(text), codes)

    assert 0.9 < both(lambda: CLVP(dim=128, layers=3, heads=4), call, tmp_path, train=False) < 1.1


@pytest.mark.parametrize("name", [name for name in needs("train") if name != "shapes"])
def test_the_table_of_training(name: str) -> None:
    need = needs("train")[name]
    assert counting.training(name) == {"parameters": need.parameters, "picture": need.picture}


def test_the_table_of_shapes() -> None:
    """Whose networks `train` makes, which `lab` does not know: an autoencoder, and a U-Net with what it reads."""
    from difftool.train.text2img.latent import Autoencoder
    from difftool.train.text2img.run import TextToImage

    row, need = family("train")["shapes"], needs("train")["shapes"]
    side = need.shape[1]
    own = {**row["autoencoder"]["net"], "size": side, "channels": 3}
    small = side // 2 ** (len(own["widths"]) - 1)
    reader = {**row["net"], "latent": own["latent"], "size": small}
    with torch.device("meta"):
        nets = [Autoencoder(own), TextToImage(reader, 603, 34, (601, 602))]

    def kept(k: int, count: int) -> int:
        def step() -> None:
            if k:
                tokens = torch.zeros(count, 34, dtype=torch.int64, device="meta")
                out = nets[1](
                    torch.empty(count, own["latent"], small, small, device="meta"),
                    torch.empty(count, device="meta"),
                    tokens,
                )
            else:
                noise = torch.empty(count, own["latent"], small, small, device="meta")
                out = nets[0](torch.empty(count, 3, side, side, device="meta"), noise)[0]
            out.square().mean().backward()

        nets[k].zero_grad(set_to_none=True)
        return peak_of(step)

    assert need.parameters == sum(counting.parameters(net) for net in nets)
    assert need.picture == max(kept(k, 3) - kept(k, 2) for k in (0, 1))


@pytest.mark.skipif(not recent(), reason="counted with the libraries of today; older ones keep other things")
@pytest.mark.parametrize(
    ("name", "kind"),
    {"shapes": "shapes", "sd": "sd1", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux", "schnell": "schnell"}.items(),
)
def test_the_table_of_painting(name: str, kind: str) -> None:
    need = needs("txt2img")[name]
    assert counting.painting(kind) == {"parameters": plain(need.parameters), "live": plain(need.live)}


def test_the_table_of_speaking() -> None:
    need = needs("voice")["tortoise"]
    assert counting.speaking() == {"parameters": plain(need.parameters), "live": plain(need.live)}


def test_the_table_of_the_voice_in_the_package() -> None:
    need = needs("mini")["mini"]
    assert counting.speaking_small() == {"parameters": plain(need.parameters), "live": plain(need.live)}


def test_the_table_of_f5() -> None:
    need = needs("f5")["f5"]
    assert counting.speaking_by_flow() == {"parameters": plain(need.parameters), "live": plain(need.live)}


@pytest.mark.parametrize("name", needs("tuning"))
def test_the_table_of_tuning(name: str) -> None:
    need = needs("tuning")[name]
    counted = {"parameters": need.parameters, "learned": need.learned, "clip": need.clip}
    assert counting.tuning(name) == counted


@pytest.mark.parametrize("size", family("whisper"))
def test_the_table_of_transcribing(size: str) -> None:
    need = needs("whisper")[size]
    assert counting.transcribing(size) == {"parameters": plain(need.parameters), "live": plain(need.live)}


def plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value


def measured(need: Any) -> Any:
    return dataclasses.replace(need, measured=123)


def test_lab_check_believes_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the usual way of a preset in halves, and for no other."""
    counted = verdicts.presets()
    monkeypatch.setattr(presets, "needs", lambda kind: {name: measured(need) for name, need in needs(kind).items()})
    monkeypatch.setattr(verdicts, "needs", presets.needs)
    for one, now in zip(counted, verdicts.presets(), strict=True):
        assert now.variants[0] == one.variants[0]._replace(vram=123)
        assert (now.variants[1:], now.on_cpu) == (one.variants[1:], one.on_cpu)
        assert now.wide == (now.variants if one.wide == one.variants else one.wide)


@pytest.mark.parametrize(("method", "checkpointing"), [("lora", False), ("lora", True), ("full", False)])
def test_the_memory_of_training_tortoise(method: str, checkpointing: bool) -> None:
    """What decides about checkpointing is at least what is counted, and not much more."""
    with torch.device("meta"):
        decoder = UnifiedVoice(layers=8, dim=256, heads=4, codes=300)
        net = CodePredictor(decoder, Linear(256, 256)).requires_grad_(method == "full")
        if method == "lora":
            adapted(decoder, 4)
    net.checkpointing = checkpointing
    text, codes = (torch.empty(n, dtype=torch.int64, device="meta") for n in (60, 200))

    def live(count: int) -> int:
        net.zero_grad(set_to_none=True)
        voices = torch.empty(count, 256, device="meta")
        return peak_of(lambda: sum(net(voices, [text] * count, [codes] * count)).mean().backward())

    counted = live(3) - live(2)
    assert counted <= needed(net, 265, torch.float32) <= 1.4 * counted
