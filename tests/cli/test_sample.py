from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from difftool.core import SAMPLERS
from difftool.pictures.png import read_png


def test_the_grid_and_its_singles(difftool: Callable, tmp_path: Path) -> None:
    ended = difftool("sample", "--count", 20, "--steps", 2, "-o", "out/digits.png")
    assert ended.code == 0
    assert "20 pictures of digits" in ended.out
    assert "seed 0 to 19" in ended.out
    singles = [tmp_path / "out" / f"digits-{k:05d}-{k}.png" for k in range(20)]
    assert sorted((tmp_path / "out").iterdir()) == sorted([*singles, tmp_path / "out" / "digits.png"])
    with Image.open(singles[0]) as image:
        assert (image.size, image.mode) == ((8, 8), "L")
    with Image.open(tmp_path / "out" / "digits.png") as image:
        assert image.width >= 512
        assert image.width // 10 == pytest.approx(image.height // 2, abs=2)  # a column for each digit


def test_many_singles_do_not_litter_the_folder(difftool: Callable, tmp_path: Path) -> None:
    told = difftool("sample", "--count", 30, "--steps", 1, "-o", "digits.png", "--json").json["data"]
    assert {path.name for path in tmp_path.iterdir()} == {"digits.png", "digits-singles"}
    singles = [f"digits-singles/{k:05d}-{k}.png" for k in range(30)]
    assert [row["path"] for row in told["outputs"]] == singles
    assert all((tmp_path / single).is_file() for single in singles)
    assert difftool("rerun", singles[29], "-o", "single.png", "--json").json["data"]["identical"] is True
    again = difftool("rerun", "digits.png", "-o", "again.png", "--json").json["data"]
    assert again["identical"] is True and again["outputs"][29]["path"] == "again-singles/00029-29.png"


@pytest.mark.parametrize("place", [["-o", "out/grid.png"], ["--output-dir", "out"]])
def test_only_the_grid(difftool: Callable, tmp_path: Path, place: list[str]) -> None:
    command = ("sample", "--count", 3, "--seed", 5, "--steps", 1, "--grid-only", *place)
    dry = difftool(*command, "--dry-run", "--json").json["data"]
    assert dry["would_write"] == ["out/grid.png"]
    ended = difftool(*command, "--json")
    assert ended.code == 0, ended.err
    data = ended.json["data"]
    assert data["outputs"] == [{"path": "out/grid.png", "seed": 5}]
    assert data["grid"] == "out/grid.png"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["grid.png"]
    again = difftool("rerun", "out/grid.png", "-o", "again.png", "--grid-only", "-q")
    assert (again.code, again.out.split()) == (0, ["again.png"])
    assert "differ" not in again.err and not [*tmp_path.glob("again-*")]
    all_again = difftool("rerun", "out/grid.png", "-o", "all.png", "--json").json["data"]
    assert all_again["identical"] is True and len(all_again["outputs"]) == 3


def test_only_the_grid_of_one_picture_is_the_picture(difftool: Callable, tmp_path: Path) -> None:
    told = difftool("sample", "--count", 1, "--steps", 1, "--grid-only", "-o", "a.png", "--json").json["data"]
    assert (told["grid"], told["outputs"][0]["path"]) == (None, "a.png")
    assert read_png(tmp_path / "a.png")[0].shape == (8, 8, 1)


def test_the_default_folder(difftool: Callable, tmp_path: Path) -> None:
    ended = difftool("sample", "--steps", 1, "--seed", 7, "-q")
    paths = [Path(line) for line in ended.out.splitlines()]
    assert [path.name for path in paths] == [*(f"{k:05d}-{k + 7}.png" for k in range(16)), "grid.png"]
    assert paths[0].parts[:2] == ("outputs", "sample")
    assert all(path.exists() for path in paths)


def test_one_picture_has_no_grid(difftool: Callable, tmp_path: Path) -> None:
    told = difftool("sample", "--count", 1, "--steps", 1, "--output-dir", "d", "--json").json["data"]
    assert told["grid"] is None
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["00000-0.png"]
    difftool("sample", "--count", 1, "--steps", 1, "-o", "one.png")
    assert read_png(tmp_path / "one.png")[0].shape == (8, 8, 1)


