from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from difftool.errors import DifftoolError, Exit
from difftool.pictures.images import formats
from difftool.train.data.pictures import Pictures, digits, load

RNG = np.random.default_rng(0)


pytestmark = pytest.mark.usefixtures("own_cache")


def folder(path: Path) -> Pictures:
    return load(str(path))


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (12, 10), **save: object) -> Image.Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = RNG.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    image = Image.fromarray(values)
    image = image.convert("RGB").convert("P") if mode == "P" else image.convert(mode)
    image.save(path, **save)  # type: ignore[arg-type]
    return image


def test_digits_are_split_as_they_always_were() -> None:
    from sklearn.datasets import load_digits

    data = digits()
    order = np.random.RandomState(0).permutation(1797)
    whole = load_digits()
    assert data.pixels.shape == (1297, 8, 8, 1)
    assert np.array_equal(np.round(data.pixels[:, :, :, 0] * (16 / 255)), whole.images[order[500:]])
    assert data.held_out is not None
    assert np.array_equal(np.round(data.held_out.pixels[:, :, :, 0] * (16 / 255)), whole.images[order[:500]])
    assert data.labels is not None
    assert np.array_equal(data.labels, whole.target[order[500:]])


@pytest.mark.parametrize(
    ("modes", "channels"),
    [
        (["L"], 1),
        (["1", "L"], 1),
        (["RGB"], 3),
        (["L", "RGB"], 3),
        (["RGBA", "RGB"], 4),
        (["LA"], 2),
        (["P"], 3),
        (["CMYK"], 3),
    ],
)
def test_channels_are_what_the_pictures_need(tmp_path: Path, modes: list[str], channels: int) -> None:
    for k, mode in enumerate(modes):
        picture(tmp_path / f"{k}.{'tif' if mode == 'CMYK' else 'png'}", mode)
    assert folder(tmp_path).pixels.shape == (len(modes), 10, 12, channels)


def test_pixels_are_unchanged_where_nothing_is_to_do(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "RGBA", "LA"):
        image = picture(tmp_path / mode / "a.png", mode)
        expected = np.asarray(image)
        found = folder(tmp_path / mode).pixels[0]
        assert np.array_equal(found, expected if expected.ndim == 3 else expected[..., None])


def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 100, dtype=np.uint16).reshape(10, 10)
    Image.fromarray(values).save(tmp_path / "a.png")
    found = folder(tmp_path).pixels[0, :, :, 0]
    assert np.abs(found - values / 257).max() <= 0.5


def saved(path: Path, *values: np.ndarray[Any, Any]) -> Path:
    path.mkdir(exist_ok=True)
    for k, one in enumerate(values):
        Image.fromarray(one).save(path / f"{k}.tif")
    return path


