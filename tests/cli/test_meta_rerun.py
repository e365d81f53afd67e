from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from PIL.PngImagePlugin import PngInfo

from difftool.pictures.png import read_png, write_png
from difftool.pictures.sheets import image_grid


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


PARAMETERS = (
    "a cat, (\u732b:1.2)\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 8x8"
)


@pytest.mark.parametrize("kind", ["jpg", "webp", "avif", "png"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("coding", ["utf-16-be", "utf-16-le", "utf-8", "ascii", "bare"])
def test_meta_of_other_tools_in_exif(difftool: Callable, tmp_path: Path, kind: str, order: str, coding: str) -> None:
    """Tools write the comment big-endian, or as the EXIF is."""
    text = PARAMETERS if coding.startswith("utf") else PARAMETERS.encode("ascii", "ignore").decode()
    text += ", Note: " + "x" * 10_000
    prefix = {"utf-8": b"\0" * 8, "ascii": b"ASCII\0\0\0", "bare": b""}.get(coding, b"UNICODE\0")
    exif = Image.Exif()
    exif.endian = order
    exif.get_ifd(0x8769)[0x9286] = prefix + text.encode(coding if coding.startswith("utf") else "ascii")
    Image.new("RGB", (16, 16)).save(tmp_path / f"a.{kind}", exif=exif.tobytes())
    assert difftool("meta", f"a.{kind}", "--json").json["data"]["parameters"] == text


def test_meta_of_a_photograph(difftool: Callable, refused: Callable, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0a nice day"
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg", exif=exif)
    refused(4, "meta", "a.jpg", says="has no settings in a known format")


def test_meta_of_workflows(difftool: Callable, refused: Callable, tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("prompt", "{}")
    info.add_text("workflow", "x" * 3_000_000, zip=True)
    Image.new("L", (8, 8)).save(tmp_path / "comfy.png", pnginfo=info)
    refused(4, "meta", "comfy.png", says="no settings in a known format, only text chunks named prompt, workflow")
    info.add_text("parameters", PARAMETERS.replace("\u732b", "b"))
    Image.new("L", (8, 8)).save(tmp_path / "both.png", pnginfo=info)
    assert difftool("meta", "both.png").out.startswith("a cat, (b:1.2)")


def test_the_limit_that_a_picture_goes_beyond_is_named(refused: Callable, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "icc.png", icc_profile=bytes(3_000_000))
    refused(4, "meta", "icc.png", says="its ICC profile has more than 1,048,576 bytes")
    info = PngInfo()
    info.add_text("workflow", "x" * (PngImagePlugin.MAX_TEXT_MEMORY + 10), zip=True)
    Image.new("L", (8, 8)).save(tmp_path / "text.png", pnginfo=info)
    refused(4, "meta", "text.png", says="it has a text chunk of more than 67,108,864 bytes")


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


def test_rerun_of_a_grid_in_earlier_columns(
    difftool: Callable, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    assert difftool("sample", tiny_model(), "--steps", 1, "--count", 16, "-o", "a.png").code == 0
    _, _, manifest = read_png(tmp_path / "a.png")
    singles = np.stack([read_png(tmp_path / f"a-{k:05d}-{k}.png")[0] for k in range(16)])
    write_png(tmp_path / "old.png", image_grid(singles, 2), manifest)
    for name in ("a.png", "old.png"):
        assert difftool("rerun", name, "--json").json["data"]["identical"] is True


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
    refused(4, "rerun", "a.png", says="contains no model")
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
    assert "would generate 1 picture" in difftool("rerun", picture.with_name("a-00001-1.png"), "--dry-run").out
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
            (lambda m: m.update(command=[]), 4),
            (lambda m: m.update(command={"a": 1}), 4),
            (lambda m: m["settings"].update(half=True), 4),
            (lambda m: m["settings"].update(low_vram=True), 4),
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
        head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
        parts = (head, b"IDAT" + zlib.compress(b""), b"IEND")
        chunks = [len(part[4:]).to_bytes(4, "big") + part + zlib.crc32(part).to_bytes(4, "big") for part in parts]
        (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
        refused(4, "meta", "x.png", says="pixels")

    @pytest.mark.parametrize("command", ["sample", "txt2img"])
    def test_settings_of_a_wrong_kind(
        self, difftool: Callable, refused: Callable, tiny_pipeline: Callable, tmp_path: Path, command: str
    ) -> None:
        """Every field, made everything that JSON knows."""
        given = ["sample", "--count", 1, "--steps", 1]
        if command == "txt2img":
            given = ["txt2img", "a red circle", "--model", tiny_pipeline("sd"), "--steps", 2]
        assert difftool(*given, "-o", "a.png").code == 0
        pixels, _, manifest = read_png(tmp_path / "a.png")
        assert manifest is not None
        rows = [[], [None], [1], [1.5, 2], ["64", "64"], [10**30] * 2, [["a"]], [["a", "b"]], [[1, 2]], [["a", True]]]
        may_be_none = ("eta", "label", "negative", "init", "mask", "strength", "prediction", "models_dir", "item")
        may_be_none += ("between", "seconds", "vocoder")
        numbers, texts = ("eta", "guidance", "true_cfg"), ("negative", "label", "models_dir", "init")
        wrong = [None, True, 1.5, "x", "", "x\0y", {}, *rows]
        places = [(manifest["settings"], key) for key in [*manifest["settings"]]]
        for holder, key in [*places, *((manifest, key) for key in ("settings", "model", "versions", "item"))]:
            before = holder[key]
            for value in wrong:
                if type(value) is type(before) and not isinstance(value, list):
                    continue
                if (key, value) in (("loras", []), ("between", [10**30] * 2)) or (value is None and key in may_be_none):
                    continue
                if (isinstance(value, float) and key in numbers) or (isinstance(value, str) and key in texts):
                    continue
                holder[key] = value
                info = PngInfo()
                info.add_itxt("difftool", json.dumps(manifest))
                Image.fromarray(pixels.squeeze()).save(tmp_path / "x.png", pnginfo=info)
                ended = difftool("rerun", "x.png", "--dry-run")
                assert (ended.code, ended.err.count("\n")) == (4, 2), (key, value, ended)
            holder[key] = before

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
    from difftool.pictures.png import write_png
    from difftool.pictures.sheets import sheet
    from difftool.pixels.draw import columns, draw_samples
    from difftool.pixels.plan import plan_samples_with

    drawn = draw_samples(plan_samples_with(tiny_model(), count=5, steps=2, label=["a", "a", "a", "b", "b"]))
    assert [item["label"] for item in drawn.items] == ["a", "a", "a", "b", "b"]
    write_png(tmp_path / "grid.png", sheet(drawn.pixels, columns(drawn)), drawn.manifest)
    ended = difftool("rerun", "grid.png", "-o", "again.png", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["data"]["identical"]
