"""The bench for a GPU, in miniature on a CPU."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tiny_pipelines import recent

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import common  # noqa: E402
import gpu  # noqa: E402

from difftool.presets import family, needs  # noqa: E402


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> gpu.Options:
    return gpu.Options("cpu", tiny=True, work=tmp_path_factory.mktemp("work"), dtype="fp32")


SLOW = {"stages", "voices", "vram whisper", "compile"}
PARTS = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in gpu.PARTS]


@pytest.mark.skipif(not recent(), reason="is for the libraries of today")
@pytest.mark.parametrize("name", PARTS)
def test_a_part(options: gpu.Options, name: str) -> None:
    rows = list(gpu.PARTS[name].work(options))
    assert rows
    for one in rows:
        assert one["error"] == "", one
        assert math.isfinite(one["figure"]) and one["figure"] > 0
        if one["unit"] == "of L2":
            assert one["figure"] < 1e-4  # the same latents as diffusers'
        if one["peer"] in ("diffusers", "lab check"):
            assert one["beside"] > 0


def test_what_was_measured_is_taken_over(tmp_path: Path) -> None:
    """Into every table that a part measures; twice changes the number and nothing else."""
    tables = [f"txt2img.{name}" for name in gpu.ARCHITECTURES] + [f"train.{name}" for name in needs("train")]
    tables += ["voice.tortoise", *(f"whisper.{size}" for size in family("whisper"))]
    shutil.copytree(gpu.PRESETS, tmp_path / "presets")
    before = {path.name: path.read_text() for path in (tmp_path / "presets").glob("*.toml")}
    result = {"device": "cuda:0", "tiny": False, "rows": [gpu.row("none", None, "bytes", table="train.digits")]}
    for figure in (5 * 2**30, 7 * 2**30):
        rows = [gpu.row(table, figure, "bytes", table=table) for table in tables]
        (tmp_path / "gpu.json").write_text(json.dumps({**result, "rows": result["rows"] + rows}))
        assert gpu.take(tmp_path / "gpu.json", tmp_path / "presets") == tables
    for table in tables:
        name, _, key = table.partition(".")
        assert tomllib.loads((tmp_path / "presets" / f"{name}.toml").read_text())[key]["needs"]["measured"] == 7 * 2**30
    for name, text in before.items():
        kept = (tmp_path / "presets" / name).read_text()
        assert kept.replace(f"measured = {7 * 2**30:_}\n", "") == text
    (tmp_path / "gpu.json").write_text(json.dumps({**result, "device": "cpu"}))
    with pytest.raises(SystemExit, match="not measured on a GPU"):
        gpu.take(tmp_path / "gpu.json", tmp_path / "presets")


def test_what_fails_costs_a_line() -> None:
    def run(code: str, limit: float = 60) -> tuple[list[dict[str, object]], str]:
        return common.rows_of([sys.executable, "-c", code], limit)

    first = 'print(\'{"what": "a", "figure": 1.5}\', flush=True)\nprint(\'noise\')\n'
    rows, failed = run(f"{first}raise ValueError('no room\\nand advice')")
    assert rows == [{"what": "a", "figure": 1.5}]
    assert failed == "ended with 1: ValueError: no room"
    assert run("import os; os.kill(os.getpid(), 9)")[1].startswith("ended with -9")
    assert run("import time; time.sleep(600)", 0.2)[1] == "no end within 0 s"
    assert run(first) == (rows, "")
    assert gpu.attempt("b", "s", lambda: 1 / 0)["error"] == "ZeroDivisionError: division by zero"


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    line = [
        sys.executable,
        ROOT / "bench" / "gpu.py",
        "--tiny",
        "--device",
        "cpu",
        "--dtype",
        "fp32",
        "--out",
        tmp_path / "gpu.json",
    ]
    done = subprocess.run(line, capture_output=True, text=True)
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert done.returncode == 0, result["rows"]
    assert {one["part"] for one in result["rows"]} == set(gpu.PARTS)
    assert result["machine"]["versions"]["torch"]
    late = subprocess.run([*line, "--minutes", "0"], capture_output=True, text=True)
    assert late.returncode == 1
    assert {one["error"] for one in json.loads((tmp_path / "gpu.json").read_text())["rows"]} == {"no time was left"}
