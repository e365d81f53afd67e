"""Averages of the weights that a run stores, and those of other widths that are combined from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from difftool.errors import DifftoolError, Exit
from difftool.files import load_tensors, save_tensors
from difftool.learning import driver, runlog
from difftool.models import AVERAGES, averages_of, open_model
from difftool.pixels.draw import sample
from difftool.pixels.plan import plan_samples_with
from difftool.train import previews, recipe, train
from difftool.train import run as module

pytestmark = pytest.mark.usefixtures("small_previews")
ROW = {
    "minutes": 1,
    "batch_size": 32,
    "lr": 1e-2,
    "target": "flow",
    "warmup": 0.1,
    "label_dropout": 0.1,
    "weight_decay": 0.01,
    "net": {"type": "mlp", "width": 16, "layers": 2},
}


def trained(folder: Path, steps: int | None, *, ema: float = 0.1, **settings: Any) -> Path:
    """A run on points whose own average has the width `ema`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "read_preset", lambda family, name: {**ROW, "ema": ema})
        patch.setattr(module, "is_measurable", lambda pictures: False)  # which takes longer than the training
        patch.setattr(runlog, "plot_curves", lambda path, *_: path.touch())
        return train("moons", output_dir=folder, steps=steps, **settings).folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that has stored averages."""
    return trained(tmp_path_factory.mktemp("run") / "run", 400, keep_averages=True)


def flat(weights: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([weights[name].double().flatten() for name in sorted(weights)])


def published(folder: Path) -> torch.Tensor:
    return flat(load_tensors(folder / "model.safetensors").tensors)


def combined(folder: Path, std: float) -> torch.Tensor:
    return flat(open_model(folder, ema=std).net.state_dict())


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_what_is_stored(run: Path) -> None:
    """Two widths at twenty moments; the last of the run's own width is its model, in half precision."""
    stored = averages_of(run)
    assert [(step, std) for _, step, std in stored] == [(k, std) for k in range(20, 401, 20) for std in (0.05, 0.1)]
    assert not {path.name for path in (run / AVERAGES).iterdir()} - {path.name for path, *_ in stored}
    last = load_tensors(stored[-1][0]).tensors
    assert all(value.dtype == torch.float16 for value in last.values())
    assert distance(flat(last), published(run)) < 5e-4


def test_a_width_that_was_stored(run: Path) -> None:
    for path, step, std in averages_of(run):
        if step == 400:
            assert distance(combined(run, std), flat(load_tensors(path).tensors)) < 1e-6


@pytest.mark.parametrize(("std", "most"), [(0.03, 0.2), (0.07, 0.01), (0.15, 0.02), (0.25, 0.1)])
def test_other_widths_are_those_of_a_run_with_that_average(run: Path, tmp_path: Path, std: float, most: float) -> None:
    """Trained side by side, with the average of that width as the run's own: the same weights, averaged otherwise. The
    distance is measured by that of the average of width 0.1. A narrow one has shares of both signs, which multiply the
    rounding."""
    beside = published(trained(tmp_path / "beside", 400, ema=std))
    assert distance(combined(run, std), beside) < 3e-4 + most * distance(published(run), beside)  # fp16, and the fit


class Killed(BaseException):
    """The process ends here."""


def dies_after(step: int) -> Any:
    def track(items: Any, total: int) -> Iterator[Any]:
        for item in items:
            yield item
            if item.step == step:
                raise Killed

    return track


def same(one: Path, other: Path) -> bool:
    stored, again = averages_of(one), averages_of(other)
    names = [path.name for path, *_ in stored] == [path.name for path, *_ in again]
    return names and all(a[0].read_bytes() == b[0].read_bytes() for a, b in zip(stored, again, strict=True))


def test_a_killed_run_stores_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "SNAPSHOTS", 4)
    whole = trained(tmp_path / "whole", 22, keep_averages=True)
    assert [step for _, step, _ in averages_of(whole)] == [6, 6, 11, 11, 17, 17, 22, 22]
    for step in (1, 7, 14, 20):
        with pytest.raises(Killed):
            trained(tmp_path / "run", 22, keep_averages=True, save_every=10 * 32, track=dies_after(step))
    # what lies behind the last state is not of this run until it is made again
    later = averages_of(tmp_path / "run")[-1][0]
    shutil.copy(later, later.with_name("000000021-0.1.safetensors"))
    resumed = trained(tmp_path / "run", 22, keep_averages=True, preview_every=100)
    assert same(whole, resumed)
    # an extension goes on with them
    for folder in (whole, resumed):
        trained(folder, None, more="320", keep_averages=True)
    assert [step for _, step, _ in averages_of(whole)][8::2] == [24, 32]
    assert same(whole, resumed)


