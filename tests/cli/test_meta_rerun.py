from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from PIL.PngImagePlugin import PngInfo

from difftool.pictures import read_png, write_png


@pytest.fixture
def picture(difftool: Callable, tmp_path: Path) -> Path:
    assert (
        difftool("sample", "--count", 5, "--batch-size", 3, "--sampler", "euler_a", "--steps", 6, "-o", "a.png").code
        == 0
    )
    return tmp_path / "a.png"


def test_meta_tells_how(difftool: Callable, picture: Path) -> None:
    ended = difftool("meta", picture.with_name("a-00003-3.png"))
    assert ended.code == 0
    assert "Sampler: Euler a" in ended.out
    told = difftool("meta", picture.with_name("a-00003-3.png"), "--json").json["data"]
    assert told["manifest"]["item"] == {"index": 3, "seed": 3, "label": "3"}
    assert told["manifest"]["settings"]["steps"] == 6
    assert "torch" in told["manifest"]["versions"]
    assert difftool("meta", picture, "-q").out.strip() == str(picture)


def test_meta_of_other_tools(difftool: Callable, refused: Callable, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8")
    Image.new("L", (8, 8)).save(tmp_path / "other.png", pnginfo=info)
    ended = difftool("meta", "other.png")
    assert ended.out.startswith("a cat\nSteps: 20")
    assert difftool("meta", "other.png", "--json").json["data"]["manifest"] is None
    refused(4, "rerun", "other.png", says="no settings of difftool")


def test_meta_leaves_the_terminal_alone(difftool: Callable, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a \x1b]0;title\x07 cat\r")
    Image.new("L", (8, 8)).save(tmp_path / "other.png", pnginfo=info)
    assert difftool("meta", "other.png").out == "a \\x1b]0;title\\x07 cat\n"
    assert difftool("meta", "other.png", "--json").json["data"]["parameters"] == "a \x1b]0;title\x07 cat\r"


def test_half_a_surrogate_pair_can_be_printed(difftool: Callable, refused: Callable, picture: Path) -> None:
    pixels, _, manifest = read_png(picture.with_name("a-00001-1.png"))
    assert manifest is not None
    manifest["settings"]["model"] = "\ud800x"
    write_png(picture.with_name("odd.png"), pixels, manifest)
    assert "\\ud800x" in difftool("meta", "odd.png").out
    refused(4, "rerun", "odd.png", says="\\ud800x")


@pytest.mark.parametrize("name", ["a.png", "a-00000-0.png", "a-00004-4.png"])
def test_rerun_gives_the_same_pixels(difftool: Callable, picture: Path, name: str) -> None:
    told = difftool("rerun", picture.with_name(name), "--output-dir", "again", "--json").json
    assert told["data"]["identical"] is True
    assert told["warnings"] == []
    new = told["data"]["grid"] or told["data"]["outputs"][0]["path"]
    assert np.array_equal(read_png(Path(new))[0], read_png(picture.with_name(name))[0])
    if name != "a.png":
        assert len(told["data"]["outputs"]) == 1
        assert read_png(Path(new))[2]["item"] == read_png(picture.with_name(name))[2]["item"]  # type: ignore[index]


def test_rerun_of_a_rerun(difftool: Callable, picture: Path) -> None:
    assert difftool("rerun", picture.with_name("a-00002-2.png"), "-o", "b.png").code == 0
    assert difftool("rerun", "b.png", "-o", "c.png", "--json").json["data"]["identical"]


def test_rerun_says_what_changed(difftool: Callable, picture: Path) -> None:
    pixels, _, manifest = read_png(picture.with_name("a-00001-1.png"))
    assert manifest is not None
    manifest["versions"]["torch"] = "1.13.0"
    write_png(picture.with_name("old.png"), 255 - pixels, manifest)
    told = difftool("rerun", "old.png", "--json").json
    assert told["ok"]
    assert told["data"]["identical"] is False
    assert told["data"]["versions_changed"]["torch"][0] == "1.13.0"
    assert len(told["warnings"]) == 2


def test_rerun_needs_the_same_model(difftool: Callable, refused: Callable, tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model()
    assert difftool("sample", folder, "--steps", 1, "--count", 1, "-o", "a.png").code == 0
    (folder / "model.safetensors").rename(folder / "kept")
    refused(4, "rerun", "a.png", says="holds no model")
    other = tiny_model("other")
    weights = (other / "model.safetensors").read_bytes()
    assert weights == (folder / "kept").read_bytes()
    from difftool.files import load_tensors, save_tensors

    tensors = load_tensors(folder / "kept").tensors
    save_tensors(folder / "model.safetensors", {name: tensor + 1 for name, tensor in tensors.items()})
    refused(4, "rerun", "a.png", says="its weights differ")


def test_rerun_dry(difftool: Callable, picture: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    told = difftool("rerun", picture.with_name("a-00001-1.png"), "--dry-run", "--json").json["data"]
    assert len(told["would_write"]) == 1
    assert told["needs"]["network_calls"] == 6  # of the batch it stands in, and of no other
    assert "would draw 1 picture" in difftool("rerun", picture.with_name("a-00001-1.png"), "--dry-run").out
    assert sorted(tmp_path.rglob("*")) == before


class TestWrongInput:
    @pytest.mark.parametrize("command", ["meta", "rerun"])
    @pytest.mark.parametrize(
        "content", [None, b"", b"<html></html>", b"\x89PNG\r\n\x1a\n\x00", "plain", "cut", "folder"]
    )
    def test_files(self, refused: Callable, picture: Path, command: str, content: bytes | str | None) -> None:
        file = picture.with_name("x.png")
        if content == "plain":
            Image.new("RGB", (8, 8)).save(file)
        elif content == "folder":
            file.mkdir()
        elif content is not None:
            file.write_bytes(picture.read_bytes()[:200] if content == "cut" else content)  # type: ignore[arg-type]
        refused(4, command, "x.png")
        refused(4, command, "x.png", "--json")

    @pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity"])
    def test_numbers_that_are_none(self, refused: Callable, picture: Path, number: str) -> None:
        file = picture.with_name("x.png")
        info = PngInfo()
        info.add_itxt("difftool", '{"settings": {"guidance": %s}}' % number)  # noqa: UP031
        Image.new("L", (8, 8)).save(file, pnginfo=info)
        refused(4, "meta", "x.png", "--json", says="damaged")
        refused(4, "rerun", "x.png", says="damaged")

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (lambda m: m["settings"].update(guidance=10**31), 4),
            (lambda m: m.clear(), 4),
            (lambda m: m.pop("settings"), 4),
            (lambda m: m.pop("versions"), 4),
            (lambda m: m.update(settings=3), 4),
            (lambda m: m.update(command="dream"), 4),
            (lambda m: m.update(schema="difftool/manifest/9"), 4),
            (lambda m: m["settings"].update(strength=0.5), 4),
            (lambda m: m["settings"].update(steps="many"), 4),
            (lambda m: m["settings"].update(sampler=3), 4),
            (lambda m: m["settings"].update(model="no/such/model"), 4),
            (lambda m: m["settings"].update(model=7), 4),
            (lambda m: m["settings"].update(sampler="dpm9"), 4),
            (lambda m: m["settings"].update(count=10**12), 4),
            (lambda m: m["settings"].update(count=True), 4),
            (lambda m: m["settings"].update(steps=10**7), 4),
            (lambda m: m["settings"].update(guidance=float("nan")), 4),
            (lambda m: m["settings"].update(eta=7.5), 4),
            (lambda m: m["settings"].update(label="nobody"), 4),
            (lambda m: m["settings"].update(label=["3", "nobody"]), 4),
            (lambda m: m["settings"].update(label=[3]), 4),
            (lambda m: m["settings"].update(label=[]), 4),
            (lambda m: m["settings"].pop("threads"), 4),
            (lambda m: m["versions"].update(torch=["2"]), 4),
            (lambda m: m.update(item=[1]), 4),
            (lambda m: m["item"].update(index=99), 4),
            (lambda m: m["item"].pop("index"), 4),
        ],
    )
    def test_settings(self, refused: Callable, picture: Path, change: Callable, code: int) -> None:
        pixels, _, manifest = read_png(picture.with_name("a-00001-1.png"))
        assert manifest is not None
        change(manifest)
        info = PngImagePlugin.PngInfo()
        info.add_itxt("difftool", json.dumps(manifest))
        Image.fromarray(pixels[:, :, 0]).save(picture.with_name("x.png"), pnginfo=info)
        refused(code, "rerun", "x.png")

    def test_a_picture_too_large_to_be_one(self, refused: Callable, tmp_path: Path) -> None:
        header = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
        chunk = len(header[4:]).to_bytes(4, "big") + header + zlib.crc32(header).to_bytes(4, "big")
        (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
        refused(4, "meta", "x.png")

    def test_a_chunk_that_is_no_json(self, refused: Callable, tmp_path: Path) -> None:
        for text in ("{", "[]", "3", "null", "[" * 100_000):
            info = PngImagePlugin.PngInfo()
            info.add_itxt("difftool", text)
            Image.new("L", (8, 8)).save(tmp_path / "x.png", pnginfo=info)
            refused(4, "rerun", "x.png")

    def test_places(self, refused: Callable, picture: Path) -> None:
        refused(4, "rerun", picture.with_name("a-00001-1.png"), "-o", picture, says="exists already")
        refused(2, "rerun", picture.with_name("a-00001-1.png"), "-o", "b.gif", says="PNG")


def test_a_grid_of_training_is_made_again(difftool: Callable, tmp_path: Path, tiny_model: Callable) -> None:
    """Its classes are told one by one."""
    from difftool.image.pixels import columns, draw
    from difftool.image.plan import plan
    from difftool.pictures import sheet, write_png

    drawn = draw(plan(tiny_model(), count=5, steps=2, label=["a", "a", "a", "b", "b"]))
    assert [item["label"] for item in drawn.items] == ["a", "a", "a", "b", "b"]
    write_png(tmp_path / "grid.png", sheet(drawn.pixels, columns(drawn)), drawn.manifest)
    ended = difftool("rerun", "grid.png", "-o", "again.png", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["data"]["identical"]
