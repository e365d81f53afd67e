"""Training on sounds: what a run leaves, that it is exact, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from difftool.errors import DifftoolError
from difftool.files import load_tensors
from difftool.learning import driver, runlog
from difftool.learning.tasks import Denoising, seeded
from difftool.models import build_net, open_model
from difftool.pictures.png import read_png
from difftool.train import recipe, train
from difftool.train.evaluation import evaluate
from difftool.train.sounds import quality
from difftool.train.sounds import run as module

ROW: dict[str, Any] = {
    "minutes": 1,
    "batch_size": 4,
    "lr": 1e-3,
    "target": "flow",
    "warmup": 0.1,
    "ema": 0.1,
    "label_dropout": 0.1,
    "weight_decay": 0.01,
    "times": "logit_normal",
    "frames": 16,
    "gain": 3.0,
    "net": {"type": "unet", "width": 8, "mults": [1, 2], "blocks": 1, "attention": [], "dropout": 0.0},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    """A preset small enough to test with, and few sounds drawn."""
    monkeypatch.setattr(recipe, "read_preset", lambda family, name: ROW)
    monkeypatch.setattr(runlog, "plot_curves", lambda path, *_: path.touch())
    monkeypatch.setattr(driver, "PREVIEWS", 2)
    monkeypatch.setattr(module, "PREVIEWED", 2)
    monkeypatch.setattr(module, "DRAWING_STEPS", 1)
    monkeypatch.setattr(module, "JUDGED", 8)
    monkeypatch.setattr(quality, "FEWEST", 8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for k in range(10):
        path = tmp_path / "data" / "ab"[k % 2] / f"{k}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.2 * rng.standard_normal(16_000 + 999 * k), 24_000)
    return tmp_path / "data"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "model.safetensors")[0]


def test_what_a_run_leaves(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "run"
    done = train(data, output_dir=folder, steps=4, held_out=0.2)
    config = json.loads((folder / "config.json").read_text())
    assert config["sound"] == {"format": "mel24", "frames": 16}
    assert config["size"] == [100, 16] and config["net"]["rows"] == 100 and config["classes"] == ["a", "b"]
    assert config["train"]["gain"] == 3.0 and config["train"]["times"] == "logit_normal"
    model = open_model(folder)
    assert model.sound is not None and model.shape == (1, 100, 16)
    assert done.quality is not None and done.quality.keys() == {"fd", "nearest", "ceiling", "ceiling_fd"}
    assert all(np.isfinite(value) for value in done.quality.values())
    assert 0.1 < done.quality["ceiling"] < 3
    assert read_png(done.grid)[2]["model"]["sha256"] == model.sha256  # type: ignore[index]
    page = done.report.read_text()
    assert page.count("<audio") == 2 + module.HEARD and "data:audio/flac;base64," in page
    assert "16 windows seen" in page and "FD of bands" in page
    again = train(data, output_dir=folder, steps=4, held_out=0.2)
    assert again.finished_before and again.quality == done.quality
    # the same figures from the model alone
    judged = evaluate(folder, data, held_out=0.2, count=50, steps=1)
    assert judged.quality.keys() == done.quality.keys() and judged.count == 50
    assert judged.quality["ceiling"] == pytest.approx(done.quality["ceiling"], rel=1e-3)
    with pytest.raises(DifftoolError, match="held-out windows") as error:
        evaluate(folder, data, held_out=0.0, count=50)
    assert error.value.code == 4
    with pytest.raises(DifftoolError, match="--inception has no meaning for sounds"):
        evaluate(folder, data, inception=data / "a" / "0.wav")


def test_a_run_in_two_parts_is_the_same(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(data, output_dir=tmp_path / "whole", steps=4, save_every=4)
    saved: list[int] = []

    def dying(*arguments: Any, save: Any = driver.save) -> None:
        save(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(driver, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            train(data, output_dir=tmp_path / "run", steps=4, save_every=4)
    train(data, output_dir=tmp_path / "run", steps=4, save_every=4)
    whole, run = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(whole[name], run[name]) for name in whole)


def test_windows_of_an_update_depend_on_seed_and_number_only(data: Path) -> None:
    job = recipe.prepare(data, steps=4)
    config, sounds = job.config, job.data

    def losses(rows: range, seed: int = 0) -> torch.Tensor:
        net = seeded(0, lambda: build_net(config["net"])).eval()
        with torch.no_grad():
            net.head[2].weight.fill_(0.01)  # type: ignore[index, union-attr]
        own = {**config, "train": {**config["train"], "seed": seed}}
        task = Denoising(own, net, module.data_of(sounds, job.device, 3.0))  # type: ignore[arg-type]
        return task.losses(4, rows)[0].detach()

    whole = losses(range(4))
    torch.testing.assert_close(torch.cat([losses(range(1)), losses(range(1, 4))]), whole, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(losses(range(4), seed=1), whole)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"size": (8, 8)}, "--size has no meaning for sounds"),
        ({"flip": True}, "--flip has no meaning for sounds"),
        ({"sound_format": "mel25"}, "unknown sound format 'mel25'"),
        ({"frames": 4}, "frames"),
    ],
)
def test_settings_that_sounds_do_not_have(data: Path, more: dict[str, Any], says: str) -> None:
    with pytest.raises(DifftoolError, match=says) as error:
        recipe.prepare(data, steps=1, **more)
    assert error.value.code == 2


def test_other_formats(data: Path) -> None:
    job = recipe.prepare(data, steps=1, sound_format="mel16", frames=32)
    assert job.config["size"] == [80, 32] and job.config["sound"] == {"format": "mel16", "frames": 32}  # type: ignore[typeddict-item]


def test_settings_that_pictures_do_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {name: value for name, value in ROW.items() if name not in ("frames", "gain")}
    monkeypatch.setattr(recipe, "read_preset", lambda family, name: row)
    for more in ({"frames": 64}, {"sound_format": "mel24"}, {"gain": 1.0}):
        with pytest.raises(DifftoolError, match="has no meaning for pictures") as error:
            recipe.prepare("digits", steps=1, **more)
        assert error.value.code == 2
    with pytest.raises(DifftoolError, match="is for pictures, unlike tones") as error:
        recipe.prepare("tones", preset="digits", steps=1)
    assert error.value.code == 2


def test_sounds_have_their_presets(data: Path) -> None:
    assert recipe._usual(str(data)) == "sounds"
    assert recipe._usual("tones") == "tones"
    assert recipe._usual("digits") == "digits" and recipe._usual("moons") == "points"
    assert recipe._usual("no/such/folder") == "pictures"


def test_a_run_begins_with_a_model_of_its_own_format(tmp_path: Path, data: Path) -> None:
    train(data, output_dir=tmp_path / "run", steps=1, held_out=0.0)
    begun = recipe.prepare(data, steps=1, init_from=tmp_path / "run", held_out=0.0)
    assert begun.weights is not None and begun.weights["rows"].shape == (8, 100, 1)
    for more, says, hint in (
        ({"sound_format": "vocos24"}, "--sound-format: mel24 there, vocos24 here", "add --sound-format mel24"),
        ({"frames": 32}, "--frames: 16 there, 32 here", "add --frames 16"),
    ):
        with pytest.raises(DifftoolError, match=says) as error:
            recipe.prepare(data, steps=1, init_from=tmp_path / "run", **more)
        assert error.value.code == 4 and hint in error.value.hint
    with pytest.raises(DifftoolError, match="--sound-format: mel24 there, vocos24 here"):
        train(data, output_dir=tmp_path / "run", steps=1, held_out=0.0, sound_format="vocos24")


def test_what_is_said_of_sounds_names_no_pictures(difftool: Callable[..., Any], data: Path) -> None:
    """Neither pictures nor images, but windows where a run counts them, and sounds where a model generates them."""
    given = ("train", data, "--images", 8, "--held-out", 0.2, "--output-dir", "run")
    sample = ("sample", "./run", "--steps", 1)
    commands: dict[tuple[object, ...], str] = {
        (*given, "--dry-run"): "for 8 windows",
        given: "8 windows seen",
        (*given, "--gain", 0, "--frames", 32): "contains another run",
        (*given[:4], *given[6:]): "windows of DATA: ",
        ("runs", "ls", "."): "8 windows of data",
        (*sample, "--count", 1, "-o", "a.wav"): "1 sound of run",
        (*sample, "--compare", "ddim,euler", "--count", 2, "-o", "b.png"): "ms/sound",
        ("eval", "./run", "--data", data, "--held-out", 0.2, "--dry-run"): "would generate 100 sounds",
    }
    for command, says in commands.items():
        ended = difftool(*command)
        said = ended.out + ended.err
        assert says in said and "picture" not in said and "image" not in said.replace("--images", ""), said
