"""A run that is killed at any moment, any number of times, ends in the weights and the stored averages of one that was
left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from dying import dies

from difftool.files import load_tensors
from difftool.models import AVERAGES

KILLS = 20
LINE = ["train", "digits", "--steps", "2000", "--threads", "2", "--keep-averages", "-q", "--output-dir"]
SOUNDS = [
    *("train", "sounds", "--frames", "16", "--steps", "60", "--batch-size", "2", "--held-out", "0"),
    *("--threads", "2", "-q", "--output-dir"),
]


def killed_and_left_alone(
    folder: Path, line: list[str], moments: range, cadences: tuple[list[int], list[int]]
) -> tuple[Path, Path]:
    """The folders of a run that was left alone and of one that was killed KILLS times, each time at one of these
    changes of a file, with another of the `cadences` of checkpoints and previews."""
    whole, killed = (folder / name for name in ("whole", "run"))
    subprocess.run([sys.executable, "-m", "difftool", *line, whole], cwd=folder, check=True)
    rng = random.Random(0)
    for _ in range(KILLS):
        save, preview = (str(rng.choice(every)) for every in cadences)
        cadence = ["--save-every", save, "--preview-every", preview]
        done = dies(signal.SIGKILL, rng.choice(moments), "*", *line, killed, *cadence, cwd=folder)
        assert done.returncode == -signal.SIGKILL, "it was finished before it was killed as often as it should be"
    subprocess.run([sys.executable, "-m", "difftool", *line, killed], cwd=folder, check=True)
    assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    # the order of the notes in a file of safetensors is any
    one, two = (load_tensors(folder / "last.safetensors").tensors for folder in (whole, killed))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    left = [path.name for path in (folder / "run").rglob("*") if "tmp" in path.name]
    assert not left
    return whole, killed


@pytest.mark.slow
def test_twenty_random_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    whole, killed = killed_and_left_alone(tmp_path, LINE, range(1, 40), ([640, 1280, 3200], [3000, 9000, 20000]))
    stored = {path.name: path.read_bytes() for path in (whole / AVERAGES).iterdir()}
    assert len(stored) == 40
    assert stored == {path.name: path.read_bytes() for path in (killed / AVERAGES).iterdir()}


@pytest.mark.slow
def test_twenty_random_kills_of_a_run_on_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    (tmp_path / "sounds").mkdir()
    for k in range(4):
        soundfile.write(tmp_path / "sounds" / f"{k}.wav", 0.2 * rng.standard_normal(12_000 + 999 * k), 24_000)
    killed_and_left_alone(tmp_path, SOUNDS, range(1, 20), ([2, 4, 8], [60, 120]))
