from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from difftool.errors import DifftoolError


def test_the_digits_of_the_package(difftool: Callable) -> None:
    ended = difftool("eval", "--count", 150, "--steps", 6, "--json")
    told = ended.json["data"]
    assert ended.code == 0
    assert set(told["quality"]) == {"c2st", "fd", "fd_features", "kid", "nearest", "exploded", "legible"}
    assert told["count"] == 150
    assert told["held_out"] == 500
    assert 0.45 < told["quality"]["c2st"] < 0.8
    assert 40 < told["quality"]["fd"] < 130  # 500 pictures and 50 steps: 38
    assert told["quality"]["legible"] > 0.95
    told = difftool("eval", "--dry-run")
    assert "would generate 500 pictures" in told.out


def test_classes_are_drawn_as_they_are_held_out(
    difftool: Callable, tmp_path: Path, tiny_model: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 6, 10), dtype=np.uint8)
    labels = np.where(np.arange(1000) < 900, "a", "b")
    np.savez(tmp_path / "data.npz", images=pixels, labels=labels)
    monkeypatch.setattr("difftool.learning.metrics.c2st", lambda a, b: 0.5)
    ended = difftool(
        "eval", tiny_model(), "--data", "data.npz", "--held-out", 0.1, "--count", 50, "--steps", 1, "--json"
    )
    assert ended.code == 0, ended.err
    assert ended.json["data"]["settings"]["label"].count("b") in (3, 4, 5, 6, 7)  # of the 100 held out, a tenth or so


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["nothing"], 4, "not a folder"),
        (["--data", "nothing"], 4, "no such file or folder"),
        (["--data", "shades.npy"], 4, "generates pictures of 8x8x1"),
        (["--data", "few.npy"], 4, "fewer than 50"),
        (["--inception", "nothing.pth"], 4, "no such file"),
        (["--count", "10"], 2, "--count"),
        (["--sampler", "eulr"], 2, "did you mean"),
        (["--held-out", "2"], 2, "--held-out"),
    ],
)
def test_wrong_input(refused: Callable, tmp_path: Path, args: list[str], code: int, says: str) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "shades.npy", rng.integers(0, 256, (200, 8, 8, 3), dtype=np.uint8))
    np.save(tmp_path / "few.npy", rng.integers(0, 256, (200, 8, 8), dtype=np.uint8))
    refused(code, "eval", *args, says=says)


def test_sizes_are_width_by_height(refused: Callable, tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    np.save(tmp_path / "shades.npy", np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), dtype=np.uint8))
    ended = refused(4, "eval", tiny_model(), "--data", "shades.npy", says="generates pictures of 10x6x1")
    assert "are 10x6x3" in ended.err


def test_an_inception_that_is_none(refused: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"<html>")
    refused(4, "eval", "--count", 50, "--steps", 1, "--inception", "a.pth", says="a.pth")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "b.pth")
    ended = refused(
        2 if not _has_inception() else 4, "eval", "--count", 50, "--steps", 1, "--inception", "b.pth", says="fid"
    )
    assert "pytorch-fid" in ended.err


def _has_inception() -> bool:
    from importlib.util import find_spec

    return find_spec("pytorch_fid") is not None


def test_from_python(difftool: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function measures what the command does."""
    import difftool as library

    monkeypatch.setattr("difftool.learning.metrics.c2st", lambda a, b: 0.5)
    told = difftool("eval", "--count", 50, "--steps", 2, "--threads", 1, "--json").json["data"]
    done = library.evaluate(count=50, steps=2, threads=1)
    assert done.quality == told["quality"]
    assert (done.count, done.held_out, done.name, done.source) == (50, 500, "digits", "digits")
    assert told["settings"]["seed"] == done.settings.seed == 1000
    with pytest.raises(DifftoolError, match="--count must be from 50"):
        library.evaluate(count=49)
