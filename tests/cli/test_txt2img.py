"""`difftool txt2img` on tiny pipelines."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from difftool.pictures.png import read_png

Difftool = Callable[..., Any]
Tiny = Callable[[str], Path]
PROMPT = "a red circle"


@pytest.fixture
def draw(difftool: Difftool, tiny_pipeline: Tiny) -> Difftool:
    """Runs txt2img with the tiny Stable Diffusion."""
    return lambda *args, model="sd": difftool("txt2img", "--model", str(tiny_pipeline(model)), "--steps", "3", *args)


def infotext(text: str) -> dict[str, Any]:
    """AUTOMATIC1111's rule: the last line has the fields, a line before begins the negative prompt."""
    *before, last = text.strip().split("\n")
    fields = re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)', last)
    assert len(fields) >= 3
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    for line in before:
        if line.startswith("Negative prompt:"):
            into, line = negative, line.removeprefix("Negative prompt:").strip()
        into.append(line)
    return {"Prompt": "\n".join(prompt), "Negative prompt": "\n".join(negative), **dict(fields)}


def test_a_picture_and_how_it_was_made(draw: Difftool, difftool: Difftool, tmp_path: Path) -> None:
    prompt, negative = 'a "red", round\ncircle', 'blue: "text", x\ny'
    done = draw(prompt, "-n", negative, "-o", "a.png", "--seed", "7", "--guidance", "3", "--json")
    assert done.code == 0, done.err
    pixels, parameters, manifest = read_png(tmp_path / "a.png")
    assert pixels.shape == (32, 32, 3)
    assert parameters is not None and manifest is not None
    found = infotext(parameters)
    assert (found["Prompt"], found["Negative prompt"]) == (prompt, negative)
    wanted = {
        "Steps": "3",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "3.0",
        "Seed": "7",
        "Size": "32x32",
    }
    assert {key: found[key] for key in wanted} == wanted
    assert manifest["settings"]["prompt"] == prompt
    assert done.json["data"]["outputs"][0]["seed"] == 7
    again = difftool("rerun", "a.png", "-o", "b.png", "--json")
    assert again.code == 0, again.err
    assert again.json["data"]["identical"] is True
    assert "red" in difftool("meta", "a.png").out


def test_several_pictures_their_grid_and_the_rest_of_them(draw: Difftool, difftool: Difftool, tmp_path: Path) -> None:
    assert draw(PROMPT, "--count", "3", "--output-dir", "out", "-q").code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["00000-0.png", "00001-1.png", "00002-2.png", "grid.png"]
    before = {name: read_png(tmp_path / "out" / name)[0] for name in names[:3]}
    assert draw(PROMPT, "--count", "3", "--output-dir", "out").code == 4
    (tmp_path / "out" / "00001-1.png").unlink()
    done = draw(PROMPT, "--count", "3", "--output-dir", "out", "--skip-existing", "--json")
    assert done.code == 0, done.err
    assert [one["index"] for one in done.json["data"]["outputs"]] == [1]
    assert np.array_equal(read_png(tmp_path / "out" / "00001-1.png")[0], before["00001-1.png"])
    whole = draw(PROMPT, "--count", "3", "--output-dir", "out", "--skip-existing")
    assert whole.code == 0
    assert "exist already" in whole.out
    for name in ("00002-2.png", "grid.png"):
        assert difftool("rerun", f"out/{name}", "-o", f"again-{name}", "--json").json["data"]["identical"] is True