def test_nothing_is_overwritten_unasked(difftool: Callable, refused: Callable, tmp_path: Path) -> None:
    assert difftool("sample", "--count", 2, "--steps", 1, "-o", "a.png").code == 0
    refused(4, "sample", "--count", 2, "--steps", 1, "-o", "a.png", says="exists already")
    (tmp_path / "a.png").unlink()
    refused(4, "sample", "--count", 2, "--steps", 1, "-o", "a.png", says="a-00000-0.png exists")
    before = (tmp_path / "a-00001-1.png").read_bytes()
    assert difftool("sample", "--count", 2, "--steps", 3, "-o", "a.png", "--overwrite").code == 0
    assert (tmp_path / "a-00001-1.png").read_bytes() != before


def test_dry_run_writes_nothing(difftool: Callable, tmp_path: Path) -> None:
    ended = difftool("sample", "--dry-run", "--sampler", "ddpm", "--count", 300, "--guidance", 2)
    assert ended.code == 0
    assert "would generate 300 pictures of digits" in ended.out
    assert f"{1000 * 2 * 2:,} network calls" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_half_and_low_vram(difftool: Callable) -> None:
    told = difftool("sample", "--dry-run", "--half", "--low-vram", "--json").json["data"]["settings"]
    assert (told["dtype"], told["batch_size"]) == ("fp16", 1)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_draws_the_same_picture(difftool: Callable, tmp_path: Path, dtype: str) -> None:
    assert difftool("sample", "--count", 4, "--dtype", dtype, "--output-dir", "half").code == 0
    assert difftool("sample", "--count", 4, "--output-dir", "full").code == 0
    for path in (tmp_path / "full").glob("0*.png"):
        half, full = (read_png(tmp_path / folder / path.name)[0].astype(float) for folder in ("half", "full"))
        assert np.sqrt(((half - full) ** 2).mean()) < 12


def test_a_model_folder(difftool: Callable, tiny_model: Callable[..., Path]) -> None:
    told = difftool("sample", tiny_model(channels=4), "--steps", 1, "--count", 2, "--label", "b", "--json").json["data"]
    assert told["model"]["name"] == "tiny"
    assert [(output["label"], output["width"], output["height"]) for output in told["outputs"]] == [("b", 10, 6)] * 2


def test_a_sampler_by_the_name_others_give_it(difftool: Callable, tiny_model: Callable[..., Path]) -> None:
    def settings(*args: str) -> dict:
        told = difftool("sample", "--dry-run", "--json", *args).json["data"]
        return {key: told["settings"][key] for key in ("sampler", "schedule", "steps", "eta")}

    assert settings("--sampler", "DPM++ 2M Karras", "--steps", "7") == {
        "sampler": "dpmpp_2m",
        "schedule": "karras",
        "steps": 7,
        "eta": None,
    }
    assert settings("--sampler", "EulerAncestralDiscreteScheduler")["sampler"] == "euler_a"
    assert settings("--sampler", "dpmpp-2m", "--schedule", "SGM Uniform")["schedule"] == "sgm_uniform"
    assert settings("--sampler", "DPM++ 2M Karras", "--schedule", "exponential")["schedule"] == "exponential"
    assert settings("--sampler", "dpmpp_2s")["eta"] == 0
    assert settings("--sampler", "lcm")["steps"] == 4
    assert settings("--sampler", "dpmpp_2m_sde")["eta"] == 1
    folder = str(tiny_model())
    assert settings(folder, "--schedule", "all")["steps"] == settings(folder, "--sampler", "ddpm")["steps"] == 1000


@pytest.mark.parametrize(("sampler", "calls"), [("heun", 13), ("dpm2", 13), ("pndm", 16), ("unipc", 7), ("ddim", 7)])
def test_calls_of_the_network_are_counted(difftool: Callable, sampler: str, calls: int) -> None:
    args = ("sample", "--sampler", sampler, "--steps", 7, "--count", 2)
    assert difftool(*args, "--dry-run", "--json").json["data"]["needs"]["network_calls"] == calls
    told = difftool(*args, "-o", "a.png", "--json").json
    assert read_png(Path(told["data"]["grid"]))[2]["network_calls"] == calls  # type: ignore[index]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_and_draws_again(difftool: Callable, tiny_model: Callable[..., Path], sampler: str) -> None:
    folder = tiny_model()
    assert difftool("sample", folder, "--sampler", sampler, "--steps", 6, "--count", 2, "-o", "a.png").code == 0
    assert difftool("rerun", "a-00001-1.png", "-o", "b.png", "--json").json["data"]["identical"] is True
    assert f"Sampler: {SAMPLERS[sampler].title}" in difftool("meta", "a.png").out


