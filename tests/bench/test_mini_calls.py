"""How many calls the voice in the package takes, as bench/mini.py measures it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from difftool.core.paths import Flow
from difftool.sampling.choice import choose_sampler

BENCH = Path(__file__).parents[2] / "bench" / "mini.py"


@pytest.fixture
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_mini", BENCH)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_way_is_a_sampler(bench: ModuleType) -> None:
    for sampler, schedule in bench.WAYS.values():
        steps = 5
        calls = choose_sampler(Flow(), sampler, steps, schedule).calls
        assert calls == (2 * steps - 1 if sampler in bench.TWICE else steps)


@pytest.mark.slow
def test_the_figure_is_drawn(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    texts = {"anna-reference0": "One.", "anna-said0": "Hello."}
    for name in texts:
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(12_000), 24_000)
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    for table in ("CALLS", "EPSS"):
        monkeypatch.setattr(bench, table, (5, 10))
    monkeypatch.setattr(bench, "listener", lambda size: SimpleNamespace(text_of=lambda sound: "hello"))
    with torch.inference_mode():
        bench.calls(str(tmp_path), "tiny", str(tmp_path / "a.png"))
    distances = [float(line.split("distance ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(distances) == 2 * len(bench.WAYS)
    assert all(few > many > 0 for few, many in zip(distances[::2], distances[1::2], strict=True))
    assert (tmp_path / "a.png").stat().st_size > 10_000
