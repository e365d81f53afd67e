"""A picture on its way into noise, and the list of schedules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from difftool.core import CLEAN, START, DiscreteVP, Noise, betas, grid
from difftool.pictures.png import read_png
from difftool.pictures.sheets import strip, to_pixels
from difftool.pixels.forward import LONGEST, noised, plan_forward
from difftool.pixels.settings import ForwardSettings

Make = Callable[..., Path]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    rows = np.linspace(0, 255, 30).astype(np.uint8)[:, None].repeat(50, 1)
    Image.fromarray(np.stack([rows, rows[::-1], rows], 2)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_each_frame_is_data_and_noise(difftool: Callable, photo: Path, tiny_model: Make) -> None:
    """x = alpha * x0 + sigma * eps, with the noise of the seed and the levels of the model's path."""
    tiny = tiny_model()
    ended = difftool("sample", tiny, "--forward", photo, "--steps", 10, "--seed", 7, "-o", "f.png", "--json")
    data = ended.json["data"]
    assert [row["path"] for row in data["outputs"]] == ["f.png", "f.gif"]
    levels = grid(DiscreteVP(betas("cosine")), 10)[::-1]
    assert levels[0] == CLEAN
    assert [row["sigma"] for row in data["levels"]] == [level.sigma for level in levels]
    plan = plan_forward(ForwardSettings(photo, tiny, 10, seed=7))
    channels, height, width = plan.model.shape
    assert plan.x0.shape == (1, channels, height, width)
    eps = Noise([7], (channels, height, width))(START)
    frames = [to_pixels(level.alpha * plan.x0 + level.sigma * eps) for level in levels]
    pixels, parameters, manifest = read_png(Path("f.png"))
    assert np.array_equal(pixels, strip(frames))
    assert parameters is None and manifest is not None
    assert manifest["command"] == "sample --forward"
    assert manifest["settings"] == {**manifest["settings"], "steps": 10, "schedule": "trailing", "seed": 7}
    with Image.open("f.gif") as animation:
        assert animation.n_frames == 11
        assert json.loads(animation.info["comment"])["settings"]["seed"] == 7


def test_a_picture_keeps_its_own_size_without_a_model(photo: Path) -> None:
    assert plan_forward(ForwardSettings(photo)).x0.shape == (1, 3, 30, 50)
    Image.new("RGBA", (600, 300)).save(photo)
    plan = plan_forward(ForwardSettings(photo))
    assert plan.x0.shape == (1, 3, LONGEST // 2, LONGEST)
    assert torch.equal(plan.x0, torch.ones_like(plan.x0))  # transparent is white
    assert len(plan.levels) == 51


def test_a_line_is_not_enlarged_without_limit(difftool: Callable, photo: Path) -> None:
    Image.new("RGB", (1, 900)).save(photo)
    assert difftool("sample", "--forward", photo, "--steps", 2, "-o", "f.png").code == 0
    with Image.open("f.gif") as animation:
        assert animation.size == (128, 128 * LONGEST)


def test_at_most_as_many_frames_as_a_trajectory(photo: Path) -> None:
    from difftool.outputs import Places

    done = noised(plan_forward(ForwardSettings(photo, steps=500)), Places([], None, []))
    assert len(done.frames) == len(done.levels) == 51
    assert done.levels[0] == CLEAN and done.levels[-1].sigma == 1


def test_it_is_made_again(difftool: Callable, photo: Path) -> None:
    assert difftool("sample", "--forward", photo, "--schedule", "simple", "--steps", 4, "-o", "f.png").code == 0
    again = difftool("rerun", "f.png", "-o", "again.png", "--json").json["data"]
    assert again["identical"] is True and again["versions_changed"] == {}
    with Image.open("f.gif") as first, Image.open("again.gif") as second:
        assert first.n_frames == second.n_frames == 5
        assert first.tobytes() == second.tobytes()
    dry = difftool("rerun", "f.png", "-o", "other.png", "--dry-run", "--json").json["data"]
    assert dry["would_write"] == ["other.png", "other.gif"] and not Path("other.png").exists()
    Image.new("RGB", (50, 30)).save(photo)
    changed = difftool("rerun", "f.png", "-o", "changed.png", "--json").json["data"]
    assert changed["identical"] is False and len(changed["versions_changed"]) == 1


@pytest.mark.parametrize(
    ("code", "args", "says"),
    [
        (4, ["--forward", "none.png"], "none.png does not exist"),
        (4, ["--forward", "."], "not a regular file"),
        (4, ["--forward", "text.png"], "not a valid picture"),
        (4, ["--forward", "cut.png"], "cannot read cut.png"),
        (4, ["shapes", "--forward", "photo.png"], "shapes is not a folder"),
        (2, ["points", "--forward", "photo.png"], "does not draw pictures"),
        (2, ["--forward", "photo.png", "--compare", "ddim,ddpm"], "cannot be used together"),
        (2, ["--forward", "photo.png", "--trajectory"], "cannot be used together"),
        (2, ["--forward", "photo.png", "--sampler", "ddim"], "cannot be used together"),
        (2, ["--forward", "photo.png", "--guidance", 2], "cannot be used together"),
        (2, ["--forward", "photo.png", "--count", 2], "cannot be used together"),
        (2, ["--forward", "photo.png", "--guidance-mode", "apg"], "cannot be used together"),
        (2, ["--forward", "photo.png", "--churn", 2], "cannot be used together"),
        (2, ["--forward", "photo.png", "--list-schedules"], "cannot be used together"),
        (2, ["--forward", "photo.png", "--schedule", "trailling"], "did you mean 'trailing'"),
        (2, ["--forward", "photo.png", "--schedule", "lu"], "pure noise"),
        (2, ["--forward", "photo.png", "--steps", 0], "steps"),
        (2, ["--forward", "photo.png", "-o", "f.jpg"], "pictures are written as PNG"),
        (4, ["--forward", "photo.png", "-o", "photo.png"], "photo.png"),
    ],
)
def test_wrong_input(refused: Callable, photo: Path, tiny_model: Make, code: int, args: list, says: str) -> None:
    Path("text.png").write_text("no picture")
    Path("cut.png").write_bytes(photo.read_bytes()[:100])
    if "points" in args:
        folder = tiny_model("points", channels=2)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "size": [1, 1]}))
        args = [folder if arg == "points" else arg for arg in args]
    refused(code, "sample", *args, says=says)


