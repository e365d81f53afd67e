from __future__ import annotations

import json
import os
import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from difftool.errors import DifftoolError, Exit
from difftool.pictures import plots
from difftool.pictures.images import rgb
from difftool.pictures.plots import colours_of, plot_compared, plot_curves, running_mean
from difftool.pictures.png import parameters, read_manifest, read_png, write_png
from difftool.pictures.sheets import GAP, image_grid, plot_points, to_pixels

# how the AUTOMATIC1111 web UI takes its line of parameters apart
A1111 = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def manifest(name: str = "digits", label: str | None = "3") -> dict:
    return {
        "versions": {"difftool": "0.1.0"},
        "settings": {"steps": 25, "sampler": "euler_a", "schedule": "karras", "guidance": 1.5, "seed": 7},
        "model": {"name": name, "sha256": "0123456789abcdef", "size": [6, 10]},
        "item": {"index": 2, "seed": 9, "label": label},
    }


def test_captions_of_any_folder(tmp_path: Path) -> None:
    """Names of folders may be no UTF-8, or look like formulas."""
    plots.plot_spectrograms(
        tmp_path / "a.png", [("a\udcff $b", np.zeros((4, 6, 1), np.uint8))], 0.1, [100, 200, 300, 400], {}
    )
    assert (tmp_path / "a.png").exists()


def test_to_pixels() -> None:
    x = torch.tensor([-2.0, -1.0, -1 + 1 / 127.5, 0.0, 1.0, 3.0]).reshape(1, 1, 2, 3)
    assert to_pixels(x)[0, :, :, 0].tolist() == [[0, 0, 1], [128, 255, 255]]


def test_all_tones_survive() -> None:
    tones = torch.arange(256)
    assert to_pixels((tones.float() / 127.5 - 1).reshape(1, 1, 16, 16)).flatten().tolist() == tones.tolist()


@pytest.mark.parametrize(
    ("n", "columns", "shape"), [(16, None, (4, 4)), (40, 10, (4, 10)), (3, None, (2, 2)), (1, None, (1, 1))]
)
def test_a_grid_shows_every_pixel(n: int, columns: int | None, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 6, 8, 3), dtype=np.uint8)
    sheet = image_grid(pixels, columns)
    rows, columns = shape
    factor = (sheet.shape[1] + GAP) // columns // 8
    assert sheet.shape == (rows * (6 * factor + GAP) - GAP, columns * (8 * factor + GAP) - GAP, 3)
    assert sheet.shape[1] >= 512
    for k in range(n):
        top, left = k // columns * (6 * factor + GAP), k % columns * (8 * factor + GAP)
        assert np.array_equal(sheet[top : top + 6 * factor : factor, left : left + 8 * factor : factor], pixels[k])


def test_large_pictures_are_not_enlarged() -> None:
    assert image_grid(np.zeros((4, 300, 300, 1), dtype=np.uint8)).shape == (602, 602, 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_and_its_settings_come_back(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, channels), dtype=np.uint8)
    write_png(tmp_path / "a.png", pixels, manifest(label="Ünïcode, 図"))
    found, text, settings = read_png(tmp_path / "a.png")
    assert np.array_equal(found, pixels)
    assert settings == manifest(label="Ünïcode, 図")
    assert text == parameters(manifest(label="Ünïcode, 図"))
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (10, 6)


@given(st.text(min_size=1).filter(str.strip))
def test_other_tools_read_the_parameters(name: str) -> None:
    """Values with commas, colons, quotes and line breaks survive the web UI's own rule."""
    name = " ".join(name.split(" ")).strip()
    label, line = parameters(manifest(name)).split("\n", 1)
    found = {key: json.loads(value) if value.startswith('"') else value for key, value in A1111.findall(line)}
    assert label == "3"
    assert found["Steps"] == "25"
    assert found["Sampler"] == "Euler a"
    assert found["Schedule type"] == "Karras"
    assert found["Seed"] == "9"
    assert found["Size"] == "10x6"
    assert found["Model hash"] == "0123456789"
    assert found["Model"] == name


def test_the_strength_of_noise_is_told_where_it_is_not_the_default() -> None:
    """`plus` is on, and so 1, but is no strength."""
    told = manifest()
    told["settings"] |= {"sampler": "euler_cfg_pp", "eta": 1.0}
    assert "Eta: 1.0," in parameters(told)
    told["settings"] |= {"sampler": "euler_a_cfg_pp"}
    assert "Eta" not in parameters(told)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n", None])
def test_no_picture(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DifftoolError) as caught:
        read_png(path)
    assert caught.value.code == Exit.FILE


