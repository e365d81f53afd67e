from __future__ import annotations

import pytest
import torch
import torchaudio
from torch import Tensor

from difftool.audio.inversion import griffin_lim, inverted, unmixed
from difftool.audio.mels import FORMATS

RATE, WINDOW, HOP = 24_000, 1024, 256


def filters(rate: int, window: int, mels: int) -> Tensor:
    bank = torchaudio.functional.melscale_fbanks(
        window // 2 + 1, 0.0, rate / 2, mels, rate, norm="slaney", mel_scale="slaney"
    )
    return bank.T.contiguous()


def spectrum(sound: Tensor, window: int = WINDOW, hop: int = HOP) -> Tensor:
    return torch.stft(sound, window, hop, window=torch.hann_window(window), return_complex=True).abs()


def chords(rate: int, seconds: float = 1.2) -> Tensor:
    """Decaying chords with clicks, (1, S)."""
    t = torch.arange(round(seconds * rate)) / rate
    beat = t % 0.4
    notes = sum(torch.sin(2 * torch.pi * f * t) / f**0.5 for f in (220.0, 277.2, 329.6, 440.0, 659.3, 1318.5))
    sound = notes * torch.exp(-6 * beat) + 0.3 * torch.randn(len(t), generator=torch.Generator().manual_seed(0)) * (
        beat < 0.004
    )
    return (0.5 * sound / sound.abs().max())[None]


def distance(sound: Tensor, other: Tensor, rate: int) -> float:
    """Mean distance in dB of the log mels of two sounds."""
    bank = filters(rate, 1024, 80)
    length = min(sound.shape[-1], other.shape[-1])
    a, b = (20 * (bank @ spectrum(x[..., :length], 1024, 256)).clamp(min=1e-5).log10() for x in (sound, other))
    return float((a - b).abs().mean())


def convergence(sound: Tensor, magnitudes: Tensor, window: int, hop: int) -> float:
    return float((spectrum(sound, window, hop) - magnitudes).norm() / magnitudes.norm())


@pytest.mark.parametrize(
    ("rate", "window", "hop", "mels", "power"),
    [(24_000, 1024, 256, 100, 1), (16_000, 1024, 256, 80, 1), (22_050, 2048, 512, 256, 2)],
)
def test_least_squares_and_momentum_beat_the_pseudo_inverse_with_plain_griffin_lim(rate, window, hop, mels, power):
    """As in Perraudin et al. 2013, at equal iterations, in the distance of mels and of all bins."""
    sound = chords(rate)
    bank, magnitudes = filters(rate, window, mels), spectrum(sound, window, hop)
    bands = bank @ magnitudes**power
    inverse = (torch.linalg.pinv(bank) @ bands).clamp(min=0) ** (1 / power)
    plain = griffin_lim(inverse, hop, [0], iterations=32, momentum=0)
    ours = griffin_lim(unmixed(bands, bank) ** (1 / power), hop, [0], iterations=32)
    assert distance(ours, sound, rate) < 0.97 * distance(plain, sound, rate)
    assert convergence(ours, magnitudes, window, hop) < 0.95 * convergence(plain, magnitudes, window, hop)


@pytest.mark.parametrize("form", ["mel24", "vocos24", "mel16", "audio_diffusion"])
def test_correction_brings_bands_closer(form: str) -> None:
    """Whatever the format, and hardly moves the bins within them; the sound is that of the seed."""
    own = FORMATS[form]
    sound = chords(own.rate)
    bands = own.logarithms(sound).exp()
    plain = griffin_lim(unmixed(bands, own.filters(sound)) ** (1 / own.power), own.hop, [3], padding=own.padding)
    ours = inverted(own, bands, [3])
    assert ours.shape == plain.shape == (1, (bands.shape[-1] - 1) * own.hop)
    assert distance(ours, sound, own.rate) < 0.97 * distance(plain, sound, own.rate)
    magnitudes = spectrum(sound, own.window, own.hop)
    apart = [convergence(x, magnitudes, own.window, own.hop) for x in (ours, plain)]
    assert apart[0] < 1.06 * apart[1]
    assert torch.equal(ours, inverted(own, bands, [3]))


def test_silence_stays_silent() -> None:
    for form in ("mel24", "vocos24", "mel16"):
        own = FORMATS[form]
        assert not inverted(own, own.bands(own.encode(torch.zeros(1, 8000))), [0]).any()


def test_bins_that_no_band_holds_are_silent_and_all_others_not_negative() -> None:
    bank = filters(RATE, WINDOW, 100)
    bins = unmixed(bank @ spectrum(chords(RATE)), bank)
    assert bins.min() >= 0
    assert not bins[:, bank.sum(0) == 0].any()
    bands = bank @ spectrum(chords(RATE))
    assert (bank @ bins - bands).norm() / bands.norm() < 0.02
    assert torch.equal(unmixed(torch.zeros(1, 100, 3), bank), torch.zeros(1, 513, 3))


def test_momentum_is_worth_ten_times_the_iterations() -> None:
    magnitudes = spectrum(chords(RATE, 0.6))
    plain = griffin_lim(magnitudes, HOP, [0], iterations=320, momentum=0)
    fast = griffin_lim(magnitudes, HOP, [0], iterations=32)
    assert fast.shape == (1, (magnitudes.shape[-1] - 1) * HOP)
    assert convergence(fast, magnitudes, WINDOW, HOP) < convergence(plain, magnitudes, WINDOW, HOP)


def test_the_phases_hang_on_the_seed_alone() -> None:
    """The same bytes again, in any batch, whatever the global generator is; another seed is another sound."""
    magnitudes = spectrum(chords(RATE, 0.4))
    first = griffin_lim(magnitudes, HOP, [7], iterations=3)
    torch.manual_seed(5)
    both = griffin_lim(magnitudes.expand(2, -1, -1), HOP, [8, 7], iterations=3)
    assert torch.equal(griffin_lim(magnitudes, HOP, [7], iterations=3), first)
    assert torch.equal(both[1:], first)
    assert not torch.allclose(both[:1], first, atol=1e-2)