def test_schedules_are_listed(difftool: Callable, tiny_model: Make) -> None:
    data = difftool("sample", "--list-schedules", "--json").json["data"]
    rows = data["schedules"]
    assert (data["model"], data["steps"]) == ("digits", 25)
    assert [name for name, row in rows.items() if row["default"]] == ["trailing"]
    assert rows["trailing"]["steps"] == 25 and rows["trailing"]["error"] is None
    assert "pure noise" in rows["lu"]["error"] and rows["lu"]["steps"] is None
    tiny = tiny_model()
    listed = difftool("sample", tiny, "--list-schedules", "--steps", 13)
    assert "* trailing " in listed.out and "- gits " in listed.out and "  lu " in listed.out
    names = difftool("sample", "--list-schedules", "-q").out.split()
    assert names == [*rows]
    own = difftool("sample", tiny, "--list-schedules", "--steps", 13, "--json").json["data"]["schedules"]
    assert own["ddim_uniform"]["steps"] == 14


def test_schedules_are_plotted(difftool: Callable, refused: Callable, tiny_model: Make) -> None:
    line = ("sample", tiny_model(), "--list-schedules", "--plot")
    plotted = difftool(*line, "--schedule", "Simple,karras,beta66", "--steps", 5, "-o", "s.png", "--json")
    assert plotted.json["data"]["outputs"] == [{"path": "s.png"}]
    with Image.open("s.png") as image:
        assert image.width == 960
        assert json.loads(image.text["difftool"])["settings"]["schedule"] == "simple,karras,beta66"  # type: ignore[attr-defined]
    assert difftool(*line, "-o", "own.png", "-q").out == "own.png\n"
    dry = difftool(*line, "-o", "dry.png", "--dry-run", "--json").json["data"]
    assert dry["would_write"] == ["dry.png"] and not Path("dry.png").exists()
    refused(2, *line, "--schedule", "epss", "--steps", 25, says="epss has tables")
    refused(2, *line, "--schedule", "simple,karas", says="did you mean 'karras'")
    refused(2, *line, "--schedule", ",".join([*"abc"]), says="unknown schedule 'a'")
    refused(2, *line, "-o", "s.jpg", says="PNG")
    refused(4, *line, "-o", "s.png", says="s.png")
    refused(2, "sample", "--list-schedules", "--steps", 10_001, says="at most 10,000 steps")
    refused(2, "sample", "--plot", says="--plot needs --list-schedules")
    refused(2, "sample", "--schedule", "simple,karras", "-o", "x.png", says="unknown schedule 'simple,karras'")
