"""The networks of F5-TTS against what f5-tts made of the same weights, and the laws that hold for any weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_f5 import ARCHITECTURES, ITEMS, TIMES, VOCABULARY, item, network, outputs, passes, weights
from tiny_tortoise import integers, noise, off, thinned
from torch import Tensor

from difftool.errors import DifftoolError, Exit
from difftool.nets.f5.architecture import ARCHITECTURES as OFFICIAL
from difftool.nets.f5.dit import rotated, waves
from difftool.nets.f5.official import checkpoint_of, load
from difftool.nets.official import shapes

GOLDEN = Path(__file__).parents[1] / "golden" / "f5.npz"
VERSIONS = pytest.mark.parametrize("version", ARCHITECTURES)


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def original() -> dict[str, Tensor]:
    """What f5-tts 1.1.22 and vocos 0.1.0 made, thinned; tests/stock/make_f5_golden.py stored it."""
    return {name: torch.from_numpy(stored) for name, stored in np.load(GOLDEN).items()}


class TestOriginal:
    @pytest.mark.parametrize("dtype", [None, torch.float32], ids=["as trained", "as it runs"])
    def test_all_stages_are_the_originals(self, dtype: torch.dtype | None, original: dict[str, Tensor]) -> None:
        made = dict(outputs(dtype))
        assert {*made} == {*original}
        for stage, found in made.items():
            assert off(thinned(found, 500), original[stage]) < 1e-5, stage

    def test_half_precision_stays_near(self, original: dict[str, Tensor]) -> None:
        for stage, found in outputs(torch.bfloat16):
            assert off(thinned(found, 500), original[stage]) < 0.03, stage


@VERSIONS
class TestText:
    def test_it_depends_on_the_number_of_frames(self, version: str) -> None:
        text, tokens = network("text", version), ITEMS[0].tokens
        assert not torch.allclose(text(tokens, 41)[:17], text(tokens, 42)[:17])

    def test_fillers_are_masked_in_v1_only(self, version: str) -> None:
        made = network("text", version)(ITEMS[0].tokens, 41)
        assert made[:17].all()
        assert bool(made[17:].any()) == (version == "v0")

    def test_a_text_longer_than_its_speech_is_cut_off(self, version: str) -> None:
        text, tokens = network("text", version), ITEMS[1].tokens
        assert torch.equal(text(tokens, 20), text(tokens[:20], 20))

    def test_without_a_text_its_length_shows_in_v1_only(self, version: str) -> None:
        text = network("text", version)
        one, other, shorter = (text(integers(k, 0, VOCABULARY, n), 30, dropped=True) for k, n in enumerate((9, 9, 8)))
        assert torch.equal(one, other)
        assert torch.equal(one, shorter) == (version == "v0")

    def test_positions_have_no_end(self, version: str) -> None:
        """The table of the original ends at 8,192 frames."""
        assert network("text", version)(ITEMS[0].tokens, 9000).isfinite().all()


class TestTimes:
    def test_waves_are_exact_to_float32(self) -> None:
        t = torch.linspace(0, 1, 33)
        rates = 10_000.0 ** -(torch.arange(128, dtype=torch.float64) / 127)
        angles = 1000 * t.double()[:, None] * rates
        assert torch.allclose(waves(t).double(), torch.cat([angles.sin(), angles.cos()], 1), atol=1.5e-4, rtol=0)

    def test_they_stay_in_float32_in_any_format(self) -> None:
        whole, half = (network("time", "v1", dtype)(torch.tensor(TIMES)) for dtype in (None, torch.bfloat16))
        assert torch.equal(half.blocks, whole.blocks)
        assert torch.equal(half.out, whole.out)
        dit = network("dit", "v1", torch.bfloat16)
        condition = dit.condition([ITEMS[0].reference], [torch.zeros(4000, 32)])
        assert condition.rotation.dtype == torch.complex64
        angles = 3999 * 10_000.0 ** -(torch.arange(32, dtype=torch.float64) / 32)
        wanted = torch.polar(torch.ones_like(angles), angles)
        assert (condition.rotation[0, 3999] - wanted).abs().max() < 5e-4

    def test_a_grid_at_once_is_each_of_its_times(self) -> None:
        time = network("time", "v1")
        grid = time(torch.tensor(TIMES))
        for i, t in enumerate(TIMES):
            alone = time(torch.tensor([t]))
            assert off(grid.at(i).blocks, alone.blocks) < 1e-6
            assert off(grid.at(i).out, alone.out) < 1e-6

    def test_each_item_may_have_a_time_of_its_own(self) -> None:
        """As in training."""
        grid = network("time", "v1")(torch.tensor(TIMES[:3]))
        together = passes("v1", ITEMS, grid, dropped=False)
        for i, one in enumerate(ITEMS):
            (alone,) = passes("v1", (one,), grid.at(i), dropped=False)
            assert off(together[i], alone) < 1e-5


@VERSIONS
class TestBatch:
    @pytest.mark.parametrize("dtype", [None, torch.float32], ids=["as trained", "as it runs"])
    def test_sixteen_items_are_each_alone(self, version: str, dtype: torch.dtype | None) -> None:
        items = tuple(item(100 + 3 * k, 4 + k, 6 + k, 20 + 3 * (k * 7 % 16)) for k in range(16))
        modulations = network("time", version)(torch.tensor(TIMES)).at(1)
        alone = [passes(version, (one,), modulations, dropped=False, dtype=dtype)[0] for one in items]
        for count in (4, 16):
            together = passes(version, items[:count], modulations, dropped=False, dtype=dtype)
            for found, wanted in zip(together, alone, strict=False):
                assert off(found, wanted) < 1e-5

    def test_what_is_beyond_the_end_is_not_heard(self, version: str) -> None:
        text, dit = network("text", version), network("dit", version)
        texts = [text(one.tokens, len(one.x)) for one in ITEMS]
        condition = dit.condition([one.reference for one in ITEMS], texts)
        modulations = network("time", version)(torch.tensor(TIMES)).at(2)
        x, louder = noise(0, 3, 57, 20), noise(0, 3, 57, 20)
        louder[0, 41:], louder[2, 12:] = 1e4, -1e4
        quiet, loud = dit(x, modulations, condition), dit(louder, modulations, condition)
        for row, one in enumerate(ITEMS):
            assert torch.equal(quiet[row, : len(one.x)], loud[row, : len(one.x)])


class TestRotation:
    def test_scores_depend_on_the_distance_alone(self) -> None:
        dit = network("dit", "v1")
        rotation = dit.condition([ITEMS[0].reference], [torch.zeros(60, 32)]).rotation
        q, k = (noise(seed, 1, 1, 1, 64).expand(1, 2, 60, 64) for seed in (1, 2))
        scores = (rotated(q, rotation) @ rotated(k, rotation).mT)[0]
        for head in scores:
            for distance in (-30, -1, 0, 1, 30):
                diagonal = head.diagonal(distance)
                assert torch.allclose(diagonal, diagonal[:1], atol=2e-4)
            assert head.std() > 1

    def test_only_the_first_head_knows_its_place_in_v0(self) -> None:
        rotation = network("dit", "v0").condition([ITEMS[0].reference], [torch.zeros(60, 32)]).rotation
        x = noise(1, 1, 2, 60, 64)
        first, second = rotated(x, rotation)[0]
        assert torch.equal(second, x[0, 1])
        assert not torch.allclose(first[1:], x[0, 0, 1:])
        assert torch.allclose(first.norm(dim=1), x[0, 0].norm(dim=1))


def averaged(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What an official file holds."""
    named = {f"ema_model.transformer.{name}": tensor for name, tensor in weights.items()}
    return {**named, "initted": torch.tensor(True), "step": torch.tensor(7)}


