"""A run that is killed at any moment, any number of times, ends in the weights of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from difftool.files import load_tensors

KILLS = 20
LINE = [sys.executable, "-m", "difftool", "train", "digits", "--steps", "2000", "--threads", "2", "-q"]


def start(home: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*LINE, *more], cwd=home, env={**os.environ, "HOME": str(home)}, start_new_session=True)


@pytest.mark.slow
def test_twenty_random_kills(tmp_path: Path) -> None:
    assert start(tmp_path, "--output-dir", "whole").wait() == 0
    rng = random.Random(0)
    kills = 0
    while True:
        cadence = [
            "--save-every",
            str(rng.choice([640, 1280, 3200])),
            "--preview-every",
            str(rng.choice([3000, 9000, 20000])),
        ]
        run = start(tmp_path, "--output-dir", "run", *cadence)
        began, wait = time.monotonic(), rng.uniform(0, 5) if rng.random() < 0.3 else rng.uniform(4, 9)
        while run.poll() is None and time.monotonic() - began < wait:
            time.sleep(0.01)
        if run.poll() is not None:
            assert run.returncode == 0
            break
        if kills == KILLS:
            assert run.wait() == 0
            break
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        kills += 1
    assert kills >= KILLS, "the run was finished before it was killed as often as it should be"
    whole, killed = (tmp_path / name for name in ("whole", "run"))
    assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    # the order of the notes in a file of safetensors is any
    one, two = (load_tensors(folder / "last.safetensors").tensors for folder in (whole, killed))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    left = [path.name for path in (tmp_path / "run").rglob("*") if "tmp" in path.name]
    assert not left
