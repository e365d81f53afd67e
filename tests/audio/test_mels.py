"""The formats of spectrograms, against their originals and by their own laws."""

from __future__ import annotations

import math

import pytest
import torch

from difftool.audio.mels import FORMATS, Sound
from difftool.errors import DifftoolError
from difftool.models import Model, open_model, save_model
from difftool.nets.mini.mel import mel as mini_mel
from difftool.nets.tortoise.diffusion import denormalise
from difftool.nets.tortoise.mel import diffusion_mel
from difftool.nets.unet import UNet


def chord(rate: int, seconds: float = 0.7) -> torch.Tensor:
    t = torch.arange(int(rate * seconds)) / rate
    parts = [torch.sin(2 * math.pi * hertz * t) * (-t * 4).exp() for hertz in (220, 555, 1330, 5000)]
    return torch.stack(parts).sum(0) / 5 + 0.001 * torch.randn(len(t), generator=torch.Generator().manual_seed(1))


def test_mel24_is_what_the_diffusion_of_tortoise_generates() -> None:
    sound = chord(24_000)
    ours, theirs = FORMATS["mel24"].encode(sound), diffusion_mel(sound[None])[0]
    assert ours.shape == theirs.shape
    torch.testing.assert_close(denormalise(ours), theirs, atol=2e-4, rtol=0)


def test_vocos24_is_what_the_voice_in_the_package_generates() -> None:
    sound = chord(24_000)
    ours, theirs = FORMATS["vocos24"].logarithms(sound), mini_mel(sound)
    torch.testing.assert_close(ours[..., : theirs.shape[-1]], theirs, atol=2e-4, rtol=0)


def test_the_format_of_audio_diffusion_against_its_formula() -> None:
    """Bytes as the original computes them: a power spectrogram, decibels below its maximum, cut at 80."""
    own = FORMATS["audio_diffusion"]
    sound = Sound(own, 64)
    samples = chord(22_050, 2)[: sound.samples]
    window = torch.hann_window(2048, dtype=torch.float64)
    spectrum = torch.stft(samples.double(), 2048, 512, window=window, pad_mode="constant", return_complex=True)
    bands = own.filters(samples).double() @ spectrum.abs() ** 2
    decibels = 10 * bands.clamp(min=1e-10).log10()
    decibels = (decibels - decibels.max()).clamp(min=-80)
    expected = (((decibels + 80) * 255 / 80).clamp(0, 255) + 0.5).byte()
    drawn = ((own.encode(samples) + 1) * 127.5).round().byte()
    assert drawn.shape == (256, 64)
    off = (drawn.int() - expected.int()).abs()
    assert off.max() <= 1 and (off > 0).sum() <= 4


@pytest.mark.parametrize("name", FORMATS)
def test_scale_and_inverse(name: str) -> None:
    own = FORMATS[name]
    logs = own.logarithms(chord(own.rate))
    back = own.bands(own.scaled(logs)).log()
    reference = logs - logs.max() if own.relative else logs
    torch.testing.assert_close(back, reference.clamp(min=own.span[0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", [name for name, own in FORMATS.items() if not own.relative])
def test_silence_is_minus_one_and_full_scale_just_below_one(name: str) -> None:
    own = FORMATS[name]
    assert own.encode(torch.zeros(own.rate)).eq(-1).all()
    t = torch.arange(own.rate) / own.rate
    square = torch.sin(2 * math.pi * 220 * t).sign()
    inner = own.encode(square)[:, 10:-10]  # reflection at the ends makes them louder
    assert 0.8 < inner.max() < 1


@pytest.mark.parametrize("name", [name for name, own in FORMATS.items() if not own.relative])
def test_a_louder_sound_is_a_shift(name: str) -> None:
    own = FORMATS[name]
    sound = 0.1 * chord(own.rate)
    louder = own.encode(sound * 10 ** (3 / 20))
    loud = own.encode(sound) > -0.9
    torch.testing.assert_close(louder[loud], (own.encode(sound) + own.shift(3))[loud], atol=1e-4, rtol=0)


def test_a_sound_shorter_than_half_a_window() -> None:
    mel = FORMATS["mel24"].encode(torch.full((300,), 0.5))
    assert mel.shape == (100, 2) and mel.max() > 0


def test_lengths() -> None:
    sound = Sound(FORMATS["mel24"], 128)
    assert sound.seconds == pytest.approx(1.3653, abs=1e-4)
    assert FORMATS["mel24"].encode(torch.zeros(sound.samples)).shape == (100, 128)
    assert FORMATS["mel24"].encode(torch.zeros(sound.samples + 1)).shape == (100, 129)


def test_a_vocoder_decodes_its_own_format_only() -> None:
    FORMATS["mel24"].check_vocoder("univnet")
    FORMATS["vocos24"].check_vocoder("vocos")
    for name, vocoder in (("mel24", "vocos"), ("vocos24", "univnet"), ("mel44", "vocos"), ("mel16", "univnet")):
        with pytest.raises(DifftoolError, match="cannot decode") as error:
            FORMATS[name].check_vocoder(vocoder)
        assert error.value.code == 2


def saved(folder, sound: object, size: tuple[int, int] = (100, 16)) -> Model:
    net = {"type": "unet", "channels": 1, "width": 8, "mults": [1, 2]}
    weights = UNet(1, 8, [1, 2]).state_dict()
    path = {"type": "flow", "shift": 1.0, "clock": 1000}
    config = {"net": net, "path": path, "target": "flow", "size": list(size), "classes": []}
    folder.mkdir(exist_ok=True)
    save_model(folder, config if sound is None else {**config, "sound": sound}, weights)
    return open_model(folder)


def test_a_model_knows_its_sound_format(tmp_path) -> None:
    model = saved(tmp_path / "m", {"format": "mel24", "frames": 16})
    assert model.sound is not None and model.sound.format.name == "mel24" and model.sound.frames == 16
    assert saved(tmp_path / "p", None).sound is None


@pytest.mark.parametrize(
    ("sound", "says"),
    [
        ({"format": "mel25", "frames": 16}, "unknown sound format 'mel25'"),
        ({"format": "mel16", "frames": 16}, "is not that of 16 frames"),
        ({"format": "mel24", "frames": 15}, "is not that of 15 frames"),
        ({"format": ["mel24"], "frames": 16}, "is invalid"),
        ({"frames": 16}, "lacks 'format'"),
        ("mel24", "is invalid"),
    ],
)
def test_a_model_with_a_wrong_sound_format(tmp_path, sound: object, says: str) -> None:
    with pytest.raises(DifftoolError, match=says) as error:
        saved(tmp_path / "m", sound)
    assert error.value.code == 4