def test_the_way_there(difftool: Callable, tmp_path: Path) -> None:
    ended = difftool("sample", "--count", 6, "--steps", 30, "--trajectory", "-o", "a.png")
    assert "trajectory (" in ended.out
    strip, _, manifest = read_png(tmp_path / "a-trajectory.png")
    assert manifest is not None
    rows, columns = 4 * 2, 11
    factor = (strip.shape[1] + 2) // columns // 8
    assert strip.shape[0] == rows * (8 * factor + 2) - 2
    last = strip[: 8 * factor : factor, -8 * factor :: factor]
    assert np.array_equal(last, read_png(tmp_path / "a-00000-0.png")[0])  # the state ends in the picture
    with Image.open(tmp_path / "a-trajectory.gif") as animation:
        assert animation.n_frames == 31  # type: ignore[attr-defined]
        animation.seek(30)
        assert np.array_equal(np.asarray(animation.convert("L")), read_png(tmp_path / "a.png")[0].squeeze(2))
    told = difftool("sample", "--count", 1, "--steps", 2, "--trajectory", "--output-dir", "d", "--json").json["data"]
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [
        "00000-0.png",
        "trajectory.gif",
        "trajectory.png",
    ]
    assert [Path(path).name for path in told["trajectory"]] == ["trajectory.png", "trajectory.gif"]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_the_way_there_in_colour(difftool: Callable, tiny_model: Callable[..., Path], channels: int) -> None:
    folder = tiny_model(channels=channels)
    assert difftool("sample", folder, "--steps", 3, "--count", 2, "--trajectory", "-o", "a.png").code == 0


def test_a_strip_is_no_picture_to_make_again(difftool: Callable, refused: Callable) -> None:
    assert difftool("sample", "--steps", 2, "--count", 2, "--trajectory", "-o", "a.png").code == 0
    refused(4, "rerun", "a-trajectory.png", says="that this version cannot rerun")


