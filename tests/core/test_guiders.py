"""Guidance against stored results of diffusers and ComfyUI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from difftool.core import Denoised, Level, Predict, apg, cfg_zero, zero_init
from difftool.core.guide import MODES

STORED = json.loads((Path(__file__).parent.parent / "golden" / "samplers2.json").read_text())["guiders"]
CASES = {case["id"]: case for case in STORED if "no_reference" not in case}


def mixture(x: Tensor, level: Level) -> Denoised:
    variance = 0.09 * level.alpha**2 + level.sigma**2
    pull = level.sigma**2 * torch.tanh(level.alpha * x / variance)
    return Denoised((0.09 * level.alpha * x + pull) / variance)


def gauss(x: Tensor, level: Level) -> Denoised:
    return Denoised(0.25 * level.alpha * x / (0.25 * level.alpha**2 + level.sigma**2))


def guided(case: dict[str, Any]) -> Predict:
    kind, scale = case["guider"], case["scale"]
    if kind == "apg":
        assert case["form"] == "cond + scale * update"  # the paper has scale - 1
        limit, momentum = case["threshold"] or torch.inf, case["momentum"] or 0.0
        return apg(mixture, gauss, scale + 1, parallel=case["eta"], limit=limit, momentum=momentum)
    if kind == "cfg_zero_star":
        above = 1.0 if not case["zero_steps"] else case["sigmas"][case["zero_steps"]]
        return zero_init(cfg_zero(mixture, gauss, scale), above)
    return MODES[kind](mixture, gauss, scale)


def difference(case: dict[str, Any]) -> float:
    predict, start = guided(case), (torch.arange(768, dtype=torch.float64).reshape(3, 8, 8, 4) / 768) * 2 - 1
    flows, worst = case["space"] == "velocity", 0.0
    for i, (sigma, stored) in enumerate(zip(case["sigmas"], case["results"], strict=True)):
        noise = torch.randn((4, 3, 8, 8), generator=torch.Generator().manual_seed(1000 * (50 + i)), dtype=torch.float64)
        level = Level(sigma, 1 - sigma if flows else 1.0, sigma)
        x = start.permute(3, 0, 1, 2) * (1.0 if flows else sigma) + 0.5 * sigma * noise
        found = predict(x, level).x0
        if flows:
            found = (x - found) / sigma
        ends = torch.cat([found[0, 0, 0, :8], found[-1, -1, -1, -8:]])
        wanted = torch.tensor(stored["first8"] + stored["last8"], dtype=torch.float64)
        worst = max(worst, float((ends - wanted).abs().max()), abs(float(found.abs().mean()) - stored["mean_abs"]))
    return worst


@pytest.mark.parametrize("name", CASES)
def test_against_stored_results(name: str) -> None:
    assert difference(CASES[name]) <= CASES[name]["tolerance"]
