"""A training of a voice that is killed at any moment ends in what was learned by one that was left alone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dying import dies
from tiny_tortoise import official
from voice_files import voice

from difftool.files import load_tensors

MOMENTS = [
    ("*", 1),
    ("*config.json*", 1),
    ("*targets.safetensors*", 1),
    ("*targets.safetensors*", 2),
    ("*.mp3*", 1),
    ("*.mp3*", 3),
    ("*last.safetensors*", 1),
    ("*averages*", 1),
    ("*log.jsonl*", 2),
    ("*last.safetensors*", 2),
    ("*voice.safetensors*", 1),
    ("*voice.safetensors*", 2),
    ("*loss.png*", 1),
    ("*previous.safetensors*", 1),
    ("*last.safetensors*", 3),
    ("*.mp3*", 2),
    ("*log.jsonl*", 6),
    ("*decoder.pth*", 1),
    ("*decoder.pth*", 2),
    ("*report.html*", 1),
]
"""Names of files that are about to change, and how often."""
LINE = ["voice", "train", "me", "--engine", "tortoise", "--steps", "12", "--batch-size", "4", "--lr", "1e-2"]


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    models, whole = official(tmp_path / "models"), voice(tmp_path / "whole")
    line = [*LINE, "--device", "cpu", "--threads", "1", "--models-dir", str(models), "-q", "--voices-dir"]
    killed = tmp_path / "killed"
    shutil.copytree(whole, killed)
    subprocess.run([sys.executable, "-m", "difftool", *line, whole], cwd=tmp_path, check=True)
    for name, count in MOMENTS:
        done = dies(signal.SIGKILL, count, name, *line, killed, cwd=killed)
        assert done.returncode == -signal.SIGKILL, (name, count, done.stderr)
    subprocess.run([sys.executable, "-m", "difftool", *line, killed], cwd=tmp_path, check=True)
    one, two = (folder / "me" / "trained" / "tortoise" for folder in (whole, killed))
    for name in ("voice.safetensors", "targets.safetensors"):
        learned, again = (load_tensors(folder / name).tensors for folder in (one, two))
        assert learned.keys() == again.keys()
        assert all(torch.equal(learned[key], again[key]) for key in learned)
    assert (one / "decoder.pth").read_bytes() == (two / "decoder.pth").read_bytes()
    assert [path for path in killed.rglob("*") if "tmp" in path.name] == []
