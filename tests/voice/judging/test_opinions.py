"""Judges of other packages, where they are installed."""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from difftool.audio.files import RATE
from difftool.voice.judging import opinions


def module(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    made = ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)


def test_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opinions, "find_spec", lambda name: None)
    assert opinions.opinions(np.zeros(RATE, np.float32)) == {}


def test_their_scores(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    heard = {}

    class Dnsmos:
        @staticmethod
        def run(sound: np.ndarray, rate: int) -> dict[str, float]:
            heard["dnsmos"] = (len(sound), rate, float(np.abs(sound).max()))
            return {"ovrl_mos": 3.456, "sig_mos": 4.0}

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            print("weights loaded")

        def forward(self, sound: torch.Tensor) -> torch.Tensor:
            heard["distillmos"] = tuple(sound.shape)
            return torch.tensor([[2.5]])

    module(monkeypatch, "speechmos", dnsmos=Dnsmos)
    module(monkeypatch, "distillmos", ConvTransformerSQAModel=Net)
    opinions._distillmos_net.cache_clear()
    sound = np.full(90 * RATE, 1.5, np.float32)
    assert opinions.opinions(sound) == {"DNSMOS": 3.46, "DistillMOS": 2.5}
    assert heard == {"dnsmos": (960_000, 16_000, 1.0), "distillmos": (1, 960_000)}
    assert capsys.readouterr().out == ""
    opinions._distillmos_net.cache_clear()


def test_one_that_cannot_be_imported_is_left_out(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    module(monkeypatch, "speechmos")  # without dnsmos, as where onnxruntime is missing
    monkeypatch.setattr(opinions, "find_spec", lambda name: name == "speechmos" or None)
    assert opinions.opinions(np.zeros(RATE, np.float32)) == {}
    assert "DNSMOS is left out" in caplog.text
