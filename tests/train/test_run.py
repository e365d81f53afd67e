from __future__ import annotations

import errno
import json
import logging
import math
import os
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from difftool import runs
from difftool.cli.options import parameters
from difftool.errors import DifftoolError, Exit
from difftool.files import load_tensors, lock, save_tensors
from difftool.learning import driver, runlog
from difftool.learning.config import chosen
from difftool.learning.loop import learning_rate, updates
from difftool.models import open_model
from difftool.pictures.plots import plot_curves
from difftool.pictures.png import read_png
from difftool.provenance import located
from difftool.settings import setting
from difftool.train import previews, recipe, train
from difftool.train import run as module
from difftool.train.settings import Settings

ROW = {
    "minutes": 1,
    "batch_size": 4,
    "lr": 1e-3,
    "target": "v",
    "warmup": 0.1,
    "ema": 0.1,
    "label_dropout": 0.1,
    "weight_decay": 0.01,
    "net": {"type": "unet", "width": 8, "mults": [1, 2], "blocks": 1, "attention": [], "dropout": 0.0},
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, small_previews: None) -> None:
    """A preset small enough to test with, and no curves drawn by matplotlib."""
    monkeypatch.setattr(recipe, "read_preset", lambda family, name: ROW)
    monkeypatch.setattr(runlog, "plot_curves", lambda path, *_: path.touch())


def pictures_in(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for k in range(10):
        path = folder / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return pictures_in(tmp_path / "data")


class Clock:
    """Stands still but for a quarter of a second in each update."""

    now = 0.0

    def track(self, items: Any, total: int) -> Iterator[Any]:
        for item in items:
            self.now += 0.25
            yield item


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What a run takes for the time."""
    clock = Clock()
    for part in (module, driver):
        monkeypatch.setattr(part, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def fails(code: Exit, says: str) -> pytest.RaisesExc[DifftoolError]:
    return pytest.RaisesExc(DifftoolError, match=says, check=lambda error: error.code == code)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "model.safetensors")[0]


def same(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_what_a_run_leaves(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlog, "plot_curves", plot_curves)
    folder = tmp_path / "run"
    done = train(data, output_dir=folder, steps=10)
    assert done.images == 40
    assert not done.finished_before
    assert math.isfinite(done.loss)
    assert done.quality is None
    model = open_model(folder)
    assert model.shape == (3, 6, 9)
    assert model.classes == ("a", "b")
    names = {
        "config.json",
        "model.safetensors",
        "last.safetensors",
        "previous.safetensors",
        "log.jsonl",
        "loss.png",
        "report.html",
        "samples",
    }
    found = {path.name for path in folder.iterdir()}
    assert {name for name in found if not name.startswith("events.out.tfevents")} == names
    assert len(found) > len(names)
    drawn = {f"{n:09d}{kind}.png" for n in (20, 40) for kind in ("", "-raw")}
    assert {path.name for path in (folder / "samples").iterdir()} == {*drawn, "000000040-nearest.png"}
    assert done.grid == folder / "samples" / "000000040.png"
    config = json.loads((folder / "config.json").read_text())
    assert config["train"]["images"] == 40
    assert config["train"]["data"]["pictures"] == 10
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines[:-1]] == list(range(4, 41, 4))
    assert lines[-1]["finished"]
    # the last grid is drawn from the model that stands there
    assert read_png(done.grid)[2]["model"]["sha256"] == model.sha256  # type: ignore[index]


@pytest.mark.parametrize(
    ("length", "images"), [({"steps": 7}, 28), ({"images": 30}, 32), ({"epochs": 2}, 20), ({"epochs": 0.5}, 8)]
)
def test_lengths(tmp_path: Path, data: Path, length: dict[str, Any], images: int) -> None:
    assert train(data, output_dir=tmp_path / "run", **length).images == images


def test_classes_of_unequal_shares(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine of ten are b: so are the pictures drawn on the way, class by class, and those that are judged."""
    rng = np.random.default_rng(1)
    for k in range(10, 50):
        Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).save(data / "b" / f"{k}.png")
    plans, inner = [], module.plan_samples_with
    monkeypatch.setattr(
        module, "plan_samples_with", lambda *args, **more: plans.append(inner(*args, **more)) or plans[-1]
    )
    monkeypatch.setattr(module, "PREVIEW_PICTURES", 20)
    done = train(data, output_dir=tmp_path / "run", steps=1)
    drawn, raw, judged = (plan.labels for plan in plans)
    assert drawn == ["a"] * 2 + ["b"] * 18
    assert raw == ["b"] * 2
    assert sorted(judged) == sorted(drawn) and judged != sorted(judged)
    manifest = read_png(done.grid)[2]
    assert manifest is not None and manifest["settings"]["label"] == drawn  # from which rerun makes it again


