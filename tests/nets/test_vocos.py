"""Vocos: the laws that hold for any weights; what the original makes of the same weights is in test_f5.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_f5 import VOCOS, VOCOS_SIZES, network, weights
from tiny_tortoise import noise, off
from torch import Tensor

from difftool.errors import DifftoolError, Exit
from difftool.nets.official import shapes
from difftool.nets.vocos import official
from difftool.nets.vocos.mel import mel
from difftool.nets.vocos.vocoder import LOUDEST, Vocos

RATE, BIN = 24_000, 40
HERTZ = BIN * RATE / 1024
"""Whose phase is the same at every frame, as a frame is ten of its periods."""


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def sine(amplitude: float, samples: int) -> Tensor:
    """A cosine of HERTZ."""
    return amplitude * torch.cos(2 * math.pi * HERTZ / RATE * torch.arange(samples, dtype=torch.float64)).float()


def saying(magnitudes: dict[int, float], phases: dict[int, float]) -> Vocos:
    """A network that predicts the same spectrum for every frame."""
    net = Vocos(**VOCOS_SIZES).eval()
    net.out.weight.zero_()
    net.out.bias.fill_(0)
    net.out.bias[:513] = -30.0
    for k, magnitude in magnitudes.items():
        net.out.bias[k] = math.log(magnitude)
    for k, phase in phases.items():
        net.out.bias[513 + k] = phase
    return net


class TestVocos:
    @pytest.mark.parametrize("frames", [2, 3, 94])
    def test_sound_has_256_samples_between_frames(self, frames: int) -> None:
        assert network("vocos")(noise(0, 3, 100, frames)).shape == (3, 256 * (frames - 1))

    def test_sounds_of_several_spectrograms_are_those_of_each(self) -> None:
        mels = noise(0, 3, 100, 20) - 4
        together = network("vocos")(mels)
        for k in range(3):
            assert off(network("vocos")(mels[k : k + 1]), together[k : k + 1]) < 1e-6

    def test_the_spectrum_of_a_sine_is_a_sine(self) -> None:
        """The window spreads a sine over three bins."""
        net = saying({BIN: 76.8, BIN - 1: 38.4, BIN + 1: 38.4}, {BIN - 1: math.pi, BIN + 1: math.pi})
        assert torch.allclose(net(torch.zeros(1, 100, 50))[0], sine(0.3, 49 * 256), atol=1e-5)

    def test_magnitudes_are_limited(self) -> None:
        loud, limited = (saying({BIN: m}, {})(torch.zeros(1, 100, 9)) for m in (1e9, LOUDEST))
        assert torch.equal(loud, limited)


class TestMel:
    def test_it_has_a_frame_at_either_end(self) -> None:
        assert mel(torch.zeros(2, 102_400)).shape == (2, 100, 401)
        assert mel(torch.zeros(1024)).unique().item() == pytest.approx(math.log(1e-5))

    def test_a_sine_is_in_the_band_of_its_frequency(self) -> None:
        """The centres of the bands are even in 2595 log10(1 + f / 700)."""
        made = mel(sine(0.3, 20 * 256))[:, 5:-5]
        highest, here = (2595 * math.log10(1 + f / 700) for f in (RATE / 2, HERTZ))
        assert (made.argmax(0) == round(here / highest * 101) - 1).all()

    def test_twice_as_loud_is_a_logarithm_more(self) -> None:
        sound = noise(0, 1, 5_000)
        assert torch.allclose(mel(2 * sound) - mel(sound), torch.full((1, 100, 20), math.log(2)), atol=1e-4)


class TestOfficialFile:
    def test_its_sizes(self) -> None:
        with torch.device("meta"):
            needed = shapes(official.CHECKPOINT, {"vocos": Vocos()})
        assert len(needed) == 83
        constants = 2 * 1024 + 513 * 100
        assert sum(map(math.prod, needed.values())) == 13_531_650 + constants

    def test_it_opens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(official, "CHECKPOINT", VOCOS)
        torch.save(weights(VOCOS), tmp_path / "pytorch_model.bin")
        net, mels = official.load(tmp_path / "pytorch_model.bin"), noise(0, 1, 100, 9)
        assert torch.equal(net(mels), network("vocos")(mels))

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda w: w.pop("head.out.bias"), "lacks head.out.bias"),
            (lambda w: w["head.istft.window"].mul_(0.5), "other values of head.istft.window"),
            (
                lambda w: w["feature_extractor.mel_spec.mel_scale.fb"].mul_(0.5),
                "other values of feature_extractor.mel_spec.mel_scale.fb",
            ),
            (lambda w: w["head.out.bias"].fill_(math.inf), "head.out.bias contains values that are not finite"),
            (lambda w: w.update(epoch=3), "contains epoch, which is not a tensor of weights"),
        ],
    )
    def test_others_are_refused(
        self,
        change: Callable[[dict[str, Tensor]], object],
        says: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(official, "CHECKPOINT", VOCOS)
        made = {name: tensor.clone() for name, tensor in weights(VOCOS).items()}
        change(made)
        torch.save(made, tmp_path / "pytorch_model.bin")
        with pytest.raises(DifftoolError, match=says, check=lambda error: error.code == Exit.FILE):
            official.load(tmp_path / "pytorch_model.bin")