def test_a_picture_from_another_is_made_again(draw: Difftool, difftool: Difftool, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    assert draw(PROMPT, "--init", "in.png", "--strength", "0.4", "-o", "a.png").code == 0
    same = difftool("rerun", "a.png", "-o", "b.png", "--json").json
    assert same["data"]["identical"] is True and not same["data"]["versions_changed"]
    picture(tmp_path / "in.png", colour="blue")
    other = difftool("rerun", "a.png", "-o", "c.png", "--json").json
    assert other["data"]["identical"] is False
    assert str(tmp_path / "in.png") in other["warnings"][0]


def test_a_file_of_prompts(draw: Difftool, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(
        "# two and two bad ones\na red circle\na small square --seed 50 --size 40x32 --count 2\nx --stps 3\n\n"
        "a b --size 33x32\n"
    )
    done = draw("--prompts", "list.txt", "--output-dir", "out", "--json")
    assert done.code == 5
    assert "line 4" in done.err and "line 6" in done.err
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name for name in names if name.startswith("0000")] == ["00000-0.png", "00001-50.png", "00002-51.png"]
    assert [one["seed"] for one in done.json["data"]["outputs"]] == [0, 50, 51]
    assert [(one["where"], one["code"]) for one in done.json["data"]["failed"]] == [("line 4", 2), ("line 6", 2)]
    assert read_png(tmp_path / "out" / "00001-50.png")[0].shape == (32, 40, 3)
    alone = draw("a red circle", "-o", "alone.png")
    assert alone.code == 0
    assert np.array_equal(read_png(tmp_path / "alone.png")[0], read_png(tmp_path / "out" / "00000-0.png")[0])


def test_a_mended_line_is_drawn_and_the_others_stay(draw: Difftool, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a red circle\n[a|b]\na small square\n")
    assert draw("--prompts", "list.txt", "--output-dir", "out").code == 5
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[:2] == ["00000-0.png", "00002-2.png"]
    before = (tmp_path / "out" / "00002-2.png").read_bytes()
    (tmp_path / "list.txt").write_text("another\na green circle\na small square\n")
    done = draw("--prompts", "list.txt", "--output-dir", "out", "--skip-existing", "--json")
    assert done.code == 0, done.err
    assert [one["index"] for one in done.json["data"]["outputs"]] == [1]
    assert (tmp_path / "out" / "00002-2.png").read_bytes() == before
    assert "00000-0.png" in done.json["warnings"][0]  # shows another prompt


def test_what_is_there_stays(draw: Difftool, tmp_path: Path) -> None:
    picture(tmp_path / "precious.png")
    before = (tmp_path / "precious.png").read_bytes()
    assert draw(PROMPT, "--count", "2", "-o", "precious.png", "--skip-existing").code == 4
    assert draw(PROMPT, "-o", "precious.png", "--skip-existing").code == 0  # it is the single one, and there
    assert (tmp_path / "precious.png").read_bytes() == before
    assert draw(PROMPT, "--count", "2", "-o", "own.png").code == 0
    (tmp_path / "own-00001-1.png").unlink()
    done = draw(PROMPT, "--count", "2", "-o", "own.png", "--skip-existing", "--size", "40x32", "--json")
    assert done.code == 0, done.err
    assert done.json["data"]["grid"] is None and "different sizes" in done.json["warnings"][0]


def test_only_the_grid(draw: Difftool, difftool: Difftool, tmp_path: Path) -> None:
    assert draw(PROMPT, "--count", "3", "-o", "all.png").code == 0
    only = (PROMPT, "--count", "3", "-o", "only.png", "--grid-only")
    done = draw(*only, "--json")
    assert done.code == 0, done.err
    assert done.json["data"]["outputs"] == [{"path": "only.png", "seed": 0}]
    assert [path.name for path in tmp_path.glob("only*")] == ["only.png"]
    assert np.array_equal(read_png(tmp_path / "only.png")[0], read_png(tmp_path / "all.png")[0])
    again = difftool("rerun", "only.png", "-o", "again.png", "--grid-only", "--json").json["data"]
    assert again["identical"] is True and [path.name for path in tmp_path.glob("again*")] == ["again.png"]
    assert draw(*only).code == 4
    before = (tmp_path / "only.png").stat().st_mtime_ns
    kept = draw(*only, "--skip-existing", "--json")
    assert (kept.code, kept.json["data"]["skipped"], kept.json["warnings"]) == (0, 3, [])
    other = draw("another", "--count", "2", "-o", "only.png", "--grid-only", "--skip-existing", "--json")
    assert other.code == 0 and "only.png is kept, but" in other.json["warnings"][0]
    assert (tmp_path / "only.png").stat().st_mtime_ns == before
    singles = draw(PROMPT, "--count", "2", "-o", "only.png", "--skip-existing")
    assert singles.code == 4 and "only.png exists already, and is the only file" in singles.err
    assert (tmp_path / "only.png").stat().st_mtime_ns == before
    (tmp_path / "only.png").write_bytes(b"\x89PNG")
    assert draw(*only, "--skip-existing").code == 0
    assert np.array_equal(read_png(tmp_path / "only.png")[0], read_png(tmp_path / "all.png")[0])


def test_only_the_grid_of_a_file_of_prompts(draw: Difftool, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a circle\n[a|b]\na square --count 2\n")
    command = ("--prompts", "list.txt", "--output-dir", "out", "--grid-only")
    dry = draw(*command, "--dry-run", "--json").json["data"]
    assert dry["would_write"] == ["out/grid.png"]
    done = draw(*command, "--json")
    assert done.code == 5 and "run the command again with --overwrite" in done.err
    assert [row["path"] for row in done.json["data"]["outputs"]] == ["out/grid.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["grid.png"]
    before = (tmp_path / "out" / "grid.png").stat().st_mtime_ns
    assert draw(*command, "--skip-existing").code == 5  # of the wrong line
    assert (tmp_path / "out" / "grid.png").stat().st_mtime_ns == before
    (tmp_path / "list.txt").write_text("a circle\na square --size 40x32\n")
    done = draw(*command, "--overwrite")
    assert done.code == 2 and "leave out --grid-only" in done.err


def test_many_pictures_of_a_list_that_grows(draw: Difftool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from difftool import outputs

    monkeypatch.setattr(outputs, "NEARBY", 2)
    (tmp_path / "list.txt").write_text("a circle\na square\n")
    command = ("--prompts", "list.txt", "-o", "all.png", "--skip-existing", "--json")
    assert draw(*command).code == 0
    (tmp_path / "list.txt").write_text("a circle\na square\na star\n")
    done = draw(*command).json["data"]
    assert (done["skipped"], [row["path"] for row in done["outputs"]]) == (2, ["all-singles/00002-2.png"])
    assert {path.name for path in tmp_path.glob("all*")} == {
        "all.png",
        "all-00000-0.png",
        "all-00001-1.png",
        "all-singles",
    }
    assert draw(*command).json["data"]["skipped"] == 3


def test_several_sizes_make_no_grid(draw: Difftool, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a circle\na square --size 40x32\n")
    assert draw("--prompts", "list.txt", "-o", "grid.png").code == 2
    done = draw("--prompts", "list.txt", "--output-dir", "out", "--json")
    assert done.code == 0
    assert done.json["data"]["grid"] is None


def test_what_a_line_may_hold(draw: Difftool, tmp_path: Path) -> None:
    """Marks that end lines elsewhere; quotes; half a letter; a mark of the byte order at the top."""
    (tmp_path / "list.txt").write_bytes(
        b"\xef\xbb\xbf# a remark\n"
        + '{"prompt": "a red\u2028circle", "negative": "x\x85y"}\n'.encode()
        + b'"a red circle" --negative= --seed 3\r\n'
        + b'{"prompt": "\\ud800"}\n{"prompt": "a", "seed": false}\n[a] --count 3\nb\n'
    )
    done = draw("--prompts", "list.txt", "--output-dir", "out", "--json")
    assert done.code == 5
    assert [one["where"] for one in done.json["data"]["failed"]] == ["line 4", "line 5", "line 6"]
    drawn = [(one["index"], one["seed"], one["prompt"]) for one in done.json["data"]["outputs"]]
    assert drawn == [(0, 0, "a red\u2028circle"), (1, 3, "a red circle"), (7, 7, "b")]


def test_lines_that_are_all_wrong(draw: Difftool, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("[a|b]\nx --stps 3\na circle --size 33x32\n")
    done = draw("--prompts", "list.txt", "--output-dir", "out", "--json")
    assert done.code == 5
    assert len(done.json["data"]["failed"]) == 3 and not (tmp_path / "out").exists()


def test_a_file_that_is_broken_off_is_gone_on_with(draw: Difftool, tmp_path: Path) -> None:
    whole = draw(PROMPT, "--count", "3", "--output-dir", "out", "--batch-size", "1")
    assert whole.code == 0
    (tmp_path / "out" / "00002-2.png").unlink()
    (tmp_path / "out" / "00001-1.png").write_bytes((tmp_path / "out" / "00000-0.png").read_bytes()[:100])
    before = (tmp_path / "out" / "00001-1.png").read_bytes()
    done = draw(PROMPT, "--count", "3", "--output-dir", "out", "--skip-existing", "--json")
    assert done.code == 0, done.err
    assert "00001-1.png is damaged" in done.json["warnings"][0]
    assert [one["index"] for one in done.json["data"]["outputs"]] == [1, 2]
    assert len(before) == 100 and read_png(tmp_path / "out" / "00001-1.png")[0].shape == (32, 32, 3)


@pytest.mark.parametrize("content", [b"", b"\x89PNG", None])
def test_a_damaged_picture_is_drawn_again(draw: Difftool, tmp_path: Path, content: bytes | None) -> None:
    """Empty, cut off in its head, or among its pixels; and not what somebody else put there."""
    path = tmp_path / "out" / "00000-0.png"
    assert draw(PROMPT, "--output-dir", "out").code == 0
    whole = path.read_bytes()
    path.write_bytes(whole[:-300] if content is None else content)
    assert draw(PROMPT, "--output-dir", "out", "--skip-existing").code == 0
    assert np.array_equal(read_png(path)[0], _pixels(whole))
    path.write_bytes(b"<html>precious</html>")
    done = draw(PROMPT, "--output-dir", "out", "--skip-existing")
    assert done.code == 4 and "hint: remove it" in done.err
    assert path.read_bytes() == b"<html>precious</html>"


def _pixels(png: bytes) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(png)))


def test_the_summary_tells_what_was_drawn(draw: Difftool, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text(
        "a red circle --steps 2\na red circle --steps 3\na circle --steps 5 --sampler euler\n"
    )
    assert (
        "dpmpp_2m and euler, 2 to 5 steps, guidance 7, seed 0 to 2)"
        in draw("--prompts", "l.txt", "--output-dir", "o").out
    )
    (tmp_path / "o" / "00001-1.png").unlink()
    again = draw("--prompts", "l.txt", "--output-dir", "o", "--skip-existing")
    assert "dpmpp_2m, 3 steps, guidance 7, seed 1; 2 existed already)" in again.out


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_what_goes_on_after_a_stop_is_named(
    draw: Difftool, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    """After Ctrl-C or a full disk: the command that is hinted at draws the rest."""
    import errno

    from difftool.pictures import png

    write, written = png.write_png, []

    def some(path: Path, *rest: Any) -> None:
        if written:
            raise stop(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write(path, *rest)

    for given in (["--output-dir", "out"], []):
        written.clear()
        monkeypatch.setattr(png, "write_png", some)
        done = draw(PROMPT, "--count", "3", *given)
        assert done.code == (130 if stop is KeyboardInterrupt else 1)
        hint = done.err.splitlines()[-1]
        monkeypatch.setattr(png, "write_png", write)
        more = re.search("run it again with (.*--skip-existing)", hint)
        assert more is not None, hint
        again = draw(PROMPT, "--count", "3", *given, *more[1].split(), "--json")
        assert again.code == 0 and again.json["data"]["skipped"] == 1, again.err


@pytest.mark.parametrize("white", [0, 1, 127])
def test_a_mask_without_white(
    draw: Difftool, refused: Difftool, tiny_pipeline: Tiny, tmp_path: Path, white: int
) -> None:
    picture(tmp_path / "in.png")
    mask = Image.new("L", Image.open(tmp_path / "in.png").size)
    mask.putpixel((2, 2), white)
    mask.save(tmp_path / "mask.png")
    given = ["txt2img", PROMPT, "--model", tiny_pipeline("sd"), "--init", "in.png", "--mask", "mask.png"]
    refused(2, *given, says="the mask has no white parts")


def test_from_python(tiny_pipeline: Tiny) -> None:
    """It takes what `sample` takes."""
    import torch

    import difftool
    from difftool.errors import DifftoolError, Exit

    settings: dict[str, Any] = {"steps": 2, "size": (32, 32)}
    cpu = difftool.txt2img(PROMPT, tiny_pipeline("sd"), device="cpu", **settings)
    for device in (torch.device("cpu"), "auto" if not torch.cuda.is_available() else "cpu"):
        assert (difftool.txt2img(PROMPT, tiny_pipeline("sd"), device=device, dtype="fp32", **settings) == cpu).all()
    assert difftool.sample(device=torch.device("cpu"), count=1, steps=1).pixels.shape == (1, 8, 8, 1)
    for draw in (difftool.txt2img, difftool.sample):
        model = (PROMPT, tiny_pipeline("sd")) if draw is difftool.txt2img else ()
        for device in ("gpu", torch.device("meta"), None):
            with pytest.raises(DifftoolError) as found:
                draw(*model, device=device, steps=1)
            assert found.value.code == Exit.USAGE


def picture(path: Path, size: tuple[int, int] = (32, 32), colour: str = "red") -> None:
    Image.new("RGB", size, colour).save(path)


def test_from_a_picture_and_within_a_mask(draw: Difftool, tmp_path: Path) -> None:
    picture(tmp_path / "in.png")
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[:, 16:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    assert draw(PROMPT, "--init", "in.png", "--strength", "0.5", "-o", "a.png").code == 0
    assert draw(PROMPT, "--init", "in.png", "--mask", "mask.png", "--strength", "1", "-o", "b.png").code == 0
    inside = read_png(tmp_path / "b.png")[0]
    assert (inside[:, :16] == np.array([255, 0, 0])).all()
    assert (inside[:, 16:] != np.array([255, 0, 0])).any()


@pytest.mark.parametrize("model", ["v", "zero", "turbo", "lcm", "sdxl", "sd3", "flux", "schnell"])
def test_every_family_draws_by_its_own_defaults(draw: Difftool, tmp_path: Path, model: str) -> None:
    done = draw(PROMPT, "-n", "blurry", "-o", "a.png", "--size", "32x32", "--json", model=model)
    assert done.code == 0, done.err
    assert read_png(tmp_path / "a.png")[0].shape == (32, 32, 3)


def test_long_prompts_and_weights_are_heard(draw: Difftool, tmp_path: Path) -> None:
    long = "a red circle on a blue ground, " * 20
    for name, prompt in {
        "a": PROMPT,
        "b": "a (red:1.5) circle",
        "c": "a (red:1.0) circle",
        "d": long,
        "e": long + "small",
    }.items():
        assert draw(prompt, "-o", f"{name}.png", "--guidance", "5").code == 0
    a, b, c, d, e = (read_png(tmp_path / f"{name}.png")[0] for name in "abcde")
    assert (a != b).any()
    assert np.abs(a.astype(int) - c).max() <= 1
    assert (d != e).any()


WRONG = {
    "nothing": ([], 2),
    "both": ([PROMPT, "--prompts", "list.txt"], 2),
    "an empty prompt": ([""], 2),
    "brackets": (["(a"], 2),
    "square brackets": (["[a|b]"], 2),
    "no such file of prompts": (["--prompts", "none.txt"], 4),
    "an empty file of prompts": (["--prompts", "empty.txt"], 2),
    "a size that does not fit": ([PROMPT, "--size", "33x32"], 2),
    "a size that is none": ([PROMPT, "--size", "big"], 2),
    "steps": ([PROMPT, "--steps", "0"], 2),
    "sampler": ([PROMPT, "--sampler", "dddim"], 2),
    "strength alone": ([PROMPT, "--strength", "0.5"], 2),
    "strength": ([PROMPT, "--init", "in.png", "--strength", "0"], 2),
    "mask alone": ([PROMPT, "--mask", "in.png"], 2),
    "mask of another size": ([PROMPT, "--init", "in.png", "--mask", "small.png"], 2),
    "init missing": ([PROMPT, "--init", "none.png"], 4),
    "init no picture": ([PROMPT, "--init", "list.txt"], 4),
    "true cfg": ([PROMPT, "--true-cfg", "2"], 2),
    "preset": ([PROMPT, "--preset", "fluxx"], 2),
    "clip skip": ([PROMPT, "--clip-skip", "9"], 2),
    "lora missing": ([PROMPT, "--lora", "none.safetensors"], 4),
    "lora no lora": ([PROMPT, "--lora", "list.txt"], 4),
    "lora by an unknown name": (["a <lora:none:1>"], 4),
    "cuda": ([PROMPT, "--device", "cuda"], 3),
    "prediction": ([PROMPT, "--prediction", "epsilon"], 2),
    "schedule": ([PROMPT, "--schedule", "karas"], 2),
    "eta of one without": ([PROMPT, "--sampler", "heun", "--eta", "0.5"], 2),
    "guidance": ([PROMPT, "--guidance", "nan"], 2),
    "a weight beyond all": (["a (red:1000) circle"], 2),
    "no PNG": ([PROMPT, "-o", "a.jpg"], 2),
    "a weight of a LoRA": ([PROMPT, "--lora", "none.safetensors:nan"], 2),
    "a LoRA in the negative": ([PROMPT, "-n", "<lora:none:1>"], 2),
    "no name of a model": ([PROMPT, "--model", ""], 2),
    "half a letter": (["a \udcff circle"], 2),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("how", ["plain", "json"])
def test_wrong_input(draw: Difftool, tmp_path: Path, name: str, how: str) -> None:
    args, code = WRONG[name]
    (tmp_path / "list.txt").write_text("a red circle\n")
    (tmp_path / "empty.txt").write_text("\n# nothing\n")
    picture(tmp_path / "in.png")
    picture(tmp_path / "small.png", (16, 16))
    before = sorted(tmp_path.rglob("*"))
    done = draw("-o", "out.png", *args, *(["--json"] if how == "json" else []))
    assert done.code == code, done.err
    told = [line for line in done.err.splitlines() if line.startswith(("error:", "hint:"))]
    assert [line.split(":")[0] for line in told] == ["error", "hint"]
    assert (done.json["ok"] is False) if how == "json" else not done.out
    assert "Traceback" not in done.err
    assert sorted(tmp_path.rglob("*")) == before


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda folder: _cut(folder / "unet" / "diffusion_pytorch_model.safetensors"),
    "html": lambda folder: (folder / "vae" / "diffusion_pytorch_model.safetensors").write_text("<html></html>"),
    "empty": lambda folder: (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b""),
    "no weights": lambda folder: (folder / "text_encoder" / "model.safetensors").unlink(),
    "no index": lambda folder: (folder / "model_index.json").unlink(),
    "broken config": lambda folder: (folder / "unet" / "config.json").write_text("{"),
    "another architecture": lambda folder: _other(folder / "unet" / "config.json"),
    "another pipeline": lambda folder: _renamed(folder / "model_index.json"),
    "no tokenizer": lambda folder: shutil.rmtree(folder / "tokenizer"),
    "no scheduler": lambda folder: shutil.rmtree(folder / "scheduler"),
    "broken words": lambda folder: (folder / "tokenizer" / "vocab.json").write_text("[]"),
    "a prediction of its own": lambda folder: _said(
        folder / "scheduler" / "scheduler_config.json", prediction_type="x"
    ),
    "no size": lambda folder: _said(folder / "unet" / "config.json", sample_size="x"),
    "no factor": lambda folder: _said(folder / "vae" / "config.json", scaling_factor=0),
    "no text encoder": lambda folder: _said(folder / "model_index.json", text_encoder=[None, None]),
    "a reader of nothing": lambda folder: _said(folder / "text_encoder" / "config.json", max_position_embeddings=2),
    "other code for its attention": lambda folder: _said(
        folder / "text_encoder" / "config.json", attn_implementation="owner/kernel"
    ),
    "other code, elsewhere": lambda folder: _said(
        folder / "text_encoder" / "config.json", _attn_implementation_internal={"": "owner/kernel"}
    ),
    "code of its own": lambda folder: _said(folder / "text_encoder" / "config.json", auto_map={"AutoModel": "evil.E"}),
    "an adapter": lambda folder: (folder / "text_encoder" / "adapter_config.json").write_text(
        '{"base_model_name_or_path": "owner/name", "peft_type": "LORA"}'
    ),
    "other weights": lambda folder: _said(folder / "text_encoder" / "config.json", transformers_weights="x.bin"),
    "a quantisation": lambda folder: _said(folder / "unet" / "config.json", quantization_config={"load_in_4bit": True}),
    "quantised weights": lambda folder: _more(folder / "unet", "mid_block.attentions.0.proj_in.weight.absmax"),
    "endless levels": lambda folder: _said(folder / "scheduler" / "scheduler_config.json", num_train_timesteps=10**9),
    "endless layers": lambda folder: _said(folder / "unet" / "config.json", layers_per_block=10**7),
    "endless layers of text": lambda folder: _said(folder / "text_encoder" / "config.json", num_hidden_layers=10**7),
    "endless channels": lambda folder: _said(folder / "vae" / "config.json", block_out_channels=[8 * 10**8, 10**9]),
    "endless words": lambda folder: _said(folder / "text_encoder" / "config.json", vocab_size=10**9),
    "endless pictures": lambda folder: _said(folder / "unet" / "config.json", sample_size=10**9),
    "a long config": lambda folder: _said(folder / "model_index.json", more="x" * 5_000_000),
    "a library of its own": lambda folder: _said(folder / "model_index.json", unet=["this", "UNet"]),
}


def _said(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def _more(part: Path, name: str) -> None:
    from safetensors.torch import load_file, save_file
    from torch import ones

    weights = part / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(weights), name: ones(3)}, weights, {"format": "pt"})


def test_tensors_without_a_place_are_named(difftool: Difftool, tiny_pipeline: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny_pipeline("sd"), tmp_path / "model")
    _more(tmp_path / "model" / "unet", "down_blocks.9.weight")
    done = difftool("txt2img", PROMPT, "--model", "model", "-o", "a.png", "--steps", "2", "--json")
    assert done.code == 0, done.err
    assert ["down_blocks.9.weight" in warning for warning in done.json["warnings"]] == [True]


def test_no_library_goes_to_the_network(
    difftool: Difftool, tiny_pipeline: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a folder asks for, with --debug, and from Python; and a caller's own word is as it was."""
    from huggingface_hub import constants

    from difftool.text2img import loading
    from difftool.text2img.session import Session

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    seen, opening = [], loading.class_of
    monkeypatch.setattr(loading, "class_of", lambda name: (seen.append(constants.HF_HUB_OFFLINE), opening(name))[1])
    Session(tiny_pipeline("sd"), device="cpu")
    assert seen and all(seen) and constants.HF_HUB_OFFLINE is False
    assert (
        difftool("txt2img", PROMPT, "--model", tiny_pipeline("sd"), "--steps", "1", "--debug", "-o", "a.png").code == 0
    )
    assert all(seen) and os.environ["HF_HUB_OFFLINE"] == "1"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _other(path: Path) -> None:
    path.write_text(path.read_text().replace('"cross_attention_dim": 32', '"cross_attention_dim": 48'))


def _renamed(path: Path) -> None:
    path.write_text(path.read_text().replace("StableDiffusionPipeline", "AudioLDMPipeline"))


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_folder(difftool: Difftool, tiny_pipeline: Tiny, tmp_path: Path, what: str) -> None:
    shutil.copytree(tiny_pipeline("sd"), tmp_path / "model")
    DAMAGE[what](tmp_path / "model")
    done = difftool("txt2img", PROMPT, "--model", "model", "-o", "a.png", "--steps", "2")
    assert done.code == 4, done.err
    assert done.err.startswith("error: ") and len(done.err.splitlines()) == 2
    assert not (tmp_path / "a.png").exists()


def test_a_folder_runs_no_code(difftool: Difftool, tiny_pipeline: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny_pipeline("sd"), tmp_path / "model")
    (tmp_path / "evil.py").write_text("open('ran', 'w')")
    _said(tmp_path / "model" / "model_index.json", unet=["evil", "UNet2DConditionModel"])
    assert difftool("txt2img", PROMPT, "--model", "model", "-o", "a.png", "--steps", "2").code == 0
    assert not (tmp_path / "ran").exists()


def test_a_picture_that_is_no_number(difftool: Difftool, tiny_pipeline: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_pipeline("sd"), tmp_path / "model")
    weights = tmp_path / "model" / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["decoder.conv_out.bias"].fill_(float("nan"))
    save_file(tensors, weights, {"format": "pt"})
    done = difftool("txt2img", PROMPT, "--model", "model", "-o", "a.png", "--steps", "2")
    assert done.code == 1 and not (tmp_path / "a.png").exists()


def test_a_preset_by_its_name(difftool: Difftool, tiny_pipeline: Tiny, tmp_path: Path) -> None:
    """Its row stands in the place of that of the model's kind: on the command line, beside a prompt and in a file."""
    model = ["--model", tiny_pipeline("sd")]
    own = ("sampler", "steps", "schedule", "guidance", "preset")

    def used(name: str) -> tuple[Any, ...]:
        manifest = read_png(tmp_path / name)[2]
        assert manifest is not None
        return tuple(manifest["settings"][key] for key in own)

    assert difftool("txt2img", PROMPT, *model, "--preset", "lcm-fused", "-o", "a.png").code == 0
    assert used("a.png") == ("lcm", 4, "trailing", 1.0, "lcm_fused")
    assert difftool("rerun", "a.png", "-o", "b.png", "--json").json["data"]["identical"] is True
    assert used("b.png") == used("a.png")
    (tmp_path / "own.toml").write_text('[txt2img]\npreset = "turbo"\n')
    (tmp_path / "list.txt").write_text("a circle\na square --preset lcm_fused --steps 2\na star --preset lcn\n")
    done = difftool("txt2img", "--prompts", "list.txt", *model, "--config", "own.toml", "--output-dir", "out")
    assert done.code == 5 and "did you mean 'lcm'?" in done.err
    assert used("out/00000-0.png") == ("euler_a", 4, "trailing", 1.0, "turbo")
    assert used("out/00001-1.png") == ("lcm", 2, "trailing", 1.0, "lcm_fused")


def test_a_size_beyond_what_sd3_knows(draw: Difftool) -> None:
    assert draw(PROMPT, "--size", "512x32", model="sd3").code == 2


def test_the_model_in_the_package(
    difftool: Difftool, tiny_pipeline: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caption = "a red circle on a blue ground"
    done = difftool("txt2img", caption, "-o", "a.png", "--json")
    assert done.code == 0, done.err
    assert (read_png(tmp_path / "a.png")[0].shape, done.json["warnings"]) == ((64, 64, 3), [])
    assert difftool("rerun", "a.png", "-o", "b.png", "--json").json["data"]["identical"] is True
    done = difftool("txt2img", f"{caption}, frobnicated", "-o", "c.png", "--json")
    assert done.code == 0, done.err
    assert ["frobnicated" in warning for warning in done.json["warnings"]] == [True]
    monkeypatch.setenv("DIFFTOOL_MODEL", str(tiny_pipeline("sd")))
    assert difftool("txt2img", caption, "-o", "d.png", "--steps", "2").code == 0
    assert read_png(tmp_path / "d.png")[0].shape == (32, 32, 3)


def test_a_folder_with_a_config_of_its_own(difftool: Difftool, tiny_pipeline: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny_pipeline("sd"), tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("[]")
    assert difftool("txt2img", PROMPT, "--model", "model", "-o", "a.png", "--steps", "2").code == 0


def test_a_model_that_is_not_here(difftool: Difftool) -> None:
    for name, hint in (("sd15", "difftool models pull sd15"), ("sd1.5", "sd15"), ("none.safetensors", "pass a folder")):
        done = difftool("txt2img", PROMPT, "--model", name)
        assert done.code == 4
        assert hint in done.err


def test_a_pickle_that_runs_code(difftool: Difftool, tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "model.ckpt").write_bytes(pickle.dumps({"state_dict": Evil()}))
    assert difftool("txt2img", PROMPT, "--model", "model.ckpt").code == 4
    assert not (tmp_path / "ran").exists()
