"""Speech by F5-TTS with tiny networks: the chains of f5-tts, and the laws that hold for any weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_f5 import ITEMS, TINY, chains, item, networks, said, usual
from tiny_tortoise import finished, noise, off, thinned
from torch import Tensor

from difftool.core.noise import START, Noise
from difftool.voice.engines.f5 import synthesis
from difftool.voice.engines.f5.compat import cross_faded, package_noise
from difftool.voice.engines.f5.synthesis import Networks, SpeechSettings, item_of, sound_of, spectrograms

GOLDEN = Path(__file__).parents[3] / "golden" / "f5_chains.npz"


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def made(nets: Networks, settings: SpeechSettings, items: list[synthesis.Item]) -> list[Tensor]:
    return finished(spectrograms(nets, settings, items))


class TestOriginal:
    def test_chains_are_the_originals(self) -> None:
        """Of f5-tts 1.1.22, with 7, 16 and 32 steps; tests/stock/make_f5_golden.py stored them."""
        stored, found = np.load(GOLDEN), dict(chains(torch.float32))
        assert {*found} == {*stored}
        for name, mel in found.items():
            assert off(thinned(mel, 500), torch.from_numpy(stored[name])) < 1e-5, name

    def test_half_precision_stays_near(self) -> None:
        stored = np.load(GOLDEN)
        for name, mel in chains(torch.bfloat16):
            assert off(thinned(mel, 500), torch.from_numpy(stored[name])) < 0.03, name

    def test_the_noise_of_the_package(self) -> None:
        """Each item begins with that of its seed, whatever else is in the batch."""
        items = [said(ITEMS[0], 3), said(ITEMS[1], 3), said(ITEMS[2], 2**63 + 5)]
        start = package_noise(items, networks("v1"))(0, 0)
        for row, one in zip(start, items, strict=True):
            torch.manual_seed(one.seed)
            assert torch.equal(row[: one.frames], torch.randn(one.frames, TINY["mels"]))

    def test_chunks_are_faded_into_each_other(self) -> None:
        long, short = torch.ones(10_000), torch.zeros(1000)
        assert len(cross_faded([long, -long])) == 20_000 - 3600
        joined = cross_faded([long, -long])[6400:10_000]
        assert torch.allclose(joined, torch.linspace(1, -1, 3600), atol=1e-6)
        assert len(cross_faded([short, long, short])) == 10_000
        assert torch.equal(cross_faded([long]), long)


class TestBatch:
    @pytest.mark.parametrize("version", ["v0", "v1"])
    def test_parts_of_any_lengths_do_not_depend_on_their_batch(self, version: str) -> None:
        items = [item(100 + 3 * k, 4 + k, 6 + k, 20 + 3 * (k * 7 % 16)) for k in range(16)]
        parts, nets, settings = [said(one, k) for k, one in enumerate(items)], networks(version), usual(5)
        alone = [made(nets, settings, [part])[0] for part in parts]
        for count in (4, 16):
            batches = [parts[k : k + count] for k in range(0, 16, count)]
            together = [mel for batch in batches for mel in made(nets, settings, batch)]
            for found, wanted in zip(together, alone, strict=True):
                assert off(found, wanted) < 1e-5

    def test_noise_has_an_address(self) -> None:
        """The first frames of a longer item begin with the same noise, also that which is added on the way."""
        longer, shorter = Noise([5], (60, 20)), Noise([5], (41, 20))
        for i in (START, 3):
            assert torch.equal(longer(i)[:, :41], shorter(i))
        nets, settings = networks("v1"), usual(5, sampler="euler_a")
        parts = [said(ITEMS[0], 1), said(ITEMS[1], 2)]
        for found, part in zip(made(nets, settings, parts), parts, strict=True):
            assert off(found, made(nets, settings, [part])[0]) < 1e-5

    def test_other_guidance_needs_equal_lengths(self) -> None:
        nets, settings = networks("v1"), usual(5, guidance_mode="apg")
        with pytest.raises(ValueError, match="items of any lengths"):
            made(nets, settings, [said(ITEMS[0]), said(ITEMS[1])])
        one, two = made(nets, settings, [said(ITEMS[0], 1), said(ITEMS[0], 2)])
        assert off(one, made(nets, settings, [said(ITEMS[0], 1)])[0]) < 1e-5
        assert not torch.allclose(one, two)


class TestGuidance:
    def test_the_scale_may_be_a_function(self) -> None:
        nets = networks("v1")
        usually = made(nets, usual(7), [said(ITEMS[0])])[0]
        assert off(made(nets, usual(7)._replace(guidance=lambda level: 3.0), [said(ITEMS[0])])[0], usually) < 1e-6
        falling = usual(7)._replace(guidance=lambda level: 1 + 2 * level.sigma)
        assert off(made(nets, falling, [said(ITEMS[0])])[0], usually) > 1e-3

    def test_an_interval_saves_calls_and_changes_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nets, rows = networks("v1"), []
        whole = made(nets, usual(7), [said(ITEMS[0])])[0]
        assert off(made(nets, usual(7, guidance_interval=(0.0, 1.0)), [said(ITEMS[0])])[0], whole) < 1e-5
        forward = type(nets.dit).forward
        monkeypatch.setattr(type(nets.dit), "forward", lambda self, x, *a: rows.append(len(x)) or forward(self, x, *a))
        made(nets, usual(7, guidance_interval=(0.9, 1.0)), [said(ITEMS[0])])
        assert rows == [1] * (7 + 5)
        rows.clear()
        made(nets, usual(7, 1.0), [said(ITEMS[0])])
        assert rows == [1] * 7
        rows.clear()
        made(nets, usual(7), [said(ITEMS[0])])
        assert rows == [2] * 7

    @pytest.mark.parametrize("sampler", ["heun", "dpm2", "dpmpp_2m", "unipc", "euler_cfg_pp", "res_2s", "seeds_3"])
    def test_other_samplers_and_their_times_in_between(self, sampler: str) -> None:
        nets = networks("v1")
        found = made(nets, usual(5, sampler=sampler), [said(ITEMS[0])])[0]
        assert found.shape == (29, TINY["mels"])
        assert found.isfinite().all()

    def test_modulations_are_computed_once(self) -> None:
        opened = []
        nets = networks("v1")
        nets = nets._replace(times=synthesis.Times(lambda: opened.append(1) or networks_time(), nets.device))
        for _ in range(2):
            made(nets, usual(5, sampler="heun"), [said(ITEMS[0])])
        assert len(opened) == 1
        assert torch.equal(nets.times.at(0.123).out, networks_time()(torch.tensor([0.123])).out)
        assert len(opened) == 2


def networks_time() -> torch.nn.Module:
    from tiny_f5 import network

    return network("time", "v1")


class TestItems:
    def test_frames(self) -> None:
        nets = networks("v1")
        reference = noise(1, 14, TINY["mels"])
        assert item_of(nets, [1] * 9, reference, 30, 0).frames == 13 + 30
        assert item_of(nets, [1] * 99, reference, 30, 0).frames == 100
        assert item_of(nets, [1] * 9, reference, 0, 0).frames == 15
        assert item_of(nets, [1] * 9, reference, 10**6, 0).frames == 65_536
        assert item_of(nets, [1] * 9, reference[:0], 30, 0).frames == 30

    def test_what_is_heard_begins_with_the_last_frame_of_the_reference(self) -> None:
        (mel,) = made(networks("v1"), usual(5), [said(ITEMS[0])])
        assert len(mel) == 41 - 13 + 1
        assert torch.equal(mel[0], ITEMS[0].reference[-1])
        alone = said(ITEMS[0])._replace(reference=ITEMS[0].reference[:0])
        assert len(made(networks("v1"), usual(5), [alone])[0]) == 41

    def test_sound(self) -> None:
        nets, mel = networks("v1"), noise(40, 9, 100) - 4
        sound = sound_of(nets, mel, 1.0)
        assert sound.shape == (8 * 256,)
        assert torch.allclose(sound_of(nets, mel, 2.0), sound / 2)
        assert sound_of(nets, mel[:2], 1.0).isfinite().all()
        assert sound_of(nets, mel, 1e-3).abs().max() == 1