def test_figures_heed_no_settings_of_the_caller(
    difftool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("sample", "--compare", "ddim,euler_a", "--steps", 2, "--count", 2)
    assert difftool(*args, "-o", "a.png").code == 0
    (tmp_path / "matplotlibrc").write_text("savefig.dpi: 20\nfigure.facecolor: red\nfont.size: nonsense\n")
    code = "from difftool.cli.app import main; import sys; sys.exit(main(sys.argv[1:]))"
    env = {**os.environ, "HOME": "/proc/none", "MPLCONFIGDIR": "/proc/none"}
    command = [sys.executable, "-c", code, *map(str, args), "-q", "-o", "b.png"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_png(tmp_path / "a.png")[0].shape == read_png(tmp_path / "b.png")[0].shape
    assert (read_png(tmp_path / "b.png")[0][0, 0] == 255).all()


def test_compare(difftool: Callable, tmp_path: Path) -> None:
    ended = difftool("sample", "--compare", "DDPM,ddim,heun", "--steps", 5, "-o", "c.png")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert [line.split()[:3] for line in lines[1:4]] == [["ddpm", "5", "5"], ["ddim", "5", "5"], ["heun", "5", "9"]]
    assert lines[4] == "c.png"
    assert read_png(tmp_path / "c.png")[0].shape[1] > 700
    manifest = difftool("meta", "c.png", "--json").json["data"]["manifest"]
    assert [row["sampler"] for row in manifest["compared"]] == ["ddpm", "ddim", "heun"]
    assert "sampler" not in manifest["settings"]
    told = difftool("sample", "--compare", "ddpm,ddim", "--steps", 5, "--output-dir", "d", "--json").json["data"]
    assert told["outputs"] == [{"path": "d/compare.png"}]
    ddpm, ddim = told["compared"]
    assert ddpm["diversity"] > 0.1
    assert ddim["diversity"] == 0
    assert ddpm["reproduced"]
    assert ddim["reproduced"]
    assert told["settings"]["count"] == 4


def test_compare_one_sampler_on_two_schedules(difftool: Callable, tiny_model: Callable[..., Path]) -> None:
    names = "dpmpp_2m, DPM++ 2M Karras, dpmpp_2s, DPM++ 2S a"
    told = difftool("sample", tiny_model(), "--compare", names, "--steps", 3, "--count", 2, "--json").json["data"]
    rows = [[row[key] for key in ("name", "sampler", "schedule", "eta")] for row in told["compared"]]
    assert rows == [
        ["dpmpp_2m", "dpmpp_2m", "trailing", None],
        ["dpmpp_2m karras", "dpmpp_2m", "karras", None],
        ["dpmpp_2s_a eta 0", "dpmpp_2s_a", "trailing", 0.0],
        ["dpmpp_2s_a", "dpmpp_2s_a", "trailing", 1.0],
    ]


def test_a_prediction_of_the_noise_cannot_start_at_pure_noise(
    difftool: Callable, refused: Callable, tiny_model: Callable[..., Path]
) -> None:
    folder = tiny_model(target="eps")
    config = json.loads((folder / "config.json").read_text())
    config["path"]["zero_snr"] = True
    (folder / "config.json").write_text(json.dumps(config))
    refused(2, "sample", folder, says="--schedule leading")
    assert difftool("sample", folder, "--schedule", "leading", "--steps", 3, "--count", 1).code == 0


def test_compare_dry(difftool: Callable, tmp_path: Path) -> None:
    ended = difftool("sample", "--compare", "heun,ddim", "--dry-run")
    assert "heun (49 network calls), ddim (25" in ended.out
    assert list(tmp_path.iterdir()) == []


class TestWrongInput:
    """What ../bad-input.md of the design lists, for sample."""

    @pytest.mark.parametrize(
        ("args", "code", "says"),
        [
            (["--label", "12"], 2, "unknown label '12'"),
            (["--guidance", "2", "--label", "any"], 2, "no labels for guidance"),
            (["--half", "--dtype", "bf16"], 2, "cannot be used together"),
            (["--device", "tpu"], 2, "unknown device"),
            (["--dtype", "fp8"], 2, "unknown dtype 'fp8'; did you mean"),
            (["-o", "a.jpg"], 2, "PNG"),
            (["-o", "a"], 2, "PNG"),
            (["-o", "a.png", "--output-dir", "b"], 2, "cannot be used together"),
            (["--low-vram", "--batch-size", "4"], 2, "cannot be used together"),
            (["--guidance", "nan"], 2, "guidance"),
            (["--guidance", "inf"], 2, "guidance"),
            (["--eta", "nan"], 2, "eta"),
            (["--eta", "2"], 2, "eta"),
            (["--sampler", "DPM fast"], 2, "nearest is 'dpmpp_2s_a'"),
            (["--sampler", "TCD"], 2, "nearest is 'lcm'"),
            (["--sampler", "eulr"], 2, "did you mean 'euler'"),
            (["--sampler", ""], 2, "unknown sampler"),
            (["--schedule", "Align Your Steps GITS"], 2, "nearest is 'gits'"),
            (["--schedule", "karas"], 2, "did you mean 'karras'"),
            (["--schedule", "ays"], 2, "Stable Diffusion"),
            (["--schedule", "epss"], 2, "5, 6, 7, 10, 12, 16"),
            (["--schedule", "all", "--steps", "10"], 2, "discrete path"),
            (["--sampler", "heun", "--eta", "0.5"], 2, "heun does not use eta"),
            (["--compare", "ddim,tcd"], 2, "nearest is 'lcm'"),
            (["--compare", ""], 2, "unknown sampler"),
            (["--compare", "ddim,,ddpm"], 2, "unknown sampler"),
            (["--compare", "ddim,DDIM"], 2, "--compare lists ddim twice"),
            (["--compare", "ddim", "--count", "1"], 2, "--compare needs a --count of at least 2"),
            (["--compare", "ddim", "--count", "1", "--dry-run"], 2, "--compare needs a --count of at least 2"),
            (["--compare", "ddim,ddpm", "--sampler", "heun"], 2, "cannot be used together"),
            (["--compare", "ddim,ddpm", "--trajectory"], 2, "cannot be used together"),
            (["--compare", "ddim,ddpm", "-o", "a.jpg"], 2, "PNG"),
            (["--compare", "ddim,ddpm", "-o", "."], 4, "is a folder"),
            (["--count", "1000000000"], 2, "--count"),
            (["--steps", "1000000000"], 2, "--steps"),
            (["--threads", "1000000"], 2, "--threads"),
            (["--batch-size", "1" + "0" * 400], 2, "--batch-size"),
            ([""], 2, "model name is empty"),
            (["-o", "."], 4, "is a folder"),
            (["-o", ""], 4, "is a folder"),
            (["--threads", "0"], 2, "--threads"),
            (["nothing/here"], 4, "nothing/here"),
            (["runwayml/stable-diffusion"], 4, "in the store"),
            (["digitz"], 4, "did you mean digits"),
        ],
    )
    def test_command_lines(self, refused: Callable, args: list[str], code: int, says: str) -> None:
        refused(code, "sample", *args, says=says)
        refused(code, "sample", *args, "--json", says=says)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
    def test_no_gpu(self, refused: Callable) -> None:
        refused(3, "sample", "--device", "cuda", says="cuda")
        refused(3, "sample", "--device", "cuda:1", says="cuda:1")

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("model.safetensors", None),
            ("model.safetensors", b""),
            ("model.safetensors", b"<!DOCTYPE html><html><body>404</body></html>"),
            ("model.safetensors", b"\x80\x04\x95pickle"),
            ("model.safetensors", "cut"),
            ("model.safetensors", "flip"),
            ("config.json", None),
            ("config.json", b""),
            ("config.json", b"{"),
            ("config.json", b"[]"),
            ("config.json", b"{}"),
        ],
    )
    def test_damaged_models(
        self, refused: Callable, tiny_model: Callable[..., Path], name: str, content: bytes | str | None
    ) -> None:
        file = tiny_model() / name
        good = file.read_bytes()
        if content is None:
            file.unlink()
        else:
            flipped = good[:-40] + bytes([good[-40] ^ 4]) + good[-39:]
            file.write_bytes({"cut": good[:-100], "flip": flipped}.get(content, content))  # type: ignore[call-overload]
        refused(4, "sample", "tiny", "--steps", 1)

    def test_a_model_of_another_architecture(self, refused: Callable, tiny_model: Callable[..., Path]) -> None:
        folder, other = tiny_model(), tiny_model("other", channels=3)
        shutil.copy(other / "model.safetensors", folder)
        refused(4, "sample", folder, says="a different architecture")

    def test_files_for_folders(self, refused: Callable, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "grid.png").mkdir()
        refused(4, "sample", "file", says="is a file")
        refused(4, "sample", "--output-dir", "file", says="cannot write")
        refused(4, "sample", "-o", "grid.png", says="is a folder")
        (tmp_path / "empty").mkdir()
        refused(4, "sample", "empty", says="config.json")

    def test_a_pickle_is_not_opened(self, refused: Callable, tmp_path: Path) -> None:
        folder = tmp_path / "old"
        folder.mkdir()
        (folder / "config.json").write_text(
            json.dumps({"_class_name": "UNet2DModel", "in_channels": 1, "out_channels": 1})
        )
        torch.save({"a": torch.zeros(1)}, folder / "diffusion_pytorch_model.bin")
        refused(4, "sample", "old", says="safetensors")


def test_the_list_of_samplers_names_their_methods(difftool: Callable) -> None:
    rows = difftool("sample", "--list-samplers", "--json").json["data"]["samplers"]
    methods = {name: rows[name]["method"] for name in ("heun", "dpm2", "dpm2_a", "lms", "pndm", "ddim")}
    assert methods == {
        "heun": "heun",
        "dpm2": "dpm2",
        "dpm2_a": "dpm2",
        "lms": "lms",
        "pndm": "pndm",
        "ddim": "first_order",
    }