def test_a_cut_off_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_png(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), manifest())
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DifftoolError) as caught:
        read_png(path)
    assert caught.value.code == Exit.FILE


def test_plot(tmp_path: Path) -> None:
    for losses in ([], [0.5], [1.0 / k for k in range(1, 200)]):
        curve = {"training": (list(range(len(losses))), losses)}
        for panels in ({"loss": curve}, {"loss": curve, "loss by noise": curve}):
            plot_curves(tmp_path / "loss.png", panels, "a run")
            with Image.open(tmp_path / "loss.png") as image:
                assert image.size == (960, 120 * (0.6 + 3.6 * len(panels)))


def test_plots_are_readable_at_400_pixels_and_on_any_ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No text is less than 11 pixels high at this width, none is cut off, and the ground is white."""
    seen = []

    def texts(figure: Figure, *_: object, **__: object) -> None:
        width, height = figure.canvas.get_width_height()
        figure.canvas.draw()
        for text in filter(Text.get_text, figure.findobj(Text)):
            seen.append(text.get_text())
            assert text.get_fontsize() / 72 * figure.dpi * 400 / width >= 11, text
        for text in [*figure.texts, *(axes.title for axes in figure.axes)]:
            box = text.get_window_extent()
            assert 0 <= box.x0 <= box.x1 <= width, text
            assert 0 <= box.y0 <= box.y1 <= height, text
        assert figure.get_facecolor() == (1, 1, 1, 1)

    monkeypatch.setattr(Figure, "savefig", texts)
    monkeypatch.setattr(plots, "replacing", nullcontext)
    curve = ([10_000.0, 20_000.0], [1234.5, 0.25])
    plot_curves(tmp_path / "loss.png", {"loss": {"training": curve}, "loss by noise": {"most noise": curve}}, "a run")
    assert {"training", "most noise", "loss by noise"} <= set(seen)
    blocks = [
        ("dpmpp_2m_sde polyexponential\n100 calls, 1234.5 ms\ndiversity 100%", np.zeros((2, 4, 8, 8, 1), np.uint8))
    ]
    for count in (1, 5):
        plot_compared(tmp_path / "c.png", count * blocks, "rows: starts; columns: draws with fresh noise in the steps")
    assert seen.count(blocks[0][0]) == 6


def test_a_colour_stands_for_one_label_in_all_panels() -> None:
    curve = ([1.0], [2.0])
    panels = {"a": {"ddim": curve, "heun": curve}, "b": {"unipc": curve, "heun": curve}}
    assert colours_of(panels) == {"ddim": 0, "heun": 1, "unipc": 2}


def test_a_running_mean_keeps_the_ends() -> None:
    assert running_mean([]) == []
    assert running_mean([3.0, 1.0]) == [3.0, 1.0]
    assert running_mean([float(k) for k in range(60)])[:2] == [0.5, 1.0]
    assert len(running_mean([1.0] * 1000)) == 1000


def test_points_lie_where_they_are_and_are_darker_where_more_lie() -> None:
    points = np.array([[0, 0], [255, 0], [255, 0], [128, 255]], dtype=np.uint8).reshape(-1, 1, 1, 2)
    plot = plot_points(points)
    assert plot.shape == (512, 512, 3)
    shades = [int(plot[row, column].sum()) for row, column in ((511, 0), (511, 511), (0, 256), (200, 200))]
    assert shades[3] == 3 * 255
    assert shades[1] < shades[0] == shades[2] < shades[3]


@pytest.mark.parametrize("name", ["a.png", "a.eps", "a.jpg"])
def test_no_program_is_started_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Pillow hands PostScript to Ghostscript, whatever its name."""
    (tmp_path / "gs").write_text(f'#!/bin/sh\ntouch "{tmp_path}/called"\n')
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    page = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / name).write_text(page)
    for reader in (read_png, read_manifest, rgb):
        with pytest.raises(DifftoolError) as caught:
            reader(tmp_path / name)
        assert caught.value.code == Exit.FILE
    assert not (tmp_path / "called").exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DifftoolError, match="not a regular file") as caught:
        read_png(tmp_path / "a.png")
    assert caught.value.code == Exit.FILE


def test_floats_are_read_by_what_they_mean(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    for k, values in enumerate((ramp, 255 * ramp, 2 * ramp - 1)):
        Image.fromarray(values).save(tmp_path / f"{k}.tif")
        found = np.asarray(rgb(tmp_path / f"{k}.tif"))[..., 0]
        assert np.abs(found - 255 * ramp).max() <= 1
