"""A run that is killed at any moment, any number of times, ends in the weights and the stored averages of one that was
left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dying import dies

from difftool.files import load_tensors
from difftool.models import AVERAGES

KILLS = 20
LINE = ["train", "digits", "--steps", "2000", "--threads", "2", "--keep-averages", "-q", "--output-dir"]


@pytest.mark.slow
def test_twenty_random_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    whole, killed = (tmp_path / name for name in ("whole", "run"))
    subprocess.run([sys.executable, "-m", "difftool", *LINE, whole], cwd=tmp_path, check=True)
    rng = random.Random(0)
    for _ in range(KILLS):
        cadence = [
            "--save-every",
            str(rng.choice([640, 1280, 3200])),
            "--preview-every",
            str(rng.choice([3000, 9000, 20000])),
        ]
        done = dies(signal.SIGKILL, rng.randrange(1, 40), "*", *LINE, killed, *cadence, cwd=tmp_path)
        assert done.returncode == -signal.SIGKILL, "it was finished before it was killed as often as it should be"
    subprocess.run([sys.executable, "-m", "difftool", *LINE, killed], cwd=tmp_path, check=True)
    assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    # the order of the notes in a file of safetensors is any
    one, two = (load_tensors(folder / "last.safetensors").tensors for folder in (whole, killed))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    stored = {path.name: path.read_bytes() for path in (whole / AVERAGES).iterdir()}
    assert len(stored) == 40
    assert stored == {path.name: path.read_bytes() for path in (killed / AVERAGES).iterdir()}
    left = [path.name for path in (tmp_path / "run").rglob("*") if "tmp" in path.name]
    assert not left