FORMS: dict[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "official": averaged,
    "without a prefix": lambda w: {f"transformer.{name}": tensor for name, tensor in w.items()},
    "pruned": lambda w: {"ema_model_state_dict": averaged(w)},
    "for resuming": lambda w: {
        "model_state_dict": {f"module.transformer.{name}": 0 * tensor for name, tensor in w.items()},
        "ema_model_state_dict": averaged(w),
        "optimizer_state_dict": {"state": {}},
        "update": 7,
    },
    "without an average": lambda w: {
        "model_state_dict": {f"module.transformer.{name}": tensor for name, tensor in w.items()}
    },
    "old": lambda w: {
        "ema_model_state_dict": {
            **{f"transformer.{name}": tensor for name, tensor in w.items()},
            "mel_spec.mel_stft.mel_scale.fb": torch.zeros(513, 100),
            "mel_spec.mel_stft.spectrogram.window": torch.zeros(1024),
        }
    },
}


class TestOfficialFiles:
    @pytest.mark.parametrize(
        ("name", "tensors", "numbers"),
        [("v0", 364, 337_096_804), ("v1", 364, 337_096_804), ("v1-small", 308, 159_228_772)],
    )
    def test_the_official_sizes(self, name: str, tensors: int, numbers: int) -> None:
        row = checkpoint_of(OFFICIAL[name])
        with torch.device("meta"):
            needed = shapes(row, {part: make() for part, (_, make) in row.parts.items()})
        assert len(needed) == tensors
        assert sum(map(math.prod, needed.values())) == numbers + 32  # and the frequencies

    @pytest.mark.parametrize("form", FORMS)
    def test_every_form_opens(self, form: str, tmp_path: Path) -> None:
        sizes = ARCHITECTURES["v1"]
        made = FORMS[form](weights(checkpoint_of(sizes, VOCABULARY)))
        path = stored(tmp_path, made)
        for name in ("text", "time", "dit"):
            found = load(name, path, sizes, VOCABULARY).state_dict()
            wanted = network(name, "v1", torch.float32).state_dict()
            assert {*found} == {*wanted}
            assert all(torch.equal(found[key], wanted[key]) for key in found)
        dit = load("dit", path, sizes, VOCABULARY)
        x, modulations = ITEMS[0].x[None], network("time", "v1")(torch.tensor(TIMES)).at(1)
        given = [ITEMS[0].reference], [noise(1, 41, 32)]
        ran = network("dit", "v1", torch.float32)
        wanted = ran(x, modulations, ran.condition(*given))
        assert torch.equal(dit(x, modulations, dit.condition(*given)), wanted)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda w: w.pop("proj_out.bias"), "lacks proj_out.bias"),
            (lambda w: w.update({"long_skip_connection.weight": torch.zeros(64, 128)}), "has long_skip_connection"),
            (
                lambda w: w.update({"proj_out.weight": torch.zeros(100, 64)}),
                r"proj_out.weight has the shape \[100, 64\]",
            ),
            (lambda w: w.update({"layers.0.1.g": torch.ones(64)}), "is a checkpoint of E2 TTS"),
            (lambda w: w.update({"rotary_embed.inv_freq": torch.ones(32)}), "other values of rotary_embed.inv_freq"),
            (lambda w: w["proj_out.weight"].fill_(math.nan), "proj_out.weight contains values that are not finite"),
            (
                lambda w: w.update({"text_embed.text_embed.weight": torch.zeros(60, 32)}),
                "was trained with 59 tokens, but the vocabulary has 40",
            ),
        ],
    )
    def test_another_architecture_is_refused(
        self, change: Callable[[dict[str, Tensor]], object], says: str, tmp_path: Path
    ) -> None:
        made = weights(checkpoint_of(ARCHITECTURES["v1"], VOCABULARY))
        change(made)
        path = stored(tmp_path, averaged(made))
        with refusal(says):
            load("dit", path, ARCHITECTURES["v1"], VOCABULARY)

    def test_a_smaller_network_is_refused(self, tmp_path: Path) -> None:
        small = replace(ARCHITECTURES["v1"], depth=1)
        path = stored(tmp_path, averaged(weights(checkpoint_of(small, VOCABULARY))))
        with refusal(r"has a different architecture: it lacks transformer_blocks\.1\..* \(and \d+ more\)"):
            load("text", path, ARCHITECTURES["v1"], VOCABULARY)

    @pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
    @pytest.mark.parametrize("contents", [None, b"", b"<!DOCTYPE html>", b"\x08\x00\x00\x00\x00\x00\x00\x00{}"])
    def test_damaged_files_are_refused(self, name: str, contents: bytes | None, tmp_path: Path) -> None:
        path = tmp_path / name
        if contents is not None:
            path.write_bytes(contents)
        with refusal(f"{name}"):
            load("dit", path, ARCHITECTURES["v1"], VOCABULARY)


def stored(folder: Path, made: dict[str, Any]) -> Path:
    """A file of what was made: safetensors, or by PyTorch if it holds more than tensors."""
    if all(isinstance(tensor, Tensor) for tensor in made.values()):
        save_file(made, folder / "model.safetensors")
        return folder / "model.safetensors"
    torch.save(made, folder / "model.pt")
    return folder / "model.pt"


def refusal(says: str) -> pytest.RaisesExc[DifftoolError]:
    return pytest.raises(DifftoolError, match=says, check=lambda error: error.code == Exit.FILE)