def test_of_the_recipe_of_a_run(tmp_path: Path) -> None:
    """A run that began with or without them does not change on the way; one that takes its place removes them."""
    plain = trained(tmp_path / "plain", 3)
    assert not (plain / AVERAGES).exists()
    with pytest.raises(DifftoolError, match="contains another run: --keep-averages") as caught:
        trained(plain, 3, keep_averages=True)
    assert caught.value.code == Exit.FILE
    trained(plain, 3, keep_averages=True, overwrite=True)
    assert len(averages_of(plain)) == 6
    (plain / AVERAGES / "notes.txt").write_text("mine")
    trained(plain, 3, overwrite=True)
    assert [path.name for path in (plain / AVERAGES).iterdir()] == ["notes.txt"]
    assert AVERAGES in previews.layout().folders


def test_drawn_and_drawn_again(difftool: Callable, refused: Callable, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    drawn = {}
    for std in (None, 0.05, 0.07):
        args = [] if std is None else ["--ema", std]
        drawn[std] = difftool("sample", "run", "--count", 2, "--steps", 2, "--json", *args).json["data"]
        assert drawn[std]["settings"]["ema"] == std
    assert len({told["model"]["sha256"] for told in drawn.values()}) == 3
    picture = drawn[0.07]["outputs"][0]["path"]
    assert difftool("rerun", picture, "--json").json["data"]["identical"]
    (tmp_path / "run" / AVERAGES / "000000020-0.05.safetensors").unlink()
    refused(4, "rerun", picture, says="is not the model that made")
    assert difftool("runs", "rm", "run").code == 0
    assert not (tmp_path / "run").exists()


def test_an_evaluation_draws_with_them(difftool: Callable, run: Path) -> None:
    args = ("eval", run, "--data", "moons", "--count", 50, "--steps", 1, "--ema", 0.07)
    told = difftool(*args, "--json").json["data"]
    assert told["settings"]["ema"] == 0.07
    assert told["model"]["sha256"] == open_model(run, ema=0.07).sha256


def test_an_opened_model_is_what_it_is(run: Path) -> None:
    model = open_model(run, ema=0.05)
    assert plan_samples_with(model).settings.ema == 0.05
    assert sample(run, ema=0.05, count=1, steps=1).manifest["settings"]["ema"] == 0.05


def test_a_width_that_is_too_narrow_for_them(difftool: Callable, run: Path) -> None:
    told = difftool("sample", run, "--count", 1, "--steps", 1, "--ema", 0.01, "--json").json
    assert told["warnings"] == ["the stored averages give one of width 0.01 only roughly (off by 30%)"]
    assert not difftool("sample", run, "--count", 1, "--steps", 1, "--ema", 0.03, "--json").json["warnings"]


def test_refused(refused: Callable, run: Path, tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    model = tiny_model()
    for ref in (model, "digits"):
        refused(2, "sample", ref, "--ema", 0.05, says="train with --keep-averages, or leave out --ema")
    refused(2, "eval", "digits", "--ema", 0.05, says="needs stored averages")
    refused(4, "sample", "nowhere", "--ema", 0.05, says="nowhere is not a folder")
    for width in (0, -1, 0.29, "nan"):
        refused(2, "sample", run, "--ema", width, says="--ema must be above 0 and at most 0.28")
    refused(2, "sample", "--forward", "a.png", "--ema", 0.05, says="--ema")
    # damaged, and of another network
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    path = averages_of(copy)[3][0]
    path.write_bytes(path.read_bytes()[:-1])
    refused(4, "sample", copy, "--ema", 0.05, says=path.name)
    save_tensors(path, {"w": torch.zeros(2)})
    refused(4, "sample", copy, "--ema", 0.05, says="has a different architecture")
