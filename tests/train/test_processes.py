"""Several processes (gloo, on the CPU) make the run that one makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from difftool.files import load_tensors
from difftool.pictures.png import read_png

PRESET = """
[small]
steps = 6
batch_size = 12
lr = 1e-3
target = "v"
warmup = 0.1
ema = 0.1
label_dropout = 0.2
weight_decay = 0.01

[small.net]
type = "unet"
width = 8
mults = [1, 2]
blocks = 1
attention = []
dropout = 0.1
"""
LAUNCHERS = {
    "torchrun": lambda n: ["torch.distributed.run", "--standalone", f"--nproc-per-node={n}"],
    "accelerate": lambda n: ["accelerate.commands.launch", "--cpu", f"--num_processes={n}", "--main_process_port=0"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and a program that is difftool with a preset small enough to test with."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "small.toml").write_text(PRESET)
    np.savez(
        folder / "data.npz",
        images=np.random.default_rng(0).integers(0, 256, (120, 8, 8, 3), dtype=np.uint8),
        labels=np.arange(120) % 3,
    )
    (folder / "small.py").write_text(
        "import tomllib, pathlib\n"
        "from difftool import presets\n"
        "row = tomllib.loads(pathlib.Path('small.toml').read_text())\n"
        "presets.family('train').update(row)\n"
        "from difftool.cli.app import entry\n"
        "entry()\n"
    )
    return folder


def run(home: Path, processes: int, *words: str, launcher: str = "torchrun") -> subprocess.CompletedProcess[str]:
    launch = ["-m", *LAUNCHERS[launcher](processes)] if processes > 1 else []
    line = [sys.executable, *launch, "-m", "small", *words]
    path = os.pathsep.join([str(home), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(home), "PYTHONPATH": path}
    return subprocess.run(line, cwd=home, env=environment, capture_output=True, text=True, timeout=300)


def trained(home: Path, processes: int, name: str, *more: str, launcher: str = "torchrun") -> dict[str, Any]:
    words = ["train", "data.npz", "--preset", "small", "--output-dir", name, "--json", *more]
    done = run(home, processes, *words, launcher=launcher)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(told) == 1, done.stdout
    return json.loads(told[0])["data"]


def far(left: Path, right: Path) -> float:
    one, two = (load_tensors(folder / "model.safetensors").tensors for folder in (left, right))
    assert one.keys() == two.keys()
    # all together: what has no gradient but rounding (a bias before a norm) goes where AdamW takes it
    a, b = (torch.cat([part[name].flatten() for name in sorted(one)]) for part in (one, two))
    return float((a - b).norm() / a.norm())


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def alone(home: Path) -> dict[str, Any]:
    """What a run of one process, in the folder one, tells."""
    return trained(home, 1, "one")


def test_two_make_the_run_of_one(home: Path, alone: dict[str, Any]) -> None:
    both = trained(home, 2, "two")
    assert far(home / "one", home / "two") < 2e-3
    assert losses(home / "one") == pytest.approx(losses(home / "two"), rel=1e-4)
    assert alone["images"] == both["images"] == 72
    # previews are drawn by both, and are the same pictures
    one, two = (read_png(home / name / "samples" / "000000072.png")[0].astype(int) for name in ("one", "two"))
    assert np.abs(one - two).max() <= 2
    # and one goes on where two have ended
    again = run(home, 1, "train", "data.npz", "--preset", "small", "--output-dir", "two", "--json")
    assert json.loads(again.stdout)["data"]["finished_before"]


@pytest.mark.usefixtures("alone")
def test_sample_is_shared_out(home: Path) -> None:
    for name, processes in (("alone.png", 1), ("shared.png", 2)):
        done = run(home, processes, "sample", "one", "--count", "9", "--steps", "3", "-o", name, "-q")
        assert done.returncode == 0, done.stderr
        assert len([line for line in done.stdout.splitlines() if line.endswith(".png")]) == 10
    alone, shared = (read_png(home / name)[0].astype(int) for name in ("alone.png", "shared.png"))
    assert np.abs(alone - shared).max() <= 1


def test_what_the_first_finds_wrong_ends_all(home: Path) -> None:
    done = run(home, 2, "train", "data.npz", "--preset", "small", "--batch-size", "1")
    assert done.returncode != 0
    assert done.stderr.count("error: a batch of 1 cannot be split among 2 processes") == 1
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "launcher"), [(4, "torchrun"), (2, "accelerate")])
@pytest.mark.usefixtures("alone")
def test_more_of_them_and_another_launcher(home: Path, processes: int, launcher: str) -> None:
    name = f"{launcher}{processes}"
    trained(home, processes, name, launcher=launcher)
    assert far(home / "one", home / name) < 2e-3
