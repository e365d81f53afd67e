"""`difftool sample` with a model of sounds: its files, `meta`, `rerun`, wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from tiny_sounds import own

Run = Callable[..., "object"]


@pytest.fixture
def model(difftool: Run, tmp_path: Path) -> str:
    own(tmp_path / "model")
    return "./model"


def test_the_files_of_one_sound(difftool: Run, model: str) -> None:
    ended = difftool("sample", model, "--count", 1, "--steps", 2, "--label", "b", "-o", "out.wav", "--json")
    assert ended.code == 0
    data = ended.json["data"]
    assert data["outputs"] == [
        {"path": "out.wav", "index": 0, "seed": 0, "label": "b", "seconds": 0.24, "rate": 16_000}
    ]
    assert data["settings"]["vocoder"] == "griffin-lim"
    assert sorted(path.name for path in Path().glob("out*")) == ["out.json", "out.png", "out.wav"]
    about = soundfile.info("out.wav")
    assert (about.samplerate, about.frames, about.channels, about.subtype) == (16_000, 3840, 1, "PCM_16")
    picture = Image.open("out.png")
    assert picture.mode == "RGB"
    assert picture.width % 16 == picture.height % 80 == 0
    note = json.loads(Path("out.json").read_text())
    assert note["item"] == {"index": 0, "seed": 0, "label": "b"}
    tags = difftool("meta", "out.wav", "--json").json["data"]
    assert tags["tags"]["title"] == "Synthetic sound: b"
    assert tags["manifest"]["settings"]["vocoder"] == "griffin-lim"


def test_several_sounds_their_figure_and_their_trajectory(difftool: Run, model: str) -> None:
    ended = difftool("sample", model, "--count", 3, "--steps", 2, "--output-dir", "d", "--trajectory", "-q")
    assert ended.code == 0
    sounds = [f"d/0000{k}-{k}.wav" for k in range(3)]
    assert ended.out.splitlines() == ["d/trajectory.png", "d/trajectory.gif", *sounds, "d/grid.png"]
    assert all(Path(sound).with_suffix(suffix).exists() for sound in sounds for suffix in (".png", ".json"))


def test_the_figure_alone(difftool: Run, model: str) -> None:
    assert (
        difftool("sample", model, "--count", 2, "--steps", 1, "--grid-only", "-o", "d/a.png", "-q").out == "d/a.png\n"
    )
    assert [path.name for path in Path("d").iterdir()] == ["a.png"]


def test_a_named_sound_is_one(difftool: Run, model: str) -> None:
    assert difftool("sample", model, "--steps", 1, "-o", "one.wav", "-q").out == "one.wav\n"
    assert len(difftool("sample", model, "--steps", 1, "--between", 1, 2, "-o", "d/a.wav", "-q").out.split()) == 17
    assert difftool("sample", model, "--count", 1, "--steps", 1, "--grid-only", "-o", "one-grid.png").code == 0


def test_the_initial_sound_is_kept(refused: Run, difftool: Run, model: str) -> None:
    assert difftool("sample", model, "--steps", 1, "-o", "a.wav").code == 0
    refused(2, "sample", model, "--init", "a.wav", "-o", "./a.wav", "--overwrite", says="would overwrite a.wav")


def test_rerun_makes_the_same_samples(difftool: Run, model: str) -> None:
    assert difftool("sample", model, "--count", 2, "--steps", 2, "--sampler", "ddpm", "--output-dir", "d").code == 0
    again = difftool("rerun", "d/00001-1.wav", "-o", "again.wav", "--json").json["data"]
    assert again["identical"] is True
    assert Path("again.wav").read_bytes() == Path("d/00001-1.wav").read_bytes()
    edit = ("--init", "d/00001-1.wav", "--mask", "0.1-0.15", "--seconds", 0.3)
    assert difftool("sample", model, "--count", 1, "--steps", 2, *edit, "-o", "edited.wav").code == 0
    Path("elsewhere").mkdir()
    for file in ("edited.wav", "edited.json"):
        Path(file).rename(Path("elsewhere") / file)
    again = difftool("rerun", "elsewhere/edited.wav", "-o", "b.wav", "--json").json["data"]
    assert again["identical"] is True
    assert difftool("sample", model, "--count", 3, "--steps", 2, "--between", 3, 7, "--output-dir", "e").code == 0
    assert difftool("rerun", "e/00001-3.wav", "-o", "c.wav", "--json").json["data"]["identical"] is True


def test_rerun_tells_of_another_initial_sound(difftool: Run, model: str) -> None:
    given = ("--count", 1, "--steps", 2, "--seconds", 0.3)
    assert difftool("sample", model, *given, "-o", "a.wav").code == 0
    assert difftool("sample", model, *given, "--init", "a.wav", "-o", "b.wav").code == 0
    sound, rate = soundfile.read("a.wav")
    soundfile.write("a.wav", np.roll(sound, 1000), rate)
    ended = difftool("rerun", "b.wav", "-o", "c.wav")
    assert ended.code == 0
    assert "made with different versions or files: a.wav" in ended.err
    assert "the samples differ" in ended.err


def test_rerun_refuses_a_picture_of_sounds(refused: Run, difftool: Run, model: str) -> None:
    """Whether its manifest says so, as in the figure of a run, or it is that of a sound."""
    assert difftool("sample", model, "--count", 1, "--steps", 1, "-o", "a.wav").code == 0
    refused(4, "rerun", "a.png", says="cannot rerun")
    from difftool.pictures.png import read_png, write_png

    pixels, _, note = read_png(Path("a.png"))
    write_png(Path("b.png"), pixels, {**(note or {}), "command": "sample"})
    refused(4, "rerun", "b.png", says="is a picture of sounds")


def test_comparison_of_samplers(difftool: Run, model: str) -> None:
    ended = difftool("sample", model, "--compare", "ddim,ddpm", "--steps", 2, "--count", 2, "-o", "c.png", "--json")
    assert [row["name"] for row in ended.json["data"]["compared"]] == ["ddim", "ddpm"]
    assert np.ptp(np.asarray(Image.open("c.png").convert("RGB")), axis=2).max() > 50  # not grey


def test_out_of_memory(refused: Run, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("difftool.pixels.draw._sampled", full)
    refused(6, "sample", model, "--count", 1, says="one sound does not fit in memory")


@pytest.mark.parametrize(
    ("code", "given", "says"),
    [
        (2, ("-o", "a.png"), "sounds are written as WAV"),
        (2, ("--grid-only", "-o", "a.wav"), "figures are written as PNG"),
        (2, ("--seconds", 0), "--seconds"),
        (2, ("--seconds", 601), "--seconds"),
        (2, ("--strength", 0.5), "--strength needs --init"),
        (2, ("--mask", "1-2"), "--mask needs --init"),
        (2, ("--init", "a.wav", "--mask", "2-1"), "mask must be two rising numbers"),
        (2, ("--init", "a.wav", "--mask", "1:2"), "mask must be two rising numbers"),
        (4, ("--init", "missing.wav"), "missing.wav"),
        (4, ("--init", "model/config.json"), "config.json"),
        (2, ("--vocoder", "hifigan"), "hifigan"),
        (2, ("--vocoder", "univnet"), "cannot decode the sound format mel16"),
        (2, ("--between", 1, 2, "--seed", 3), "cannot be used together"),
        (2, ("--forward", "model/config.json"), "is a model of sounds"),
        (2, ("--label", "c"), "label"),
    ],
)
def test_wrong_input(refused: Run, model: str, code: int, given: tuple[object, ...], says: str) -> None:
    refused(code, "sample", model, *given, says=says)


@pytest.mark.parametrize(
    "given", [("--seconds", 2), ("--vocoder", "vocos"), ("--init", "a.wav"), ("--init", "a.wav", "--mask", "1-2")]
)
def test_options_of_sounds_with_a_model_of_pictures(refused: Run, given: tuple[object, ...]) -> None:
    refused(2, "sample", "digits", *given, says="is for sounds, and digits is a model of pictures")


@pytest.mark.parametrize(("model", "data"), [("tones", "digits"), ("digits", "tones")])
def test_eval_with_a_built_in_set_of_the_other_kind(refused: Run, model: str, data: str) -> None:
    refused(4, "eval", model, "--data", data, says=f"unlike {data}")


def test_existing_files_are_kept(refused: Run, difftool: Run, model: str) -> None:
    Path("a.json").write_text("mine")
    refused(4, "sample", model, "--count", 1, "--steps", 1, "-o", "a.wav", says="a.json")


def test_dry_run(difftool: Run, model: str) -> None:
    ended = difftool("sample", model, "--count", 2, "--steps", 2, "--seconds", 1, "-o", "a.wav", "--dry-run", "--json")
    data = ended.json["data"]
    assert data["needs"]["network_calls"] == 2 * 7
    assert "a.wav" in data["would_write"]
    assert not Path("a.wav").exists()
