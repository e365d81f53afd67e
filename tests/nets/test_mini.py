"""The networks of the voice in the package: laws that hold for any weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from difftool.nets.mini.aligner import Aligner, speaker_free
from difftool.nets.mini.mel import mel, spectrum
from difftool.nets.mini.speech import CHANNELS, PATCH, Speech, spread_out, tuned
from difftool.nets.mini.vocoder import BINS, HIGHEST, LOWEST, Vocoder, centres, matched, pitch_of, pulses
from difftool.nets.spectrum import HOP, MELS, RATE, filters, sound_of

SMALL = {"text": 32, "voice": 32, "slots": 4, "flow": 32, "hidden": 48, "blocks": 3, "text_blocks": 2}


@pytest.fixture
def speech() -> Speech:
    torch.manual_seed(0)
    net = Speech(**SMALL).eval().requires_grad_(False)
    for layer in (net.flow.modulation, net.flow.leave):  # which begin at 0
        torch.nn.init.normal_(layer.weight, std=0.2)
    return net


class TestMel:
    def test_is_the_one_of_vocos(self) -> None:
        import torchaudio

        sound = torch.from_numpy(np.random.default_rng(0).standard_normal(9_999).astype(np.float32)) / 9
        vocos = torchaudio.transforms.MelSpectrogram(RATE, 1024, hop_length=256, n_mels=100, power=1)
        assert torch.equal(mel(sound), vocos(sound)[:, : 9_999 // HOP].clamp(min=1e-7).log())

    def test_every_bin_but_the_ends_is_in_a_band(self) -> None:
        assert (filters().sum(0)[1:-1] > 0).all()

    def test_a_spectrum_gives_its_sound(self) -> None:
        sound = torch.from_numpy(np.random.default_rng(0).standard_normal(8 * HOP).astype(np.float32))
        back = sound_of(spectrum(sound[None]))[0]
        assert torch.allclose(back[: 6 * HOP], sound[: 6 * HOP], atol=1e-5)


class TestVocoder:
    @pytest.mark.parametrize("hertz", [90.0, 150.0, 310.0])
    def test_pulses_have_their_pitch(self, hertz: float) -> None:
        sound = pulses(torch.full((1, 200), hertz))[0]
        strong = (sound > 0.5).nonzero()[:, 0]
        firsts = strong[strong.diff(prepend=strong[:1] - 9) > 1]
        assert len(firsts) == pytest.approx(hertz * 200 * HOP / RATE, abs=1.5)

    def test_no_pulse_where_there_is_no_pitch(self) -> None:
        sound = pulses(torch.tensor([[0.0, 0.0, 120.0, 120.0, 0.0]]))
        assert not sound[0, : 2 * HOP].any()
        assert sound[0, 2 * HOP : 4 * HOP].any()
        assert not sound[0, 4 * HOP :].any()

    def test_the_pitch_of_scores(self) -> None:
        scores = torch.full((1, BINS + 1, 2), -9.0)
        scores[0, 100, :] = 9.0
        scores[0, BINS, 0] = 1.0
        hertz = pitch_of(scores)
        assert hertz[0, 0] == pytest.approx(float(centres()[100]), rel=1e-4)
        assert hertz[0, 1] == 0
        assert (centres()[0], centres()[-1]) == (pytest.approx(LOWEST), pytest.approx(HIGHEST, rel=1e-5))

    def test_the_sound_has_the_mel_it_was_made_of(self) -> None:
        """Whatever the filters are, `matched` takes away a third of the distance, and more where it is smooth."""
        wanted = mel(pulses(torch.full((1, 60), 140.0)) * 0.3)
        frames = spectrum(torch.from_numpy(np.random.default_rng(1).standard_normal((1, 60 * HOP)).astype(np.float32)))
        frames = frames * 0.02
        before = (mel(sound_of(frames)) - wanted).abs()
        after = (mel(matched(frames, wanted)) - wanted).abs()
        near = before < 1
        assert after[near].mean() < 0.67 * before[near].mean()

    def test_rows_of_a_batch_do_not_matter(self) -> None:
        torch.manual_seed(0)
        net = Vocoder(32, 48, 2).eval().requires_grad_(False)
        mels, noise = torch.randn(3, MELS, 20), torch.rand(3, 20 * HOP)
        pitch = torch.full((3, 20), 120.0)
        together = net(mels, noise, pitch)
        assert together.shape == (3, 20 * HOP)
        for k in range(3):
            assert torch.allclose(together[k], net(mels[k : k + 1], noise[k : k + 1], pitch[:1])[0], atol=1e-5)


class TestSpeech:
    def test_vectors_are_repeated_for_their_frames(self) -> None:
        text = torch.arange(1.0, 7).reshape(1, 3, 2)
        spread = spread_out(text, torch.tensor([[2, 0, 3]]), 6)
        assert spread[0, :, 0].tolist() == [1, 1, 5, 5, 5, 0]
        assert spread_out(text, torch.tensor([[2, 0, 3]]), 4)[0, :, 0].tolist() == [1, 1, 5, 5]

    def test_padding_changes_nothing(self, speech: Speech) -> None:
        """Text, voice and flow of a row are the same beside a longer one."""
        torch.manual_seed(1)
        symbols = torch.randint(1, 55, (1, 9))
        padded = torch.cat([symbols, torch.zeros(1, 5, dtype=torch.long)], 1)
        alone = speech.text(symbols, symbols > 0)
        beside = speech.text(padded, padded > 0)
        assert torch.allclose(alone, beside[:, :9], atol=1e-5)
        reference = torch.randn(1, MELS, 40)
        longer = torch.cat([reference, torch.randn(1, MELS, 20)], -1)
        mask = torch.arange(60)[None] < 40
        voice = speech.voice(reference, torch.ones(1, 40, dtype=torch.bool))
        assert torch.allclose(voice, speech.voice(longer, mask), atol=1e-5)
        x, text = torch.randn(1, CHANNELS, 40), torch.randn(1, 40, SMALL["text"])
        out = speech.flow(x, torch.tensor([0.3]), text, voice, torch.ones(1, 40, dtype=torch.bool))
        wide = torch.cat([x, torch.randn(1, CHANNELS, 20)], -1)
        wide_text = torch.cat([text, torch.randn(1, 20, SMALL["text"])], 1)
        assert torch.allclose(out, speech.flow(wide, torch.tensor([0.3]), wide_text, voice, mask)[..., :40], atol=1e-4)

    def test_what_the_flow_is_told_matters(self, speech: Speech) -> None:
        torch.manual_seed(2)
        x, text, voice = torch.randn(1, CHANNELS, 8), torch.randn(1, 8, 32), torch.randn(1, 4, 32)
        mask, level = torch.ones(1, 8, dtype=torch.bool), torch.tensor([0.5])
        out = speech.flow(x, level, text, voice, mask)
        assert out.shape == x.shape
        for others in ((level, -text, voice), (level, text, -voice), (level / 2, text, voice)):
            when, what, who = others
            assert (speech.flow(x, when, what, who, mask) - out).abs().max() > 1e-3

    def test_a_voice_has_the_pitch_it_is_told(self, speech: Speech) -> None:
        """Those of 100 and 105 Hz differ; of an unknown pitch nothing is added."""
        low, higher, unknown = speech.voice.height(torch.tensor([100.0, 105, 0]))
        assert low.shape == (1, SMALL["voice"])
        assert (low - higher).abs().max() > 1e-2
        assert unknown.abs().max() == 0

    def test_a_pitch_has_about_unit_variance(self) -> None:
        """From a deep voice to a high one."""
        assert tuned(torch.tensor([82.0, 164.0, 330.0])).tolist() == pytest.approx([-1.98, 0.0, 2.0], abs=0.02)

    def test_sizes(self) -> None:
        assert sum(p.numel() for p in Speech().parameters()) * 2 < 12.5e6  # bytes in half precision
        assert sum(p.numel() for p in Vocoder().parameters()) * 2 < 5.3e6
        assert PATCH == 2
        assert math.isclose(RATE / HOP, 93.75)


class TestAligner:
    def test_colour_and_level_of_a_recording_do_not_matter(self) -> None:
        torch.manual_seed(0)
        mels, mask = torch.randn(1, MELS, 30), torch.arange(30)[None] < 25
        tilted = mels + torch.linspace(-2, 3, MELS)[:, None]
        assert torch.allclose(speaker_free(mels, mask), speaker_free(tilted, mask), atol=1e-5)
        net = Aligner().eval().requires_grad_(False)
        assert torch.allclose(net(mels, mask)[:, :25], net(tilted, mask)[:, :25], atol=1e-4)
        assert torch.allclose(net(mels, mask).exp().sum(-1), torch.ones(1, 30), atol=1e-5)