def test_the_command_of_a_run_names_its_data_where_they_are(tmp_path: Path, data: Path) -> None:
    train(data, output_dir=tmp_path / "run", steps=1)
    assert str(tmp_path) not in (tmp_path / "run" / "config.json").read_text()
    command = shlex.split(str(runs.named(str(tmp_path / "run")).again))
    assert command[:3] == ["difftool", "train", str(data)]
    data.rename(tmp_path / "elsewhere")
    assert shlex.split(str(runs.named(str(tmp_path / "run")).again))[2] == "DATA"


def test_a_smaller_size_is_suggested_for_pictures_of_several_sizes(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recipe.prepared(Settings(data=data, steps=1))
    assert "--size 32x32" not in caplog.text
    Image.new("RGB", (90, 40)).save(data / "a" / "wide.png")
    recipe.prepared(Settings(data=data, steps=1, size=(8, 8)))
    assert "--size 32x32" not in caplog.text
    recipe.prepared(Settings(data=data, steps=1))
    assert "for faster training use smaller pictures, such as --size 32x32" in caplog.text


def test_minutes_become_a_number_of_pictures(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(driver, "seconds_per_update", lambda *_: 1.0)
    done = train(data, output_dir=tmp_path / "run", minutes=0.5, track=clock.track)
    assert "--minutes is too short: beside previews and evaluation there is time for only 22 updates" in caplog.text
    # 30 s less 4 for judging, 2 grids of 4 and 2 pictures in 2 steps (a quarter of a second for each batch of 4) and
    # 0.7 s beside, and 3 % in reserve: 22 updates of a second
    assert done.images == 22 * 4
    # measured once: the same command finds it done, however fast the machine is now
    monkeypatch.setattr(driver, "seconds_per_update", lambda *_: 0.1)
    again = train(data, output_dir=tmp_path / "run", minutes=0.5)
    assert again.finished_before
    assert again.images == done.images


@pytest.fixture
def slower(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> dict[str, Any]:
    """A run of a minute on a machine that becomes slower: of ten updates in the 2.3 s that judging leaves."""
    monkeypatch.setattr(driver, "seconds_per_update", lambda *_: 1e-6)
    monkeypatch.setattr(driver, "CLOSING", 57)
    return {"minutes": 1, "track": clock.track}


def test_a_machine_that_becomes_slower_ends_in_time(tmp_path: Path, data: Path, slower: dict[str, Any]) -> None:
    done = train(data, output_dir=tmp_path / "run", **slower)
    recipe = json.loads((tmp_path / "run" / "config.json").read_text())["train"]
    assert recipe["images"] == done.images == 10 * 4 < recipe["planned"]
    assert done.grid.exists()
    assert train(data, output_dir=tmp_path / "run", minutes=1).finished_before
    # the rates that were planned, of which the last is far from 0
    lines = [line for line in runlog.read_log(tmp_path / "run") if "lr" in line]
    assert lines[-1]["images"] == done.images
    assert lines[-1]["lr"] == learning_rate({**recipe, "images": recipe["planned"]}, lines[-1]["step"] - 1)


def test_killed_when_time_had_ended(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, slower: dict[str, Any]
) -> None:
    save = driver.save

    def dies(folder: Path, trainee: Any) -> None:
        if "planned" in json.loads((folder / "config.json").read_text())["train"]:
            raise Killed
        save(folder, trainee)

    with monkeypatch.context() as broken:
        broken.setattr(driver, "save", dies)
        with pytest.raises(Killed):
            train(data, output_dir=tmp_path / "run", save_every=16, **slower)
    before = json.loads((tmp_path / "run" / "config.json").read_text())
    done = train(data, output_dir=tmp_path / "run", save_every=16, **slower)
    assert done.images == before["train"]["images"] == 10 * 4
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == before


def test_grids_that_were_asked_for_are_counted(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(driver, "seconds_per_update", lambda *_: 1.0)
    done = train(data, output_dir=tmp_path / "run", minutes=0.5, preview_every=4, track=clock.track)
    # 1.45 s for the grids after each update of a second
    assert done.images == 9 * 4


def test_a_finished_run_has_nothing_to_do(tmp_path: Path, data: Path) -> None:
    first = train(data, output_dir=tmp_path / "run", steps=5)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    again = train(data, output_dir=tmp_path / "run", steps=5)
    assert again == first._replace(finished_before=True)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_another_run_in_the_folder_is_refused_and_told_apart(tmp_path: Path, data: Path) -> None:
    train(data, output_dir=tmp_path / "run", steps=3)
    with fails(Exit.FILE, r"--lr: 0.001 there, 0.5 here$"):
        train(data, output_dir=tmp_path / "run", steps=3, lr=0.5)
    with fails(Exit.FILE, r"--steps: 3 there, 4 here"):
        train(data, output_dir=tmp_path / "run", steps=4)
    (data / "a" / "0.png").unlink()
    with fails(Exit.FILE, r"pictures of DATA: 10 there, 9 here"):
        train(data, output_dir=tmp_path / "run", steps=3)
    assert train(data, output_dir=tmp_path / "run", steps=2, overwrite=True).images == 8
    assert {path.name[:9] for path in (tmp_path / "run" / "samples").iterdir()} == {"000000004", "000000008"}


@dataclass(frozen=True)
class Later(Settings):
    """The settings of a version that has one more."""

    sharpness: float = setting(0.5, "How sharp.")


def test_a_run_of_before_a_setting_was_added_goes_on(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its config does not tell of is the default; another value is another run, and stands in its config."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    train(data, output_dir=whole, steps=4, save_every=4)
    with pytest.raises(Killed):
        train(data, output_dir=folder, steps=4, save_every=4, track=dies_after(2))
    before = (folder / "config.json").read_bytes()
    monkeypatch.setattr(recipe, "Settings", Later)
    with fails(Exit.FILE, "--sharpness: 0.5 there, 0.75 here"):
        module.check(recipe.prepared(Later(data=data, steps=4, sharpness=0.75)), folder, False)
    job = recipe.prepared(Later(data=data, steps=4, save_every=4, sharpness=0.5))
    done = module.run(job, folder, time.monotonic())
    assert (done.finished_before, (folder / "config.json").read_bytes()) == (False, before)
    assert same(folder, whole)
    assert module.run(job, folder, time.monotonic()).finished_before
    sharper = recipe.prepared(Later(data=data, steps=4, sharpness=0.0)).config["train"]
    assert chosen(sharper, "sharpness", 0.5) == 0.0
    assert chosen(done.config["train"], "sharpness", 0.5) == 0.5
    assert parameters(Later)[-1].name == "sharpness"  # an option of the command too


def test_what_a_config_tells_of_settings(data: Path) -> None:
    """Those of the recipe that are not their defaults, and nothing of the machine."""
    more = {"flip": True, "weight": "min-snr", "times": "even", "compile": False, "checkpointing": True}
    config = recipe.prepare(data, steps=2, batch_size=3, device="cpu", threads=1, held_out=0, **more).config["train"]
    assert [key for key in config if key not in ("data", "length")] == [
        *("preset", "batch_size", "lr", "warmup", "ema", "label_dropout", "weight_decay"),
        *("weight", "flip", "checkpointing", "images", "seed", "dtype"),
    ]
    assert (config["weight"], config["images"]) == ("min_snr", 6)
    edm = recipe.prepare(data, steps=2, target="edm").config
    assert (edm["train"]["times"], edm["path"]["type"]) == ("log_normal", "karras")


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("important")
    with fails(Exit.FILE, "notes.txt"):
        train(data, output_dir=folder, steps=2)
    train(data, output_dir=folder, steps=2, overwrite=True)
    assert (folder / "notes.txt").read_text() == "important"


def test_a_model_alone_is_not_trained_over(tmp_path: Path, data: Path) -> None:
    train(data, output_dir=tmp_path / "run", steps=2)
    for name in ("last.safetensors", "previous.safetensors", "log.jsonl"):
        (tmp_path / "run" / name).unlink()
    with fails(Exit.FILE, "checkpoint"):
        train(data, output_dir=tmp_path / "run", steps=2)


class Killed(BaseException):
    """Stands for a process that ends without another word."""


def dies_after(step: int) -> Any:
    def track(items: Any, total: int) -> Iterator[Any]:
        for item in items:
            yield item
            if item.step == step:
                raise Killed

    return track


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path, data: Path) -> None:
    settings: dict[str, Any] = {"steps": 12, "save_every": 8, "preview_every": 20}
    train(data, output_dir=tmp_path / "whole", steps=12)
    for step in (1, 5, 9):
        with pytest.raises(Killed):
            train(data, output_dir=tmp_path / "run", track=dies_after(step), **settings)
    done = train(data, output_dir=tmp_path / "run", **settings)
    assert done.images == 48
    assert same(tmp_path / "whole", tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines[:-1]] == list(range(1, 13))


@pytest.mark.parametrize("cut", [False, True])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture, cut: bool
) -> None:
    train(data, output_dir=tmp_path / "whole", steps=12)
    with pytest.raises(Killed):
        train(data, output_dir=tmp_path / "run", steps=12, save_every=8, track=dies_after(9))
    last = tmp_path / "run" / "last.safetensors"
    data_of_last = bytearray(last.read_bytes())
    data_of_last[-9] ^= 1
    last.write_bytes(bytes(data_of_last[:-500] if cut else data_of_last))
    with caplog.at_level(logging.WARNING):
        train(data, output_dir=tmp_path / "run", steps=12, save_every=8)
    assert len([record for record in caplog.records if "previous checkpoint" in record.message]) == 1
    assert same(tmp_path / "whole", tmp_path / "run")


def test_without_a_checkpoint_that_serves_nothing_is_trained_over(tmp_path: Path, data: Path) -> None:
    with pytest.raises(Killed):
        train(data, output_dir=tmp_path / "run", steps=12, save_every=8, track=dies_after(9))
    files = [tmp_path / "run" / name for name in ("last.safetensors", "previous.safetensors", "model.safetensors")]
    for path in files[:2]:
        path.write_bytes(path.read_bytes()[:-1])
    before = [path.read_bytes() for path in files]
    with fails(Exit.FILE, "checkpoint"):
        train(data, output_dir=tmp_path / "run", steps=12, save_every=8)
    assert [path.read_bytes() for path in files] == before


def test_a_checkpoint_that_cannot_be_read_now_is_kept(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails for a moment must not cost the last state."""
    with pytest.raises(Killed):
        train(data, output_dir=tmp_path / "run", steps=12, save_every=8, track=dies_after(9))
    inner = Path.read_bytes

    def fails_once(path: Path) -> bytes:
        if path.name == "last.safetensors":
            raise OSError(5, "Input/output error")
        return inner(path)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", fails_once)
        with fails(Exit.FILE, "Input/output error"):
            train(data, output_dir=tmp_path / "run", steps=12, save_every=8)
    train(data, output_dir=tmp_path / "run", steps=12, save_every=8)
    train(data, output_dir=tmp_path / "whole", steps=12)
    assert same(tmp_path / "whole", tmp_path / "run")


def test_a_run_that_saved_nothing_keeps_no_place(tmp_path: Path, data: Path) -> None:
    """Its own hint says to train again with other settings."""
    with fails(Exit.FAILED, "10 times in a row"):
        train(data, output_dir=tmp_path / "run", steps=50, lr=1e30, save_every=8)
    assert train(data, output_dir=tmp_path / "run", steps=3, lr=1e-3).images == 12


def test_a_config_of_another_tool_is_left_alone(tmp_path: Path, data: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    with fails(Exit.FILE, "not made by difftool"):
        train(data, output_dir=tmp_path / "run", steps=3)


def test_a_run_with_the_name_of_the_model_in_the_package(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = train(data, output_dir="digits", steps=2)
    pixels, _, manifest = read_png(done.grid)
    assert pixels.shape[2] == 3
    assert manifest is not None
    assert manifest["settings"]["model"] == "./digits"  # with the mark of a folder, and told of no other
    assert located(manifest, done.grid)["model"] == str(tmp_path / "digits")


def comes(number: signal.Signals) -> None:
    """As if the signal had come; SIGTERM that does come ends the run of the tests."""
    signal.getsignal(number)(number, None)  # type: ignore[operator, misc]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)])
def test_a_signal_saves_and_ends(tmp_path: Path, data: Path, number: signal.Signals, code: Exit) -> None:
    def track(items: Any, total: int) -> Iterator[Any]:
        for item in items:
            if item.step == 4:
                comes(number)
            yield item

    with fails(code, "stopped after 16 of 48 pictures"):
        train(data, output_dir=tmp_path / "run", steps=12, track=track)
    assert open_model(tmp_path / "run").shape == (3, 6, 9)
    train(data, output_dir=tmp_path / "run", steps=12)
    train(data, output_dir=tmp_path / "whole", steps=12)
    assert same(tmp_path / "whole", tmp_path / "run")


def test_a_signal_after_the_last_update_ends_at_once(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, and each time the same command goes on with what is left."""
    monkeypatch.setattr(driver, "PREVIEWS", 1)
    folder, steps, passed = tmp_path / "run", 3, []

    def interrupted(name: str, inner: Any) -> Any:
        def stands_in(*args: Any) -> Any:
            passed.append(name)
            done = inner(*args) if name == "save" else None
            comes(signal.SIGTERM)
            passed.append(f"after {name}")
            return done

        return stands_in

    for owner, name, says in (
        (driver, "save", "stopped after 12 of 12 pictures"),  # which is ended first
        (module, "_preview", "the state is saved"),
        (module, "_measured", "the state is saved"),
        (module, "nearest_strip", "the state is saved"),
        (module, "write_report", "the state is saved"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, interrupted(name, getattr(owner, name)))
            with fails(Exit.TERMINATED, says):
                train(data, output_dir=folder, steps=steps)
    assert passed == ["save", "after save", "_preview", "_measured", "nearest_strip", "write_report"]
    done = train(data, output_dir=folder, steps=steps)
    assert not done.finished_before and done.report.exists() and (folder / "samples/000000012-nearest.png").exists()
    train(data, output_dir=tmp_path / "whole", steps=steps)
    assert same(tmp_path / "whole", folder)
    assert train(data, output_dir=folder, steps=steps).finished_before


def test_a_signal_before_the_first_update(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "with_measured_sizes", lambda *_: comes(signal.SIGTERM))
    with fails(Exit.TERMINATED, "before anything was trained"):
        train(data, output_dir=tmp_path / "run", steps=10)
    assert not (tmp_path / "run").exists()


def test_a_grid_that_was_due_is_drawn_on_going_on(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(data, output_dir=tmp_path / "whole", steps=4).folder / "samples"

    def dies(*_: Any) -> None:
        raise Killed

    for stands_in, ends in (
        (lambda *_: comes(signal.SIGTERM), fails(Exit.TERMINATED, "stopped after 8 of 16")),
        (dies, pytest.raises(Killed)),
    ):
        with monkeypatch.context() as patch, ends:
            patch.setattr(module, "_preview", stands_in)
            train(data, output_dir=tmp_path / "run", steps=4)
    own = train(data, output_dir=tmp_path / "run", steps=4).folder / "samples"
    assert {path.name for path in own.iterdir()} == {path.name for path in whole.iterdir()}
    for path in own.iterdir():
        assert np.array_equal(read_png(path)[0], read_png(whole / path.name)[0]), path.name
    assert same(tmp_path / "whole", tmp_path / "run")


def changed(folder: Path, key: str, value: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["train"][key] = value
    (folder / "config.json").write_text(json.dumps(config))


def line(**values: Any) -> str:
    return json.dumps({"images": 4, "step": 1, "loss": 1.0, "bands": None} | values) + "\n"


TAMPERED: list[tuple[str, Any]] = [
    *((f"config.json, {key}", value) for key in ("images", "planned") for value in (0, -4, 10**18, 7, 8.0, "8", None)),
    *(("config.json, micro_batch", value) for value in (0, 5, 10**9, True, [1])),
    ("config.json, target", "v" * 10**6),
    ("config.json, data", [[[[]]]] * 10**5),
    *(("log.jsonl", text) for text in ("[1]\n", '"loss"\n', line(step="1"), line(step=None), line(loss=10**300))),
    *(("log.jsonl", text) for text in (line(bands=[1, 2]), line(bands=[{}] * 4), line(lr=[1]), line(held_out="0"))),
    ("log.jsonl", '{"finished": true, "notes": 3, "quality": null}\n'),
    ("log.jsonl", '{"finished": true, "notes": [], "quality": {}}\n'),
]


def test_a_run_that_was_tampered_with(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "seconds_per_update", lambda *_: 1.0)
    folder, job = tmp_path / "run", recipe.prepare(data, minutes=0.4, save_every=4)
    with pytest.raises(Killed):
        module.run(job, folder, time.monotonic(), track=dies_after(2))
    before = {path: path.read_bytes() for path in (folder / "config.json", folder / "log.jsonl")}
    for name, value in TAMPERED:
        if name == "log.jsonl":
            (folder / name).write_text(value)
        else:
            changed(folder, name.split()[1], value)
        with fails(Exit.FILE, r"damaged|another run") as caught:
            module.check(recipe.prepare(data, minutes=0.4), folder, False)
            runlog.read_log(folder, previews.layout().figures)
        assert len(str(caught.value)) < 500, name
        for path, content in before.items():
            path.write_bytes(content)
    (folder / "log.jsonl").unlink()
    os.mkfifo(folder / "log.jsonl")
    with fails(Exit.FILE, "log.jsonl is damaged"):
        module.check(job, folder, False)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, numbers: numbers.update(step="-1"),
        lambda tensors, numbers: numbers.update(taken="9" * 30),
        lambda tensors, numbers: numbers.update(step="9" * 10_000),
        lambda tensors, numbers: tensors.pop("optimizer.0.exp_avg"),
        lambda tensors, numbers: tensors.update({"optimizer.0.exp_avg": torch.zeros(3)}),
        lambda tensors, numbers: tensors.update({"net.0": tensors["net.0"].long()}),
        lambda tensors, numbers: tensors.update(more=torch.zeros(3)),
        lambda tensors, numbers: tensors.update(more=torch.zeros(10**7)),
    ],
)
def test_a_checkpoint_that_was_tampered_with(tmp_path: Path, data: Path, change: Any) -> None:
    with pytest.raises(Killed):
        train(data, output_dir=tmp_path / "run", steps=3, save_every=4, track=dies_after(2))
    (tmp_path / "run" / "previous.safetensors").unlink(missing_ok=True)
    last = tmp_path / "run" / "last.safetensors"
    tensors, numbers, _ = load_tensors(last)
    numbers.pop("sha256")
    change(tensors, numbers)
    save_tensors(last, tensors, numbers)
    with fails(Exit.FILE, "no usable checkpoint in "):
        train(data, output_dir=tmp_path / "run", steps=3, save_every=4)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), Exit.FAILED, "the disk is full; the state is saved"),
        (MemoryError(), Exit.MEMORY, "out of memory; the state is saved"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Exit.MEMORY, "out of memory; the state is saved"),
    ],
)
def test_where_room_ends_the_last_state_stays(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: Exit, says: str
) -> None:
    inner, written = Path.write_bytes, []

    def ends(path: Path, content: bytes) -> int:
        written.append(path.name)
        if len([name for name in written if name.startswith("..last")]) == 2:
            raise error
        return inner(path, content)

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", ends)
        with fails(code, says) as caught:
            train(data, output_dir=tmp_path / "run", steps=3, save_every=4)
    assert f"--output-dir {tmp_path / 'run'} and without --overwrite" in caught.value.hint
    assert not any((tmp_path / "run").rglob("*.tmp-*"))
    train(data, output_dir=tmp_path / "run", steps=3, save_every=4)
    train(data, output_dir=tmp_path / "whole", steps=3)
    assert same(tmp_path / "whole", tmp_path / "run")


def test_a_locked_folder(tmp_path: Path, data: Path) -> None:
    (tmp_path / "run").mkdir()
    with lock(tmp_path / "run"), fails(Exit.LATER, "in use"):
        train(data, output_dir=tmp_path / "run", steps=2)


def test_a_loss_that_stays_infinite_ends_the_run(tmp_path: Path, data: Path) -> None:
    with fails(Exit.FAILED, "10 times in a row"):
        train(data, output_dir=tmp_path / "run", steps=50, lr=1e30)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"steps": 0}, "steps must be"),
        ({"images": -1}, "images must be"),
        ({"minutes": 0}, "minutes must be"),
        ({"minutes": math.nan}, "minutes must be"),
        ({"epochs": math.inf}, "epochs must be"),
        ({"steps": 5, "minutes": 1}, "steps and minutes cannot be used together"),
        ({"lr": 0}, "lr must be"),
        ({"lr": math.nan}, "lr must be"),
        ({"batch_size": 0}, "batch-size must be"),
        ({"label_dropout": 1.5}, "label-dropout must be from 0 to 1"),
        ({"target": "vv"}, "unknown target"),
        ({"dtype": "fp16"}, "fp16"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, data: Path, settings: dict[str, Any], says: str) -> None:
    with fails(Exit.USAGE, says):
        train(data, output_dir=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("target", ["eps", "x0", "v", "flow", "flow_rev", "edm"])
def test_every_target_trains_and_draws(tmp_path: Path, data: Path, target: str) -> None:
    done = train(data, output_dir=tmp_path / "run", steps=3, target=target)
    assert read_png(done.grid)[0].std() > 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    paths = {"flow": "flow", "flow_rev": "flow", "edm": "karras"}
    assert config["path"]["type"] == paths.get(target, "discrete_vp")


def test_killed_between_the_last_update_and_the_end(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(module, "_preview", dies)
        with pytest.raises(Killed):
            train(data, output_dir=tmp_path / "run", steps=3, preview_every=1000)
    done = train(data, output_dir=tmp_path / "run", steps=3, preview_every=1000)
    assert done.grid.name == "000000012.png"
    assert not done.finished_before


def test_killed_while_the_last_model_is_written(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is the last, the model the one before: the finished run must not keep the older."""
    inner = module.save_model

    def dies(folder: Path, config: dict[str, Any], weights: Any) -> None:
        if len(saved) == 2:
            raise Killed
        saved.append(folder)
        inner(folder, config, weights)

    saved: list[Path] = []
    settings: dict[str, Any] = {"steps": 6, "save_every": 8}
    train(data, output_dir=tmp_path / "whole", **settings)
    with monkeypatch.context() as broken:
        broken.setattr(module, "save_model", dies)
        with pytest.raises(Killed):
            train(data, output_dir=tmp_path / "run", **settings)
    train(data, output_dir=tmp_path / "run", **settings)
    assert same(tmp_path / "whole", tmp_path / "run")


def test_overwritten_by_a_run_that_dies_at_once(tmp_path: Path, data: Path) -> None:
    """What the old run left must never be taken for the new one's."""
    train(data, output_dir=tmp_path / "run", steps=5)
    with pytest.raises(Killed):
        train(data, output_dir=tmp_path / "run", steps=7, overwrite=True, track=dies_after(1))
    assert not train(data, output_dir=tmp_path / "run", steps=7).finished_before
    train(data, output_dir=tmp_path / "whole", steps=7)
    assert same(tmp_path / "whole", tmp_path / "run")


def test_a_log_that_was_cut_off(tmp_path: Path, data: Path) -> None:
    train(data, output_dir=tmp_path / "whole", steps=6)
    with pytest.raises(Killed):
        train(data, output_dir=tmp_path / "run", steps=6, save_every=4, track=dies_after(4))
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"finished": true, "quality": {"c2st": 0.5}')
    assert not train(data, output_dir=tmp_path / "run", steps=6, save_every=4).finished_before
    assert same(tmp_path / "whole", tmp_path / "run")


# --more: a finished run is trained further


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three steps."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "read_preset", lambda family, name: ROW)
        patch.setattr(module, "PREVIEW_PICTURES", 4)
        patch.setattr(module, "RAW_PICTURES", 2)
        patch.setattr(module, "DRAWING_STEPS", 2)
        return train(pictures_in(root / "data"), output_dir=root / "source", steps=3).folder


@pytest.fixture
def folder(tmp_path: Path, trained: Path) -> Path:
    """The same run in a folder of its own."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_finished_run_is_extended_again_and_again(data: Path, folder: Path) -> None:
    before = json.loads((folder / "config.json").read_text())["train"]
    for more, seen in (("18", 32), ("0.01k", 44)):
        done = train(data, output_dir=folder, more=more)
        assert (done.images, done.finished_before) == (seen, False)
        assert done.grid == folder / "samples" / f"{seen:09d}.png" and done.grid.exists()
    after = json.loads((folder / "config.json").read_text())["train"]
    extensions = [{"length": {"images": 18}, "after": 12}, {"length": {"images": 10}, "after": 32}]
    assert after == before | {"more": extensions, "images": 44}
    assert [line["step"] for line in runlog.updates_of(runlog.read_log(folder))] == list(range(1, 12))
    # the run's own command finds it finished
    again = train(data, output_dir=folder, steps=3)
    assert again.finished_before and again.images == 44


def test_an_extension_that_is_killed_is_resumed_and_not_made_twice(
    tmp_path: Path, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after it is in the config, and from a checkpoint of before the extension too."""
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    train(data, output_dir=whole, more="24", save_every=100)
    settings: dict[str, Any] = {"output_dir": folder, "more": "24", "save_every": 12, "preview_every": 16}

    def dies(*_: Any) -> None:
        raise Killed

    for owner, moment in ((driver.files, "write_json"), (driver, "resume")):
        with monkeypatch.context() as broken, pytest.raises(Killed):
            broken.setattr(owner, moment, dies)
            train(data, **settings)
    for step in (7, 8):
        with pytest.raises(Killed):
            train(data, track=dies_after(step), **settings)
        (folder / "last.safetensors").write_bytes(b"no")  # the previous one is that of three steps
    with fails(Exit.FILE, "has not finished --more 24 yet") as caught:
        train(data, output_dir=folder, more="28")
    assert "with --more 24" in caught.value.hint
    done = train(data, output_dir=folder, steps=3)  # the run's own command resumes too
    assert done.images == 36 and len(done.config["train"]["more"]) == 1
    assert same(whole, folder)
    assert [line["step"] for line in runlog.updates_of(runlog.read_log(folder))] == list(range(1, 10))


def test_minutes_more(data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(driver, "seconds_per_update", lambda *_: 1.0)
    # as many as in a run of half a minute, see above
    assert train(data, output_dir=folder, more="30s", track=clock.track).images == (3 + 22) * 4


def test_a_run_out_of_time_is_extended(tmp_path: Path, data: Path, slower: dict[str, Any]) -> None:
    before = train(data, output_dir=tmp_path / "run", **slower).config["train"]
    job = recipe.prepare(data, more="8")
    config, finished = module.check(job, tmp_path / "run", False)
    after = config["train"]
    assert after["more"] == [{"length": {"images": 8}, "after": 40, "planned": before["planned"]}]
    assert after["images"] == 48 and "planned" not in after and not finished
    # the rates of the first part are those that were planned for it
    assert learning_rate(after, 9) == learning_rate(before, 9) != learning_rate({**before, "planned": 48}, 9)


def test_there_is_nothing_to_extend(tmp_path: Path, data: Path, folder: Path) -> None:
    for name in ("new", "empty"):
        with fails(Exit.FILE, "there is no run in"):
            train(data, output_dir=tmp_path / name, more="2m")
        (tmp_path / "empty").mkdir(exist_ok=True)
    assert not (tmp_path / "new").exists()
    with fails(Exit.FILE, "--lr: 0.001 there, 0.5 here$") as caught:
        train(data, output_dir=folder, more="2m", lr=0.5)
    assert "repeat the options of the run" in caught.value.hint
    with fails(Exit.USAGE, "steps and more cannot be used together"):
        train(data, output_dir=folder, more="2m", steps=6)
    with fails(Exit.USAGE, "--more and --overwrite cannot be used together"):
        train(data, output_dir=folder, more="2m", overwrite=True)
    with fails(Exit.FILE, "--steps: 3 there, 4 here$") as caught:
        train(data, output_dir=folder, steps=4)
    assert "use --more AMOUNT" in caught.value.hint
    log_of = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(log_of[:-1]))
    with fails(Exit.FILE, "not finished yet") as caught:
        train(data, output_dir=folder, more="2m")
    assert "with --steps 3 in place of --more" in caught.value.hint
    (folder / "log.jsonl").write_text("".join(log_of))
    for name in ("last.safetensors", "previous.safetensors"):
        (folder / name).unlink(missing_ok=True)
    with fails(Exit.FILE, "no checkpoint to resume from") as caught:
        train(data, output_dir=folder, more="2m")
    assert f"--from {folder}" in caught.value.hint


def test_extensions_that_were_tampered_with(data: Path, folder: Path) -> None:
    whole = {"length": {"images": 8}, "after": 8}
    assert module.check(recipe.prepare(data, steps=3), folder, False)[1]
    values: list[Any] = [3, "8", {}, [3], [{}], [whole | {"after": 7}], [whole | {"after": 12}], [whole, whole]]
    values += [[whole | {"length": length}] for length in ({}, 3, {"years": 3}, {"minutes": -1}, {"images": "8"})]
    values += [[whole | {"planned": "x"}], [{"length": {"images": 8}}]]
    jobs = [recipe.prepare(data, **length) for length in ({"steps": 3}, {"more": "8"})]
    for value in values:
        changed(folder, "more", value)
        for job in jobs:
            with fails(Exit.FILE, "damaged"):
                module.check(job, folder, False)


# --from: a run begins with the weights of a model


def test_a_run_begins_with_the_averaged_weights_of_another(
    tmp_path: Path, data: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, inner = [], module.learn

    def learn(folder: Path, config: Any, trainee: Any, *args: Any, **named: Any) -> None:
        assert trainee.step == 0 and not trainee.optimizer.state
        states = (trainee.net.state_dict(), trainee.averaged())
        seen.extend({name: value.clone() for name, value in state.items()} for state in states)
        inner(folder, config, trainee, *args, **named)

    monkeypatch.setattr(module, "learn", learn)
    done = train(data, output_dir=tmp_path / "run", steps=2, init_from=trained)
    source = weights(trained)
    assert all(state.keys() == source.keys() for state in seen) and len(seen) == 2
    assert all(torch.equal(state[name], source[name]) for state in seen for name in source)
    assert done.config["train"]["init_from"] == {"name": "source", "sha256": open_model(trained).sha256}
    net, job = open_model(trained).net.requires_grad_(True), recipe.prepare(data, steps=2)
    task = module.Denoising(job.config, net, module.data_of(job.pictures, job.device))
    first = next(updates(module.Trainee(net, job.config["train"]), task, job.config["train"]))
    assert runlog.updates_of(runlog.read_log(done.folder))[0]["loss"] == first.loss


def test_a_run_from_a_model_resumes(tmp_path: Path, data: Path, trained: Path) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    train(data, output_dir=whole, steps=4, init_from=trained)
    with pytest.raises(Killed):
        train(data, output_dir=folder, steps=4, save_every=8, init_from=trained, track=dies_after(3))
    train(data, output_dir=folder, steps=4, init_from=str(trained))
    assert same(folder, whole)
    assert not same(folder, trained)
    with fails(Exit.FILE, "--from: source there, not given here$"):
        train(data, output_dir=folder, steps=4)
    with fails(
        Exit.FILE, "--from: source there, whole here; weights of --from: [0-9a-f]{12} there, [0-9a-f]{12} here$"
    ):
        train(data, output_dir=folder, steps=4, init_from=whole)
    with fails(Exit.FILE, "--from: not given there, whole here$"):
        train(data, output_dir=trained, steps=3, init_from=whole)
    with fails(Exit.USAGE, "holds the model that the run begins with"):
        train(data, output_dir=trained, steps=3, init_from=trained, overwrite=True)


def test_other_classes_leave_out_the_embedding_of_labels(data: Path, trained: Path) -> None:
    (data / "c").mkdir()
    (data / "a" / "0.png").rename(data / "c" / "0.png")
    job = recipe.prepare(data, steps=2, init_from=trained)
    known = weights(trained)
    assert job.weights is not None and known.keys() - job.weights.keys() == {"label.weight"}
    assert all(torch.equal(value, known[name]) for name, value in job.weights.items())


def test_a_network_with_another_dropout_begins_with_the_same_weights(data: Path, trained: Path) -> None:
    patched = {**ROW, "net": {**ROW["net"], "dropout": 0.5}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "read_preset", lambda family, name: patched)
        job = recipe.prepare(data, steps=2, init_from=trained)
    assert job.weights is not None and job.weights.keys() == weights(trained).keys()


def test_models_that_a_run_cannot_begin_with(tmp_path: Path, data: Path, folder: Path) -> None:
    def refused(model: Any, says: str, hint: str, **settings: Any) -> None:
        with fails(Exit.FILE, says) as caught:
            recipe.prepare(data, steps=1, init_from=model, **settings)
        assert hint in caught.value.hint

    refused(folder, "--target: v there, flow here$", "add --target v", target="flow")
    refused(folder, "--betas: cosine there, linear here$", "add --betas cosine", betas="linear")
    refused(folder, "--size: 9x6 there, 8x8 here$", "add --size 9x6", size=(8, 8))
    refused(folder, "--learned-range: no there, yes here$", "add --no-learned-range", learned_range=True)
    refused("digits", "does not fit this run: width of the network: 24 there, 8 here; ", "leave out --from")
    refused(tmp_path / "nothing", "is not a folder", "digits")
    (folder / "model_index.json").write_text("{}")
    refused(folder, "is a diffusers folder", "the folder of a run")
    (folder / "model_index.json").unlink()
    (folder / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    refused(folder, "is a diffusers folder", "the folder of a run")