def test_what_the_values_of_deep_pictures_mean_is_said_by_all_of_them(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    grey = (ramp * 255).round().astype(int)
    assert np.array_equal(folder(saved(tmp_path / "unit", ramp)).pixels[0, :, :, 0], grey)
    both = folder(saved(tmp_path / "signed", 2 * ramp - 1, ramp)).pixels[..., 0]
    assert np.abs(both - np.stack([grey, 127.5 + grey / 2])).max() <= 1
    dark = folder(saved(tmp_path / "bytes", 255 * ramp, ramp)).pixels[..., 0]
    assert np.array_equal(dark, np.stack([grey, ramp.round().astype(int)]))
    deep = np.arange(100, dtype=np.uint16).reshape(10, 10)
    found = folder(saved(tmp_path / "sixteen", deep * 600, deep)).pixels[..., 0]
    assert np.array_equal(found[1], (deep / 257).round())


def test_deep_pictures_of_no_meaning_are_left_out(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    data = folder(saved(tmp_path, ramp, ramp * np.nan, ramp * 1e9))
    assert len(data.pixels) == 1
    assert [line.split(" from")[0] for line in data.skipped] == [
        "1.tif: its values are not all finite",
        "2.tif: values",
    ]


def test_pictures_of_zeros_and_ones(tmp_path: Path) -> None:
    masks = [RNG.integers(0, 2, (9, 9), dtype=np.uint8) for _ in range(3)]
    data = folder(saved(tmp_path / "a", *masks))
    assert np.array_equal(data.pixels[..., 0], 255 * np.stack(masks))
    assert data.notes == ("values 0 and 1, read as black and white",)
    data = folder(saved(tmp_path / "b", *(9 * mask for mask in masks)))
    assert data.pixels.max() == 9
    assert data.notes == ("the pictures are nearly black: the highest value is 9 of 255",)


@pytest.mark.parametrize(("suffix", "kind"), [("png", np.uint8), ("png", np.uint16), ("tif", np.float32)])
def test_masks_beside_a_picture_of_another_measure_are_told(tmp_path: Path, suffix: str, kind: Any) -> None:
    for k in range(3):
        Image.fromarray(RNG.integers(0, 2, (6, 6)).astype(kind)).save(tmp_path / f"{k}.{suffix}")
    Image.fromarray(np.full((6, 6), np.iinfo(np.uint16 if kind == np.uint16 else np.uint8).max, kind)).save(
        tmp_path / f"x.{suffix}"
    )
    (note,) = folder(tmp_path).notes
    assert f"3 pictures (0.{suffix}, 1.{suffix}, 2.{suffix}) nearly black" in note


def test_a_deep_picture_without_a_meaning_beside_others_is_skipped(tmp_path: Path) -> None:
    picture(tmp_path / "0.png")
    Image.fromarray(np.linspace(-9, 9, 36, dtype=np.float32).reshape(6, 6)).save(tmp_path / "depth.tif")
    data = folder(tmp_path)
    assert len(data.pixels) == 1
    assert data.skipped == ("depth.tif: values from -9 to 9",)


def test_deep_pictures_of_zeros_and_ones_are_told(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 2, (6, 6)).astype(np.uint16)).save(tmp_path / "0.png")
    data = folder(tmp_path)
    assert {*np.unique(data.pixels)} == {0, 255}
    assert data.notes == ("values 0 and 1, read as black and white",)


def test_of_several_frames_the_first_is_taken(tmp_path: Path) -> None:
    frames = [Image.fromarray(RNG.integers(0, 256, (6, 6), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    data = folder(tmp_path)
    assert np.array_equal(data.pixels[0, :, :, 0], np.asarray(frames[0]))
    assert data.notes == ("1 picture (a.tif) with several frames: only the first is used",)


def test_a_share_to_hold_out_is_heeded_or_refused(tmp_path: Path) -> None:
    for k in range(20):
        picture(tmp_path / f"{k}.png")
    held = load(str(tmp_path), held_out=0.3).held_out
    assert held is not None
    assert len(held.pixels) == 6
    assert load(str(tmp_path)).held_out is None
    for source, share, says in ((str(tmp_path), 0.01, "less than one"), ("digits", 0.1, "fixed held-out part")):
        with pytest.raises(DifftoolError, match=says) as caught:
            load(source, held_out=share)
        assert caught.value.code == Exit.USAGE


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 1), 1)
    image.save(tmp_path / "a.gif", transparency=1)
    found = folder(tmp_path).pixels
    assert found.shape == (1, 4, 4, 4)
    assert (found[0, :, :, 3] == 0).sum() == 1


def test_an_alpha_that_is_opaque_is_none(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", "RGB")
    image.convert("RGBA").save(tmp_path / "b.png")
    image.convert("LA").save(tmp_path / "c.png")
    found = folder(tmp_path).pixels
    assert found.shape == (3, 10, 12, 3)
    assert np.array_equal(found[1], np.asarray(image))


def test_sizes(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", size=(20, 36))
    assert load(str(tmp_path)).pixels.shape == (1, 36, 20, 3)
    picture(tmp_path / "b.png", size=(100, 30))
    assert load(str(tmp_path)).pixels.shape == (2, 64, 64, 3)
    assert load(str(tmp_path), (16, 8)).pixels.shape == (2, 8, 16, 3)
    large = tmp_path / "large"
    picture(large / "a.png", size=(640, 480))
    assert folder(large).pixels.shape == (1, 64, 64, 3)


def test_names_and_formats(tmp_path: Path) -> None:
    for name in ("A.PNG", "b.JPG", "c.jpeg", "d.webp", "e.bmp", "f.TIFF", "sub/deep/g.gif"):
        picture(tmp_path / name)
    picture(tmp_path / "h.jfif", format="JPEG")
    for name in ("i.heic", "j.HEIC", "k.tga"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    picture(tmp_path / ".hidden" / "x.png")
    (tmp_path / "readme.txt").write_text("no picture")
    found = folder(tmp_path)
    assert len(found.pixels) == 8
    assert found.notes == (
        "3 pictures (i.heic, j.HEIC, k.tga) left out: unsupported format; for .heic: pip install pillow-heif",
        "hidden folders and thumbnails left out: .hidden",
    )


@pytest.mark.skipif("AVIF" not in formats(), reason="this Pillow reads no AVIF")
def test_avif(tmp_path: Path) -> None:
    picture(tmp_path / "a.avif")
    assert folder(tmp_path).pixels.shape == (1, 10, 12, 3)


def test_sub_folders_are_labels(tmp_path: Path) -> None:
    for k, name in enumerate(("cat", "cat", "Dog", "ant")):
        picture(tmp_path / name / f"{k}.png")
    data = folder(tmp_path)
    assert data.classes == ["Dog", "ant", "cat"]
    assert data.labels is not None
    assert sorted(data.labels.tolist()) == [0, 1, 2, 2]
    picture(tmp_path / "loose.png")
    data = folder(tmp_path)
    assert data.classes == ["Dog", "ant", "cat"]
    assert len(data.pixels) == 4
    assert data.notes == ("1 picture (loose.png) left out: outside the class folders",)
    for k in range(5):
        picture(tmp_path / f"{k}.png")
    data = folder(tmp_path)
    assert data.labels is None
    assert len(data.pixels) == 10
    assert data.notes == (
        "6 pictures are outside the 3 folders, so the folders are not used as classes; "
        "move the pictures into folders to use labels",
    )
    assert folder(tmp_path / "cat").classes == []


def test_broken_pictures_are_named_and_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "good.png", size=(40, 40))
    good = (tmp_path / "good.png").read_bytes()
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "page.jpg").write_bytes(b"<html></html>")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    data = folder(tmp_path)
    assert len(data.pixels) == 1
    assert sorted(line.split(":")[0] for line in data.skipped) == ["cut.png", "empty.png", "loop.png", "page.jpg"]
    assert all(len(line) < 120 and str(tmp_path) not in line for line in data.skipped)


def test_a_broken_note_of_the_camera_is_a_broken_picture(tmp_path: Path) -> None:
    """Its width is a word: Pillow reads the picture and fails to turn it upright."""
    picture(tmp_path / "good.jpg")
    tags = struct.pack(">HHI4sHHIHH", 0x0100, 2, 4, b"abc", 0x0112, 3, 1, 6, 0)
    picture(tmp_path / "bad.jpg", exif=b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + tags + bytes(4))
    data = folder(tmp_path)
    assert [line.split(":")[0] for line in data.skipped] == ["bad.jpg"]
    assert len(data.pixels) == 1


def test_pictures_stand_upright_before_they_are_measured(tmp_path: Path) -> None:
    values = np.zeros((20, 40), dtype=np.uint8)
    values[:, :8] = 255  # on the left: turned by a quarter it is at the top
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "a.png", exif=turned)
    found = folder(tmp_path).pixels
    assert found.shape == (1, 40, 20, 1)
    assert found[0, :8].min() == 255
    assert found[0, 8:].max() == 0


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    before = folder(tmp_path).fingerprint
    assert folder(tmp_path).fingerprint == before
    (tmp_path / "b.png").unlink()
    assert folder(tmp_path).fingerprint != before


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("nothing", Exit.FILE, "no such file or folder"),
        ("digit", Exit.FILE, "did you mean digits"),
        ("file.png", Exit.FILE, "is a single picture"),
        ("empty", Exit.FILE, "no pictures"),
        ("broken", Exit.FILE, "none of its 1 pictures"),
    ],
)
def test_nothing_to_learn_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: Exit, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"")
    (tmp_path / "file.png").write_bytes(b"")
    with pytest.raises(DifftoolError) as caught:
        load(name)
    assert caught.value.code == code
    assert says in caught.value.message + caught.value.hint


def test_digits_have_one_size() -> None:
    with pytest.raises(DifftoolError) as caught:
        load("digits", (16, 16))
    assert caught.value.code == Exit.USAGE


def test_pictures_that_cannot_be_read_here_are_told(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"{k}.jxl").write_bytes(b"x")
    with pytest.raises(DifftoolError, match=r"only 3 pictures \(0.jxl, 1.jxl, 2.jxl\) in unsupported formats"):
        folder(tmp_path)
