"""Rows of the TOML files: what they must say, what they have from [defaults], and what `lab check` makes of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from difftool import presets
from difftool.errors import DifftoolError
from difftool.presets import family, needs, typed
from difftool.presets.rows import PicturePreset, TrainPreset

Difftool = Callable[..., Any]
Append = Callable[[str, str], None]
NET = '[portraits.net]\ntype = "unet"\nwidth = 32\n'
ROW = f"[portraits]\nminutes = 5\nbatch_size = 32\nlr = 1e-3\n{NET}"


@pytest.fixture
def append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Append]:
    """Appends rows to a copy of a file of presets."""
    copy = tmp_path / "presets"
    shutil.copytree(presets.FOLDER, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.setattr(presets, "FOLDER", copy)
    caches = [presets._read, presets.family, presets.needs, presets.hardware]

    def forget() -> None:
        for cached in caches:
            cached.cache_clear()

    def add(name: str, text: str) -> None:
        with (copy / f"{name}.toml").open("a") as file:
            file.write(f"\n{text}")
        forget()

    forget()
    yield add
    forget()


def test_a_row_has_from_defaults_what_it_does_not_say(append: Append) -> None:
    append("train", ROW)
    row = typed(TrainPreset)["portraits"]
    assert (row.target, row.warmup, row.ema, row.label_dropout, row.weight_decay) == ("flow", 0.05, 0.1, 0.1, 0.01)
    assert family("train")["cifar10"]["target"] == "edm"  # which it says itself
    append("txt2img", "[own]\nsteps = 8\nguidance = 2\n")
    assert typed(PicturePreset)["own"] == PicturePreset("dpmpp_2m", "trailing", 8, 2)
    assert "defaults" not in family("train") and "defaults" not in family("txt2img")


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("train", ROW.replace("lr = 1e-3\n", ""), ["train.toml", "portraits", "lr"]),
        ("train", ROW.replace(NET, ""), ["train.toml", "portraits", "net"]),
        ("train", ROW.replace("width = 32\n", ""), ["train.toml", "portraits.net", "width"]),
        ("train", ROW.replace("minutes = 5\n", ""), ["train.toml", "portraits", "minutes", "images"]),
        ("train", ROW.replace("minutes = 5\n", "minutes = 5\nimages = 5\n"), ["portraits", "minutes and images"]),
        ("train", ROW.replace("lr = 1e-3", 'lr = "small"'), ["train.toml", "portraits.lr", "type"]),
        ("train", ROW.replace("batch_size = 32", "batch_size = 32.5"), ["portraits.batch_size"]),
        ("train", ROW.replace("width = 32", "width = [32]"), ["portraits.net.width"]),
        ("train", ROW.replace("lr = 1e-3", "lr = 1e-3\nwarmpu = 0.1"), ["portraits", "warmpu", "warmup"]),
        ("train", ROW.replace("width = 32", "width = 32\nmutls = [1]"), ["portraits.net", "mutls", "mults"]),
        ("train", ROW.replace('"unet"', '"unett"'), ["portraits.net", "unett", "unet"]),
        ("train", ROW.replace('type = "unet"\n', ""), ["portraits.net", "type"]),
        ("txt2img", "[own]\nsteps = 8\n", ["txt2img.toml", "own", "guidance"]),
        ("txt2img", "[own]\nsteps = 8\nguidance = true\n", ["txt2img.toml", "own.guidance"]),
        ("voice", "[own]\nsteps = 8\nguidance = 2.0\n", ["voice.toml", "own", "samples"]),
        ("whisper", "[own.dimensions]\nn_mels = 80\n", ["whisper.toml", "own.dimensions", "n_audio_ctx"]),
        ("store", '[own]\nabout = "a"\nlicence = "MIT"\nfiles = ["a"]\n', ["store.toml", "own", "from"]),
        ("store", '[own]\nabout = "a"\nlicence = "MIT"\nfiles = "a"\nfrom = "hub:a/b"\n', ["own.files"]),
        ("train", "[portraits\n", ["train.toml", "TOML"]),
        ("train", "[digits]\n", ["train.toml", "TOML"]),  # is there already
    ],
)
def test_a_wrong_row(append: Append, name: str, text: str, parts: list[str]) -> None:
    append(name, text)
    with pytest.raises(DifftoolError) as wrong:
        family(name)
    assert wrong.value.code == 2
    for part in parts:
        assert part in f"{wrong.value.message} {wrong.value.hint}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[portraits.needs]\nlike = "picturse"\n', ["portraits.needs", "pictures"]),
        ("[portraits.needs]\nlike = 3\n", ["portraits.needs", "3"]),
        ("[portraits.needs]\nparameters = 3\n", ["portraits.needs", "pictures"]),
        ("[portraits.needs]\npictures = 3\nshape = [1, 2]\n", ["portraits.needs.shape"]),
    ],
)
def test_wrong_needs(append: Append, text: str, parts: list[str]) -> None:
    append("train", ROW + text)
    with pytest.raises(DifftoolError) as wrong:
        needs("train")
    assert wrong.value.code == 2
    for part in parts:
        assert part in f"{wrong.value.message} {wrong.value.hint}"


def test_a_wrong_row_ends_a_command_in_two_lines(append: Append, difftool: Difftool) -> None:
    append("train", ROW.replace("lr = 1e-3\n", ""))
    for line in (("train", "--preset", "portraits", "--dry-run"), ("lab", "check", "portraits")):
        done = difftool(*line)
        assert done.code == 2 and not done.out
        assert done.err.splitlines()[0] == "error: train.toml: portraits lacks the key 'lr'"


def test_lab_check_knows_a_new_row(append: Append, difftool: Difftool) -> None:
    append("train", ROW + '[portraits.needs]\nlike = "pictures"\n')
    append("txt2img", '[own]\nsteps = 8\nguidance = 2.0\n[own.needs]\nlike = "sd"\n')
    append("voice", "[calm]\nsamples = 8\nsteps = 8\nguidance = 2.0\n")
    found = difftool("lab", "check", "portraits", "pictures", "own", "sd", "calm", "fast", "--json").json["data"][
        "presets"
    ]
    rows = {row.pop("preset"): row for row in found}
    assert rows["portraits"] == rows["pictures"] and rows["own"] == rows["sd"] and rows["calm"] == rows["fast"]


def test_lab_check_says_that_needs_are_not_counted(append: Append, difftool: Difftool) -> None:
    append("train", ROW)
    append("txt2img", "[own]\nsteps = 8\nguidance = 2.0\n")
    done = difftool("lab", "check", "portraits", "own", "--json")
    assert done.code == 0
    assert [row["verdict"] for row in done.json["data"]["presets"]] == ["unknown", "unknown"]
    plain = difftool("lab", "check").out
    assert "unknown needs: no [portraits.needs] in train.toml" in plain
    assert "unknown needs: no [own.needs] in txt2img.toml" in plain
    assert difftool("lab", "plan").code == 0
